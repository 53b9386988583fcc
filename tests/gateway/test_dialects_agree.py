"""The same conversation gives the same records, whichever dialect it is written in."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawjax.config import EngineConfig
from clawjax.gateway.dialects.anthropic import parse_messages_request
from clawjax.gateway.dialects.responses import parse_responses_request
from clawjax.gateway.openai import ChatRequest, parse_chat_request
from clawjax.records import Message, ToolCall

from .conversations import as_anthropic, as_chat, as_responses, recorded

DEFAULTS = EngineConfig(max_response_tokens=64)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(
    lambda text: not text.startswith("x-anthropic")
)
NAME = st.sampled_from(["ls", "read_file", "Bash"])
ARGUMENTS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.none(), st.lists(TEXT)))
CALL = st.builds(
    ToolCall,
    st.from_regex(r"call[0-9a-f]{8}", fullmatch=True),
    NAME,
    ARGUMENTS.map(lambda arguments: json.dumps(arguments, ensure_ascii=False)),
)


@st.composite
def rounds(draw: st.DrawFn) -> list[Message]:
    """What somebody says, and a reply, whose calls are answered."""
    messages = [Message("user", text) for text in draw(st.lists(TEXT, min_size=1, max_size=2))]
    calls = draw(st.lists(CALL, max_size=2))
    content = draw(TEXT if not calls else st.one_of(st.just(""), TEXT))
    thought = draw(st.one_of(st.none(), TEXT))
    messages.append(Message("assistant", content, tool_calls=tuple(calls), reasoning=thought))
    results = [Message("tool", draw(TEXT), tool_call_id=call.call_id) for call in calls]
    return [*messages, *results]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    system = [Message("system", text) for text in draw(st.lists(TEXT, max_size=1))]
    said = [message for part in draw(st.lists(rounds(), max_size=3)) for message in part]
    last = [Message("user", draw(TEXT))] if draw(st.booleans()) or not said else []
    return [*system, *said, *last]


def common(request: ChatRequest) -> ChatRequest:
    """Without what only the answer's form needs."""
    return replace(request, id_prefix="", echo={}, notes=())


@pytest.mark.parametrize("written", [r'{"path": "\ud83d"}', r'{"path": "\\\uDE00"}'])
def test_half_a_surrogate_pair_in_a_call_is_read_alike(written):
    messages = [
        Message("user", "a"),
        Message("assistant", tool_calls=(ToolCall("c1", "ls", written),)),
    ]
    wanted = ToolCall("c1", "ls", written[:-8] + '?"}')
    for parse, write in (
        (parse_chat_request, as_chat),
        (parse_responses_request, as_responses),
        (parse_messages_request, as_anthropic),
    ):
        assert parse(write(messages), DEFAULTS).messages[-1].tool_calls == (wanted,)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_messages_are_the_same_in_every_dialect(messages):
    chat = parse_chat_request(as_chat(messages), DEFAULTS)
    assert chat.messages == tuple(messages)
    assert common(parse_messages_request(as_anthropic(messages), DEFAULTS)) == common(chat)
    assert common(parse_responses_request(as_responses(messages), DEFAULTS)) == common(chat)


SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
SAID = [Message("user", "hi")]


@pytest.mark.parametrize(
    ("choice", "chat", "anthropic"),
    [
        ("auto", "auto", {"type": "auto"}),
        ("none", "none", {"type": "none"}),
        ("required", "required", {"type": "any", "disable_parallel_tool_use": True}),
        (
            ("function", "ls"),
            {"type": "function", "function": {"name": "ls"}},
            {"type": "tool", "name": "ls"},
        ),
    ],
)
def test_tools_and_settings_are_the_same_in_every_dialect(choice, chat, anthropic):
    function = {"name": "ls", "description": "lists", "parameters": SCHEMA}
    tool = {"name": "ls", "description": "lists", "input_schema": SCHEMA, "cache_control": {}}
    drawn = {"temperature": 0.5, "top_p": 0.9, "stream": True}
    parallel = {"parallel_tool_calls": choice != "required"}
    form = {"name": "answer", "schema": SCHEMA, "strict": True}
    asked = parse_chat_request(
        {
            **as_chat(SAID),
            **drawn,
            **parallel,
            "max_completion_tokens": 7,
            "tools": [{"type": "function", "function": function}],
            "tool_choice": chat,
            "response_format": {"type": "json_schema", "json_schema": form},
        },
        DEFAULTS,
    )
    assert asked.tool_choice == choice
    assert asked.is_parallel is (choice != "required")
    assert asked.response_format == SCHEMA
    messages = {
        **as_anthropic(SAID),
        **drawn,
        "max_tokens": 7,
        "tools": [tool],
        "tool_choice": anthropic,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert common(parse_messages_request(messages, DEFAULTS)) == common(asked)
    responses = {
        **as_responses(SAID),
        **drawn,
        **parallel,
        "max_output_tokens": 7,
        "tools": [{"type": "function", **function}],
        "tool_choice": {"type": "function", "name": "ls"} if isinstance(chat, dict) else chat,
        "text": {"format": {"type": "json_schema", **form}},
    }
    assert common(parse_responses_request(responses, DEFAULTS)) == common(asked)


@pytest.mark.parametrize(
    ("choice", "is_formatted", "is_noted"),
    [("auto", False, True), ("auto", True, False), ("required", False, False)],
)
def test_one_call_at_most_is_noted_where_nothing_holds_the_reply_to_it(
    choice, is_formatted, is_noted
):
    form = {"type": "json_object"} if is_formatted else None
    function = {"name": "ls", "parameters": SCHEMA}
    own = {"name": "ls", "input_schema": SCHEMA}
    flags = {"parallel_tool_calls": False, "tool_choice": choice}
    denied = {
        "type": "any" if choice == "required" else "auto",
        "disable_parallel_tool_use": True,
    }
    for parse, body in (
        (parse_chat_request, {**as_chat(SAID), **flags, "response_format": form}),
        (parse_responses_request, {**as_responses(SAID), **flags, "text": {"format": form}}),
        (
            parse_messages_request,
            {**as_anthropic(SAID), "tool_choice": denied, "output_format": form},
        ),
    ):
        tool = {"type": "function", "function": function, **function}
        tools = [own] if parse is parse_messages_request else [tool]
        notes = parse({**body, "tools": tools}, DEFAULTS).notes
        assert [note.partition(":")[0] for note in notes] == (
            ["one call at most is left out"] if is_noted else []
        )
        assert parse(body, DEFAULTS).notes == ()


@pytest.mark.parametrize("entry", recorded(), ids=lambda entry: entry["headers"]["user-agent"])
def test_what_clients_sent_is_understood(entry):
    path, body = entry["path"].partition("?")[0], entry["body"]
    match path:
        case "/v1/messages":
            asked = parse_messages_request(body, DEFAULTS)
        case "/v1/responses":
            asked = parse_responses_request(body, DEFAULTS)
        case _:
            asked = parse_chat_request(body, DEFAULTS)
    roles = [message.role for message in asked.messages]
    assert roles[0] in ("system", "user")
    assert roles[-1] in ("user", "tool", "system")
    called = [call.call_id for message in asked.messages for call in message.tool_calls]
    answered = [message.tool_call_id for message in asked.messages if message.role == "tool"]
    assert sorted(called) == sorted(answered)
    assert asked.tools_json is not None
