"""Anthropic's dialect: what is particular about its requests, and its official client."""

import json
from dataclasses import replace

import anthropic
import pytest

from clawjax.config import EngineConfig, ProcessConfig, StepAspect, ToolOutcomeConfig
from clawjax.errors import WireError
from clawjax.gateway.dialects.anthropic import parse_messages_request
from clawjax.protocols import TokenChunk
from clawjax.records import FinishReason, Message, ToolCall
from clawjax.rewards.process import ProcessReward
from clawjax.rewards.tool_outcome import ToolOutcomeReward

from .conversations import recorded
from .helpers import MODEL, serving, user

DEFAULTS = EngineConfig(max_response_tokens=64)
CALL = '<tool_call>{"name": "ls", "arguments": {"path": "/é"}}</tool_call>'
TOOL = {"name": "ls", "description": "lists", "input_schema": {"type": "object"}}


def parse(*messages: dict, **body):
    return parse_messages_request({"messages": list(messages), **body}, DEFAULTS)


def client_for(url: str, key: str = "k") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)


def test_claude_codes_history_is_read():
    entry = next(e for e in recorded("claude_code") if len(e["body"]["messages"]) > 10)
    messages = parse_messages_request(entry["body"], DEFAULTS).messages
    assert [message.role for message in messages] == [
        "system", "user", "system", "assistant", "tool", "assistant", "user", "assistant", "user",
        "assistant", "tool", "tool", "assistant", "user",
    ]  # fmt: skip
    assert "x-anthropic-billing-header" not in messages[0].content
    assert messages[7].reasoning == "I think hard about it."
    assert [call.name for call in messages[9].tool_calls] == ["Bash", "Bash"]
    assert messages[9].tool_calls[0].arguments == '{"command": "echo tool-ok"}'


def test_results_and_words_of_a_user_keep_their_order():
    result = {"type": "tool_result", "tool_use_id": "c1", "content": None, "is_error": True}
    words = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = parse({"role": "user", "content": [result, *words, result]}).messages
    assert messages == (
        Message("tool", "Error", tool_call_id="c1"),
        Message("user", "a\nb"),
        Message("tool", "Error", tool_call_id="c1"),
    )
    assert parse({"role": "user", "content": []}).messages == (Message("user"),)


@pytest.mark.parametrize(
    ("said", "is_error", "text"),
    [
        ("no such file", True, "Error: no such file"),
        ([{"type": "text", "text": "no such file"}], True, "Error: no such file"),
        ("error: no such file", True, "error: no such file"),
        ("errors.txt is not there", True, "Error: errors.txt is not there"),
        ("no such file", False, "no such file"),
        ("no such file", None, "no such file"),
    ],
)
def test_the_result_of_a_failed_call_says_so(said, is_error, text):
    result = {"type": "tool_result", "tool_use_id": "c1", "content": said, "is_error": is_error}
    assert parse({"role": "user", "content": [result]}).messages[0].content == text


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("no such file: a.py", -0.5),
        ("The user doesn't want to proceed with this tool use. The tool use was rejected.", None),
    ],
)
async def test_a_failed_call_is_not_praised(make_gateway, qwen_tokenizer, said, score):
    gateway = make_gateway([CALL, "Oh."], with_tokenizer=qwen_tokenizer)
    asked = {"model": MODEL, "max_tokens": 400, "tools": [TOOL]}
    body = {"messages": [user("look")], **asked}
    (block,) = (await gateway.client.post("/v1/messages", json=body)).json()["content"]
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": said, "is_error": True}
    body["messages"] += [
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    assert (await gateway.client.post("/v1/messages", json=body)).status_code == 200
    turn = gateway.turns()[0]
    (state,) = gateway.events(turn.turn_id)
    labels = (await ProcessReward(ProcessConfig()).judge(turn, state)).step_labels
    assert labels[list(StepAspect).index(StepAspect.PROGRESS)] == -1.0
    assert (await ToolOutcomeReward(ToolOutcomeConfig()).judge(turn, state)).score == score


def test_texts_around_a_call_are_one_text():
    blocks = [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I look. "},
        {"type": "tool_use", "id": "c1", "name": "ls", "input": None},
        {"type": "text", "text": "Done."},
    ]
    (message,) = parse({"role": "assistant", "content": blocks}).messages
    assert message == Message(
        "assistant", "I look. Done.", tool_calls=(ToolCall("c1", "ls", "{}"),)
    )


def test_anthropics_own_tools_are_left_out_with_a_note():
    search = {"type": "web_search_20250305", "name": "web_search"}
    request = parse(user("hi"), tools=[search, {"type": "custom", **TOOL}, search])
    (tool,) = json.loads(request.tools_json)
    assert tool["function"] == {
        "name": "ls",
        "description": "lists",
        "parameters": TOOL["input_schema"],
    }
    assert request.notes == ('tools of type "web_search_20250305" are left out',)


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"messages": []}, "messages", "non-empty"),
        ({"messages": [{"role": "tool"}]}, "messages[0].role", "'tool' is unknown"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "messages[0].content[0]",
            "images are not supported",
        ),
        ({"messages": [user("hi")], "tool_choice": "auto"}, "tool_choice", "expected auto, any"),
        (
            {"messages": [user("hi")], "tool_choice": {"type": "tool", "name": "x"}},
            "tool_choice",
            "not among tools",
        ),
        (
            {"messages": [user("hi")], "tools": [{"name": "f", "input_schema": [1]}]},
            "tools[0].input_schema",
            "expected an object",
        ),
        ({"messages": [user("hi")], "stop_sequences": 3}, "stop_sequences", "got integer"),
        ({"messages": [user("hi")], "max_tokens": 0}, "max_tokens", "at least 1"),
    ],
)
def test_what_is_wrong_is_named(body, param, said):
    with pytest.raises(WireError) as caught:
        parse_messages_request(body, DEFAULTS)
    assert caught.value.param == param
    assert said in caught.value.message


async def test_the_official_client_talks_and_counts(make_gateway):
    gateway = make_gateway(["hello there", "and again"])
    async with serving(gateway.app) as url:
        client = client_for(url)
        asked = {"model": MODEL, "system": "be kind", "messages": [user("hi")]}
        message = await client.messages.create(max_tokens=50, **asked)
        counted = await client.messages.count_tokens(**asked)
        more = [user("hi"), {"role": "assistant", "content": message.content}, user("more")]
        async with client.messages.stream(
            model=MODEL, max_tokens=50, system="be kind", messages=more
        ) as stream:
            texts = [text async for text in stream.text_stream]
            final = await stream.get_final_message()
    first, second = gateway.turns()
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    assert message.content[0].text == "hello there"
    assert message.id.removeprefix("msg_").isalnum()
    assert message.usage.input_tokens == counted.input_tokens == len(first.prompt_ids)
    assert message.usage.output_tokens == len(first.response_ids)
    assert len(texts) > 1
    assert "".join(texts) == final.content[0].text == "and again"
    assert final.usage.output_tokens == len(second.response_ids)
    assert second.parent_turn_id == first.turn_id


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_and_calls_come_as_blocks_and_are_known_again(
    make_gateway, qwen_tokenizer, stream
):
    said = f"<think>\nhm, wait\n</think>\n\nI look.\n{CALL}\n{CALL}"
    gateway = make_gateway([said, "Nothing."], with_tokenizer=qwen_tokenizer)
    asked = {"model": MODEL, "max_tokens": 400, "tools": [TOOL]}
    async with serving(gateway.app) as url:
        client = client_for(url)
        if stream:
            async with client.messages.stream(messages=[user("look")], **asked) as events:
                message = await events.get_final_message()
        else:
            message = await client.messages.create(messages=[user("look")], **asked)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "empty"}
            for block in message.content[2:]
        ]
        history = [
            user("look"),
            {"role": "assistant", "content": [block.to_dict() for block in message.content]},
            {"role": "user", "content": results},
        ]
        await client.messages.create(messages=history, **asked)
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    assert (message.stop_reason, message.content[0].thinking) == ("tool_use", "hm, wait")
    assert message.content[0].signature
    assert message.content[2].input == {"path": "/é"}
    assert message.usage.output_tokens_details.thinking_tokens > 3
    first, second = gateway.turns()
    assert second.messages[1] == first.reply
    assert second.parent_turn_id == first.turn_id


async def test_a_reply_tells_what_ended_it(make_gateway, tokenizer):
    gateway = make_gateway(["one two"])
    async with serving(gateway.app) as url:
        create = client_for(url).messages.create
        asked = {"model": MODEL, "messages": [user("hi")]}
        limited = await create(max_tokens=2, **asked)
        ended = await create(max_tokens=50, stop_sequences=["END"], **asked)
        end = tokenizer.special_text(min(tokenizer.eos_ids))
        as_text = await create(max_tokens=50, stop_sequences=[end, end[-1]], **asked)
    assert (limited.stop_reason, limited.usage.output_tokens) == ("max_tokens", 2)
    assert (ended.stop_reason, ended.stop_sequence) == ("end_turn", None)
    assert (as_text.stop_reason, as_text.stop_sequence) == ("end_turn", None)


async def test_errors_have_anthropics_shape(make_gateway):
    gateway = make_gateway(api_key="right", context_length=30)
    async with serving(gateway.app) as url:
        asked = {"model": MODEL, "max_tokens": 5}
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client_for(url, "wrong").messages.create(messages=[user("hi")], **asked)
        assert caught.value.body == {
            "type": "error",
            "error": {"type": "authentication_error", "message": "invalid api key"},
        }
        create = client_for(url, "right").messages.create
        with pytest.raises(anthropic.BadRequestError, match="maximum context length is 30 tokens"):
            await create(messages=[user("hi " * 50)], **asked)
        with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
            await create(messages=[user("hi")], model="claude-9", max_tokens=5)


async def test_the_stop_sequence_that_ended_a_reply_is_named(make_gateway, monkeypatch):
    """The text has none of it; the tokens have."""
    gateway = make_gateway(["one STOP"])
    generate = gateway.engine.generate

    async def until_stop(request):
        async for chunk in generate(request):
            text = chunk.text if len(seen) < len("one ") else ""
            seen.append(chunk)
            is_last = len(seen) == len("one STOP")
            yield replace(chunk, text=text, finish_reason=FinishReason.STOP if is_last else None)
            if is_last:
                return

    seen: list[TokenChunk] = []
    monkeypatch.setattr(gateway.engine, "generate", until_stop)
    body = {"messages": [user("hi")], "stop_sequences": ["END", "STOP"], "max_tokens": 50}
    message = (await gateway.client.post("/v1/messages", json=body)).json()
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "STOP")
    assert message["content"][0]["text"].strip() == "one"
