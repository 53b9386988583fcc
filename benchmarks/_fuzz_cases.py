"""What is thrown at the endpoint one at a time, from single bytes to what is nearly right.

Owns the strategies. Whatever breaks a rule is reduced by Hypothesis to the shortest such request.
"""

from __future__ import annotations

import json
from typing import Any

from _fuzz import Target
from hypothesis import strategies as st

__all__ = [
    "CHAT",
    "KEYS",
    "OTHERS",
    "POSTS",
    "encoded",
    "garbage",
    "headers",
    "near_misses",
    "requests",
    "send_bytes",
    "send_near_miss",
]

CHAT = "/v1/chat/completions"
LABEL = "/v1/review/no-such-turn/label"
POSTS = (
    CHAT,
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/completions",
    "/v1/feedback",
    LABEL,
)
OTHERS = (
    ("GET", "/v1/models"),
    ("GET", "/api/v1/models"),
    ("GET", "/v1/models/{text}"),
    ("GET", "/v1/responses/{text}"),
    ("GET", "/v1/responses/{text}/input_items"),
    ("DELETE", "/v1/responses/{text}"),
    ("GET", "/v1/review"),
    ("POST", "/v1/review/claim"),
    ("POST", "/v1/review/undo"),
    ("POST", "/v1/review/{text}/label"),
    ("POST", "/v1/review/{text}/skip"),
    ("GET", "/v1/keys"),
    ("DELETE", "/v1/keys/{text}"),
    ("DELETE", "/v1/sessions/{text}"),
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/"),
    ("GET", "/{text}"),
    ("PUT", "/v1/chat/completions"),
    ("POST", "/v1/{text}"),
)
KEYS = ("owner", "other", "guest", "talker")

_WORDS = st.sampled_from(
    [
        "", "a", "user", "assistant", "system", "tool", "text", "function", "json_schema", "auto",
        "policy", "main", "\0", "\ud800", "<|im_end|>", "\\boxed{+1}", "é" * 300, "0", "NaN",
        "x" * 5000, "message", "function_call", "function_call_output", "tool_use", "tool_result",
    ]
)  # fmt: skip
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([2**31, -(2**63), 2**70, 10**400]),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    _WORDS,
)
_FIELDS = st.sampled_from(
    [
        "messages", "input", "prompt", "role", "content", "type", "text", "name", "tools",
        "function", "parameters", "input_schema", "tool_choice", "tool_calls", "arguments", "id",
        "tool_call_id", "tool_use_id", "call_id", "output", "max_tokens", "temperature", "top_p",
        "top_k", "min_p", "seed", "stop", "stop_sequences", "n", "stream", "stream_options",
        "logprobs", "top_logprobs", "response_format", "json_schema", "schema", "format", "model",
        "session_id", "session_done", "turn_type", "no_training", "priority", "instructions",
        "previous_response_id", "system", "metadata", "thinking", "reasoning", "echo", "best_of",
        "response_id", "score", "thumbs", "choice", "properties", "pattern", "$ref", "anyOf",
        "background", "conversation", "parallel_tool_calls", "source", "data", "signature",
        "steps", "hints", "note", "call_name",
    ]
)  # fmt: skip
_ANY = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_FIELDS, inner, max_size=5),
    max_leaves=14,
)
_PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
    "/v1/responses": {"input": "hi", "max_output_tokens": 4},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi", "max_tokens": 4},
    "/v1/feedback": {"response_id": "x", "score": 1},
    LABEL: {"score": 1, "steps": {"call_name": 1}, "hints": ["Look first."], "note": "n"},
}
_HEADER_NAMES = (
    "x-session-id", "x-turn-type", "x-session-done", "x-priority", "x-no-training", "user-agent",
    "x-stainless-retry-count", "content-type", "accept", "x-api-key", "authorization",
)  # fmt: skip
_HEADER_VALUES = st.one_of(
    st.sampled_from(["", "1", "true", "main", "9" * 5000, "-1", "\xff" * 20, "a" * 300, "Bearer"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip),
)


@st.composite
def near_misses(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A path and a body that was right until some fields were added or replaced."""
    path = draw(st.sampled_from(POSTS))
    return path, _PLAIN[path] | draw(st.dictionaries(_FIELDS, _ANY, min_size=1, max_size=4))


def garbage() -> st.SearchStrategy[bytes]:
    """No JSON, other JSON, and JSON nested too deeply."""
    deep = st.integers(1, 60_000).map(lambda depth: b"[" * depth + b"]" * depth)
    tools = st.integers(1, 3000).map(_nested_tool)
    return st.one_of(st.binary(max_size=60), _ANY.map(encoded), deep, tools)


def _nested_tool(depth: int) -> bytes:
    schema = b'{"a":' * depth + b"1" + b"}" * depth
    return (
        b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"tools":[{"type":"function",'
        b'"function":{"name":"f","parameters":' + schema + b"}}]}"
    )


def requests() -> st.SearchStrategy[tuple[str, str]]:
    """A method and a path of the other routes, and of none."""
    rest = st.text(st.sampled_from("ab%20/.?#&=%00%ff\\:{}é"), max_size=12)

    def filled(pair: tuple[tuple[str, str], str]) -> tuple[str, str]:
        (method, path), text = pair
        return method, path.replace("{text}", text)

    return st.tuples(st.sampled_from(OTHERS), rest).map(filled)


def headers() -> st.SearchStrategy[dict[str, str]]:
    """Values that were not expected."""
    return st.dictionaries(st.sampled_from(_HEADER_NAMES), _HEADER_VALUES, max_size=3)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def send_near_miss(
    target: Target, who: str, case: tuple[str, dict[str, Any]], said: dict[str, str]
) -> None:
    """Send one; streams are read to their end."""
    path, body = case
    target.send("POST", path, headers=_merged(target, who, said), content=encoded(body))


def send_bytes(target: Target, who: str, path: str, content: bytes) -> None:
    """Send what is no request."""
    target.send("POST", path, headers=target.headers(who), content=content)


def _merged(target: Target, who: str, said: dict[str, str]) -> dict[str, Any]:
    values = target.headers(who) | said
    return {name: value.encode("latin-1") for name, value in values.items()}
