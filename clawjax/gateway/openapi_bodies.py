"""JSON schemas of what clients send, as far as this endpoint reads it. Other fields are ignored."""

from __future__ import annotations

from typing import Any

from clawjax.config import StepAspect
from clawjax.gateway.openai import MAX_CHOICES, MAX_TOP_LOGPROBS

__all__ = ["CHAT", "ERROR", "FEEDBACK", "MESSAGES", "RESPONSES", "REVIEW", "TEXT"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": "object"}


def _number(low: float, high: float) -> Schema:
    return {"type": ["number", "null"], "minimum": low, "maximum": high}


def _integer(low: int, high: int | None = None) -> Schema:
    bounded = {} if high is None else {"maximum": high}
    return {"type": ["integer", "null"], "minimum": low, **bounded}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _some(schema: Schema) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1}


_OURS: Schema = {
    "model": {"enum": ["policy", None]},
    "session_id": {"type": ["string", "null"], "pattern": "^[ -~]{1,256}$"},
    "session_done": _FLAG,
    "turn_type": {"enum": ["main", "side", None]},
    "no_training": _FLAG,
    "priority": _integer(0, 9),
}
"""What clawjax reads besides, of requests in every dialect."""

_SAMPLING: Schema = {
    "stream": _FLAG,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _integer(-1),
    "min_p": _number(0, 1),
    "seed": _integer(-(2**63), 2**64),
}
_STOP = _either(_TEXT, {"type": "array", "items": _TEXT, "maxItems": 16}, {"type": "null"})
_LIMIT = _integer(1)

_PART = _object(["type", "text"], type={"const": "text"}, text=_TEXT)
_CONTENT = _either(_TEXT, {"type": "null"}, _some(_PART))
_FUNCTION = _object(["name"], name=_TEXT, description=_TEXT, parameters=_OBJECT)
_TOOL = _object(["type", "function"], type={"const": "function"}, function=_FUNCTION)
_CALL = _object(
    ["id", "function"],
    id=_TEXT,
    type={"const": "function"},
    function=_object(["name", "arguments"], name=_TEXT, arguments=_TEXT),
)
_CHOICE: Schema = {"enum": ["auto", "none", "required", None]}
_FORMAT = _either(
    _object(["type"], type={"enum": ["text", "json_object"]}),
    _object(
        ["type", "json_schema"],
        type={"const": "json_schema"},
        json_schema=_object([], name=_TEXT, schema=_OBJECT),
    ),
)

CHAT = _object(
    ["messages"],
    messages=_some(
        _object(
            ["role"],
            role={"enum": ["system", "developer", "user", "assistant", "tool"]},
            content=_CONTENT,
            name={"type": ["string", "null"]},
            tool_call_id={"type": ["string", "null"]},
            tool_calls={"type": "array", "items": _CALL},
        )
    ),
    max_tokens=_LIMIT,
    max_completion_tokens=_LIMIT,
    n=_integer(1, MAX_CHOICES),
    stop=_STOP,
    logprobs=_FLAG,
    top_logprobs=_integer(0, MAX_TOP_LOGPROBS),
    stream_options=_either(_object([], include_usage=_FLAG), {"type": "null"}),
    tools={"type": "array", "items": _TOOL},
    tool_choice=_CHOICE,
    parallel_tool_calls=_FLAG,
    response_format=_FORMAT,
    **_SAMPLING,
    **_OURS,
)

RESPONSES = _object(
    ["input"],
    input=_either(
        {"type": "string", "minLength": 1},
        _some(
            _either(
                _object(
                    ["role", "content"],
                    type={"const": "message"},
                    role={"enum": ["user", "system", "developer", "assistant"]},
                    content=_CONTENT,
                ),
                _object(
                    ["type", "call_id", "name", "arguments"],
                    type={"const": "function_call"},
                    call_id=_TEXT,
                    name=_TEXT,
                    arguments=_TEXT,
                ),
                _object(
                    ["type", "call_id", "output"],
                    type={"const": "function_call_output"},
                    call_id=_TEXT,
                    output=_CONTENT,
                ),
            )
        ),
    ),
    instructions={"type": ["string", "null"]},
    previous_response_id={"type": ["string", "null"]},
    max_output_tokens=_LIMIT,
    tools={
        "type": "array",
        "items": _object(
            ["type", "name"], type={"const": "function"}, name=_TEXT, parameters=_OBJECT
        ),
    },
    tool_choice=_CHOICE,
    parallel_tool_calls=_FLAG,
    text=_either(_object([], format=_object([], type={"enum": ["text", "json_object"]}))),
    metadata={"type": ["object", "null"]},
    **_SAMPLING,
    **_OURS,
)

_BLOCK = _either(
    _PART,
    _object(
        ["type", "tool_use_id", "content"],
        type={"const": "tool_result"},
        tool_use_id=_TEXT,
        content=_CONTENT,
    ),
)
MESSAGES = _object(
    ["messages"],
    messages=_some(
        _object(
            ["role", "content"],
            role={"enum": ["user", "assistant"]},
            content=_either(_TEXT, _some(_BLOCK)),
        )
    ),
    system=_CONTENT,
    max_tokens=_LIMIT,
    stop_sequences={"type": ["array", "null"], "items": _TEXT, "maxItems": 16},
    tools={
        "type": "array",
        "items": _object(["name", "input_schema"], name=_TEXT, input_schema=_OBJECT),
    },
    tool_choice=_either(_object(["type"], type={"enum": ["auto", "any", "none"]})),
    **_SAMPLING,
    **_OURS,
)

TEXT = _object(
    ["prompt"],
    prompt=_either(
        {"type": "string", "minLength": 1},
        _some({"type": "integer", "minimum": 0, "maximum": 2**31 - 1}),
    ),
    max_tokens=_LIMIT,
    n=_integer(1, MAX_CHOICES),
    stop=_STOP,
    logprobs=_integer(0, MAX_TOP_LOGPROBS),
    stream_options=_either(_object([], include_usage=_FLAG), {"type": "null"}),
    **_SAMPLING,
    **_OURS,
)

FEEDBACK: Schema = _object(
    ["response_id"],
    response_id=_TEXT,
    choice=_integer(0, 127),
    score=_number(-1, 1),
    thumbs={"enum": ["up", "down"]},
    text={"type": "string", "minLength": 1},
    session_done=_FLAG,
) | {"oneOf": [{"required": ["score"]}, {"required": ["thumbs"]}, {"required": ["text"]}]}

REVIEW: Schema = _object(
    ["score"],
    score=_number(-1, 1),
    steps={
        "type": ["object", "null"],
        "properties": {aspect.value: _number(-1, 1) for aspect in StepAspect},
        "additionalProperties": False,
    },
    hints={"type": ["array", "null"], "items": _TEXT, "maxItems": 8},
    note={"type": ["string", "null"]},
)

ERROR = _object(
    ["error"],
    error=_object(
        ["message", "type"],
        message=_TEXT,
        type=_TEXT,
        code={"type": ["string", "null"]},
        param={"type": ["string", "null"]},
    ),
)
