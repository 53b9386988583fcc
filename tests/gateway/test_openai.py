"""Requests as clients send them, right and wrong."""

import json
from pathlib import Path

import pytest

from clawjax.config import EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.openai import SEED_RANGE, parse_chat_request
from clawjax.gateway.wire import parse_object
from clawjax.records import Message, ToolCall

DEFAULTS = EngineConfig(max_response_tokens=64, temperature=0.7, top_p=0.9)
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}}}
RECORDINGS = Path("/work/shared/data/clients")


def parse(**body):
    return parse_chat_request({"messages": HI, **body}, DEFAULTS)


def test_defaults_come_from_the_configuration():
    request = parse()
    assert request.messages == (Message("user", "hi"),)
    sampling = request.sampling
    assert (sampling.max_response_tokens, sampling.temperature, sampling.top_p) == (64, 0.7, 0.9)
    assert (sampling.top_k, sampling.min_p, sampling.stop, sampling.seed) == (0, 0.0, (), None)
    assert (request.choices, request.is_stream, request.tools_json) == (1, False, None)


def test_null_and_unknown_keys_are_ignored():
    junk = dict.fromkeys(
        ["temperature", "top_p", "n", "stop", "seed", "stream", "stream_options", "tools",
         "tool_choice", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "model"]
    )  # fmt: skip
    assert parse(**junk, store=False, prompt_cache_key="x", metadata={"a": 1}) == parse()


def test_every_parameter_arrives():
    request = parse(
        temperature=0, top_p=0.5, top_k=7, min_p=0.1, max_completion_tokens=9, max_tokens=5,
        stop="END", seed=-1, n=3, stream=True, stream_options={"include_usage": True},
        logprobs=True, top_logprobs=4,
    )  # fmt: skip
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 0.5, 7)
    assert (sampling.min_p, sampling.max_response_tokens, sampling.stop) == (0.1, 9, ("END",))
    assert sampling.seed == SEED_RANGE - 1
    assert (request.choices, request.is_stream, request.wants_usage) == (3, True, True)
    assert (request.wants_logprobs, request.top_logprobs) == (True, 4)


@pytest.mark.parametrize(("asked", "meant"), [(1e-10, 0.0), (0.0099, 0.0), (0.01, 0.01)])
def test_a_temperature_next_to_nothing_means_greedy(asked, meant):
    assert parse(temperature=asked).sampling.temperature == meant
    cold = EngineConfig(temperature=asked)
    assert parse_chat_request({"messages": HI}, cold).sampling.temperature == meant


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("a", "a"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([], ""),
        ("\ud83d", "?"),
    ],
)
def test_content_has_many_forms(content, text):
    (message,) = parse(messages=[{"role": "developer", "content": content}]).messages
    assert message == Message("system", text)


def test_calls_and_results_are_read():
    call = {"id": "c1", "index": 0, "type": "function", "function": {"name": "ls", "arguments": ""}}
    messages = parse(
        messages=[
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
            {"role": "tool", "tool_call_id": "c1", "name": "ls", "content": "x"},
            {"role": "assistant", "reasoning_content": "hm", "tool_calls": None},
        ]
    ).messages
    assert messages[1].tool_calls == (ToolCall("c1", "ls", ""),)
    assert messages[2] == Message("tool", "x", tool_call_id="c1", name="ls")
    assert messages[3].reasoning == "hm"


def allowed(mode: str, names: list[str]) -> dict:
    listed = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": listed}}


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        (None, ["ls", "cat"]),
        ("auto", ["ls", "cat"]),
        ("required", ["ls", "cat"]),
        ("none", None),
        ({"type": "function", "function": {"name": "cat"}}, ["cat"]),
        (allowed("auto", ["cat"]), ["cat"]),
        (allowed("required", ["cat", "ls"]), ["ls", "cat"]),
        (allowed("auto", []), None),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}, ["ls", "cat"]),
    ],
)
def test_tool_choice_says_what_is_offered(choice, offered):
    tools = [TOOL, {"type": "function", "function": {"name": "cat"}}]
    tools_json = parse(tools=tools, tool_choice=choice).tools_json
    names = tools_json and [tool["function"]["name"] for tool in json.loads(tools_json)]
    assert names == offered


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "ls"}}, ("function", "ls")),
        (allowed("auto", ["ls"]), "auto"),
        (allowed("required", ["ls"]), "required"),
    ],
)
def test_tool_choice_is_read(choice, read):
    assert parse(tools=[TOOL], tool_choice=choice).tool_choice == read


def test_without_tools_nothing_is_required():
    assert parse(tool_choice="required").tool_choice == "auto"
    assert parse(tool_choice="none").tool_choice == "none"


def test_calls_may_be_parallel_unless_that_is_denied():
    assert parse(tools=[TOOL]).is_parallel
    assert not parse(tools=[TOOL], parallel_tool_calls=False).is_parallel


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "string"}}},
            {"type": "string"},
        ),
    ],
)
def test_response_format_is_a_schema(wanted, schema):
    assert parse(response_format=wanted).response_format == schema


def test_flat_tools_are_put_into_form():
    flat = {"type": "function", "name": "ls", "parameters": {"type": "object"}}
    assert json.loads(parse(tools=[flat]).tools_json) == [TOOL]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object", "properties": None, "required": None},
        {"properties": {"a": True, "b": {"type": None}, "c": {"type": ["string", "null"]}}},
        {"properties": {"a": {"anyOf": [{"type": "string"}, {"enum": [1]}]}}, "required": ["a"]},
    ],
)
def test_schemas_of_parameters_are_taken_as_they_are(schema):
    tool = {"type": "function", "function": {"name": "ls", "parameters": schema}}
    assert json.loads(parse(tools=[tool]).tools_json) == [tool]


PARAMETERS = "tools[0].function.parameters"


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"messages": None}, "messages", "messages must be a non-empty list"),
        ({"messages": []}, "messages", "messages must be a non-empty list"),
        ({"messages": "hi"}, "messages", "messages must be a non-empty list"),
        ({"messages": ["hi"]}, "messages[0]", "got string"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "got null"),
        ({"messages": [{"role": "king"}]}, "messages[0].role", "'king' is unknown"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "got integer"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0]",
            "images are not supported",
        ),
        ({"temperature": "hot"}, "temperature", 'got string "hot", expected a number'),
        ({"temperature": True}, "temperature", "got boolean"),
        ({"temperature": 2.1}, "temperature", "2.1 is out of range"),
        ({"temperature": float("nan")}, "temperature", "NaN is out of range"),
        ({"top_p": -0.1}, "top_p", "out of range"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"max_tokens": 1.5}, "max_tokens", "got number 1.5"),
        ({"max_tokens": 10**5000, "n": 9}, "n", "9 is out of range"),
        ({"n": -(10**5000)}, "n", "a very long number"),
        ({"stop": 3}, "stop", "got integer"),
        ({"stop": [1]}, "stop[0]", "got integer"),
        ({"stop": ["x"] * 17}, "stop", "17 strings are too many"),
        ({"stream": "perhaps"}, "stream", "expected a boolean"),
        ({"stream_options": 1}, "stream_options", "expected an object"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs=true"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "at most 20"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "not supported"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name", "got null"),
        *(
            (
                {"tools": [{"function": {"name": "f", "parameters": schema}}]},
                f"{PARAMETERS}{where}",
                said,
            )
            for schema, where, said in (
                ([1], "", "got array, expected an object"),
                (5, "", "got integer 5"),
                ({"required": 5}, ".required", "expected an array"),
                ({"properties": 5}, ".properties", "expected an object"),
                ({"properties": {"k": "x"}}, ".properties.k", "expected an object"),
                ({"properties": {"k": {"type": 5}}}, ".properties.k.type", "got integer"),
                ({"properties": {"k": {"type": [5]}}}, ".properties.k.type", "got array"),
                ({"properties": {"k": {"enum": 5}}}, ".properties.k.enum", "expected an array"),
                ({"properties": {"k": {"anyOf": 5}}}, ".properties.k.anyOf", "expected an array"),
                (
                    {"properties": {"k": {"oneOf": [{"type": 5}]}}},
                    ".properties.k.oneOf[0].type",
                    "got integer",
                ),
            )
        ),
        ({"tools": [TOOL], "tool_choice": "some"}, "tool_choice", "expected none, auto"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "not among tools: ls",
        ),
        ({"tools": [TOOL], "tool_choice": allowed("auto", ["x"])}, "tool_choice", "tools: ls"),
        ({"tools": [TOOL], "tool_choice": allowed("some", ["ls"])}, "tool_choice", "expected none"),
        (
            {"tools": [TOOL], "tool_choice": allowed("auto", ["ls", 3])},
            "tool_choice.allowed_tools.tools[1].function.name",
            "got integer",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": 3}},
            "tool_choice.allowed_tools",
            "expected an object",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type", "expected text, json_obj"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
            "response_format.json_schema.schema",
            "expected an object",
        ),
        ({"model": 3}, "model", "got integer 3"),
    ],
)
def test_what_is_wrong_is_named(body, param, said):
    with pytest.raises(WireError) as caught:
        parse(**body)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "line 1, column 2"),
        (b"\xff{}", "not valid UTF-8"),
        (b"[]", "got array, expected an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "number too long"),
        (b"", "not valid JSON"),
    ],
)
def test_bodies_that_are_no_object(body, said):
    with pytest.raises(WireError, match=said):
        parse_object(body)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="recorded requests are not at hand")
def test_what_real_clients_sent_is_understood():
    entries = [
        json.loads(line)
        for path in sorted(RECORDINGS.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    bodies = [
        entry["body"]
        for entry in entries
        if entry.get("path", "").endswith("/chat/completions") and entry.get("body")
    ]
    assert len(bodies) > 100
    for body in bodies:
        request = parse_chat_request(body, DEFAULTS)
        assert len(request.messages) == len(body["messages"])
        assert (request.tools_json is None) == (not body.get("tools"))


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, {"type": "object"}),
    ],
)
def test_the_format_of_a_reply_is_a_schema(wanted, schema):
    assert parse(response_format=wanted).response_format == schema
