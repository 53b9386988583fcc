"""The Responses dialect: what is particular about its requests, and the official client."""

import json
import time

import openai
import pytest

from clawjax.config import EngineConfig
from clawjax.errors import WireError
from clawjax.gateway.dialects.responses import parse_responses_request
from clawjax.records import Message, ToolCall

from .conversations import recorded
from .helpers import MODEL, serving, user

DEFAULTS = EngineConfig(max_response_tokens=64)
CALL = '<tool_call>{"name": "ls", "arguments": {"path": "/é"}}</tool_call>'
TOOL = {"type": "function", "name": "ls", "description": "lists", "parameters": {"type": "object"}}


def parse(given, **body):
    return parse_responses_request({"input": given, **body}, DEFAULTS)


def client_for(url: str, key: str = "k") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def test_codex_history_is_read():
    request = parse_responses_request(recorded("codex")[-1]["body"], DEFAULTS)
    assert [message.role for message in request.messages] == [
        "system", "system", "user", "user", "assistant", "tool", "assistant", "user", "assistant",
        "user",
    ]  # fmt: skip
    assert request.messages[4].tool_calls[0].name == "exec_command"
    assert request.messages[8].reasoning == "I think hard about it."
    assert [tool["function"]["name"] for tool in json.loads(request.tools_json)] == [
        "exec_command", "write_stdin", "request_user_input",
    ]  # fmt: skip
    assert request.notes == ('tools of type "namespace", "web_search" are left out',)


def test_items_of_one_reply_are_one_message():
    text = {"role": "assistant", "content": "I look. "}
    call = {"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{}"}
    more = {"role": "assistant", "content": "Done."}
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "x"}
    result = {
        "type": "function_call_output",
        "call_id": "c",
        "output": [{"type": "input_text", "text": "x"}],
    }
    messages = parse([user("hi"), thought, text, call, more, result, more, more]).messages
    assert messages == (
        Message("user", "hi"),
        Message("assistant", "I look. Done.", tool_calls=(ToolCall("c", "ls", "{}"),)),
        Message("tool", "x", tool_call_id="c"),
        Message("assistant", "Done."),
        Message("assistant", "Done."),
    )


def many_calls(count: int) -> dict:
    call = {"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{}"}
    return {"input": [user("hi"), *[call] * count]}


def many_texts_behind_calls(count: int) -> dict:
    text = {"role": "assistant", "content": "x" * 100}
    body = many_calls(count // 2)
    return {"input": [item for call in body["input"] for item in (call, text)]}


def many_allowed_tools(count: int) -> dict:
    named = [{"type": "function", "name": f"f{i}"} for i in range(count)]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": named}
    return {"input": "hi", "tools": named, "tool_choice": choice}


@pytest.mark.parametrize("body", [many_calls, many_texts_behind_calls, many_allowed_tools])
def test_requests_are_read_in_time_in_proportion_to_their_length(body):
    took = []
    for count in (4_000, 40_000):
        given = body(count)
        began = time.process_time()
        parse_responses_request(given, DEFAULTS)
        took.append(time.process_time() - began)
    assert took[1] < 40 * max(took[0], 0.005), took


def test_unknown_items_are_left_out_with_a_note():
    request = parse([{"type": "web_search_call"}, user("hi")])
    assert request.messages == (Message("user", "hi"),)
    assert request.notes == ('input items of type "web_search_call" are left out',)


def names(request) -> list[str]:
    return [tool["function"]["name"] for tool in json.loads(request.tools_json or "[]")]


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_of_a_list_of_allowed_tools_these_are_offered(mode):
    tools = [{**TOOL, "name": name} for name in "abc"]
    listed = [{"type": "function", "name": name} for name in "ca"]
    choice = {"type": "allowed_tools", "mode": mode}
    some = parse("hi", tools=tools, tool_choice={**choice, "tools": listed})
    assert (names(some), some.tool_choice) == (["a", "c"], mode)
    assert names(parse("hi", tools=tools, tool_choice=choice)) == ["a", "b", "c"]
    others = {**choice, "tools": [{"type": "mcp", "server_label": "x"}]}
    none = parse("hi", tools=tools, tool_choice=others)
    assert (names(none), none.tool_choice) == ([], "auto")


ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]}


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"input": "hi", "tools": [TOOL], "tool_choice": ALLOWED}, "tool_choice", '"x" is not'),
        ({"input": None}, "input", "got null"),
        ({"input": ""}, "input", "got string"),
        ({"input": [{"type": "compaction"}]}, "input", "nothing in it can be read"),
        ({"input": [{"role": "king"}]}, "input[0].role", "'king' is unknown"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]", "items are not kept"),
        ({"input": "hi", "background": True}, "background", "stream them"),
        ({"input": "hi", "conversation": "c"}, "conversation", "use previous_response_id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
            "images are not supported",
        ),
        ({"input": "hi", "text": {"format": {"type": "x"}}}, "text.format.type", '"x" is unknown'),
        ({"input": "hi", "previous_response_id": "a\0"}, "previous_response_id", "NUL"),
        ({"input": "hi", "max_output_tokens": -1}, "max_output_tokens", "at least 1"),
    ],
)
def test_what_is_wrong_is_named(body, param, said):
    with pytest.raises(WireError) as caught:
        parse_responses_request(body, DEFAULTS)
    assert caught.value.param == param
    assert said in caught.value.message


async def test_the_official_client_talks_and_streams(make_gateway):
    gateway = make_gateway(["hello there", "and again"])
    async with serving(gateway.app) as url:
        client = client_for(url)
        whole = await client.responses.create(model=MODEL, instructions="be kind", input="hi")
        history = [user("hi"), *(item.to_dict() for item in whole.output), user("more")]
        async with client.responses.stream(
            model=MODEL, instructions="be kind", input=history
        ) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
    first, second = gateway.turns()
    assert (whole.status, whole.output_text, whole.error) == ("completed", "hello there", None)
    assert whole.id.removeprefix("resp_").isalnum()
    assert whole.usage.input_tokens == len(first.prompt_ids)
    assert whole.usage.output_tokens == len(first.response_ids)
    assert whole.usage.input_tokens_details.cached_tokens == 0
    assert whole.instructions == "be kind"
    assert final.output_text == "and again"
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds.count("response.output_text.delta") > 1
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert second.parent_turn_id == first.turn_id


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_and_calls_come_as_items_and_are_known_again(
    make_gateway, qwen_tokenizer, stream
):
    said = f"<think>\nhm, wait\n</think>\n\nI look.\n{CALL}\n{CALL}"
    gateway = make_gateway([said, "Nothing."], with_tokenizer=qwen_tokenizer)
    asked = {"model": MODEL, "max_output_tokens": 400, "tools": [TOOL]}
    async with serving(gateway.app) as url:
        client = client_for(url)
        if stream:
            async with client.responses.stream(input="look", **asked) as events:
                response = await events.get_final_response()
        else:
            response = await client.responses.create(input="look", **asked)
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "empty"}
            for item in response.output[2:]
        ]
        replayed = [item.to_dict() for item in response.output]
        await client.responses.create(input=[user("look"), *replayed, *results], **asked)
        resumed = await client.responses.create(
            input=results, previous_response_id=response.id, **asked
        )
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert response.output[0].summary[0].text == "hm, wait"
    assert response.output[2].arguments == '{"path": "/é"}'
    assert len({item.id for item in response.output}) == 4
    assert response.usage.output_tokens_details.reasoning_tokens > 3
    assert resumed.previous_response_id == response.id
    first, second, third = gateway.turns()
    assert second.messages[1] == first.reply
    assert second.messages == third.messages
    assert {second.parent_turn_id, third.parent_turn_id} == {first.turn_id}


async def test_a_previous_response_is_gone_on_from(make_gateway):
    gateway = make_gateway(["one", "two", "three"])
    async with serving(gateway.app) as url:
        create = client_for(url).responses.create
        first = await create(model=MODEL, instructions="be brief", input="a")
        second = await create(
            model=MODEL, instructions="be long", input="b", previous_response_id=first.id
        )
        await create(model=MODEL, input="c", previous_response_id=second.id)
        for key, wanted in (("other", first.id), ("k", "resp_unknown")):
            with pytest.raises(openai.NotFoundError) as caught:
                await client_for(url, key).responses.create(
                    model=MODEL, input="b", previous_response_id=wanted
                )
            assert caught.value.code == "previous_response_not_found"
    texts = [[message.content for message in turn.messages] for turn in gateway.turns()]
    assert texts == [
        ["be brief", "a"],
        ["be long", "a", "one", "b"],
        ["a", "one", "b", "two", "c"],
    ]


async def test_a_reply_that_was_cut_is_incomplete(make_gateway):
    gateway = make_gateway(["one two three"])
    async with serving(gateway.app) as url:
        client = client_for(url)
        whole = await client.responses.create(model=MODEL, input="hi", max_output_tokens=2)
        events = await client.responses.create(
            model=MODEL, input="hi", max_output_tokens=2, stream=True
        )
        last = [event async for event in events][-1]
    for response in (whole, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"
    assert last.type == "response.incomplete"


async def test_a_stored_response_is_told_again_and_deleted_by_its_own_key(
    make_gateway, qwen_tokenizer
):
    said = f"<think>\nhm, wait\n</think>\n\nI look.\n{CALL}"
    gateway = make_gateway([said, "Nothing there."], with_tokenizer=qwen_tokenizer)
    asked = {"model": MODEL, "instructions": "be kind", "max_output_tokens": 250, "tools": [TOOL]}
    async with serving(gateway.app) as url:
        client = client_for(url)
        first = await client.responses.create(input="look", **asked)
        result = {"type": "function_call_output", "call_id": first.output[2].call_id, "output": "-"}
        second = await client.responses.create(
            input=[result], previous_response_id=first.id, **asked
        )
        again = await client.responses.retrieve(first.id)
        items = client.responses.input_items
        page = await items.list(second.id, limit=2)
        oldest_first = [item async for item in await items.list(second.id, limit=2, order="asc")]
        with pytest.raises(openai.BadRequestError, match="is no item of this response"):
            await items.list(second.id, after="msg_unknown")
        with pytest.raises(openai.BadRequestError, match="expected 1 to 100"):
            await items.list(second.id, extra_query={"limit": "1" * 5000})
        for refused in ("retrieve", "delete"):
            with pytest.raises(openai.NotFoundError, match="not known"):
                await getattr(client_for(url, "other").responses, refused)(first.id)
        await client.responses.delete(first.id)
        for gone in (client.responses.retrieve, client.responses.delete, items.list):
            with pytest.raises(openai.NotFoundError):
                await gone(first.id)
        assert (await client.responses.retrieve(second.id)).output_text == "Nothing there."
    given, told = first.to_dict(), again.to_dict()
    assert told.pop("usage")["total_tokens"] == given.pop("usage")["total_tokens"]
    told["tools"][0].pop("strict")
    assert told == given
    assert [item.type for item in oldest_first] == [
        "message", "reasoning", "message", "function_call", "function_call_output",
    ]  # fmt: skip
    assert len({item.id for item in oldest_first}) == 5
    assert page.data == oldest_first[:2:-1]
    assert (page.has_more, oldest_first[0].content[0].text) == (True, "look")
    assert [turn.response_id for turn in gateway.turns()] == [second.id]


async def test_what_a_deleted_response_was_asked_is_in_no_byte_of_the_log(make_gateway, tmp_path):
    gateway = make_gateway(["one", "two"])

    def is_stored() -> bool:
        return any(b"Quetzalcoatl" in file.read_bytes() for file in tmp_path.glob("turns.db*"))

    async with serving(gateway.app) as url:
        client = client_for(url)
        first = await client.responses.create(model=MODEL, input="a")
        second = await client.responses.create(
            model=MODEL, input="my PIN is Quetzalcoatl", previous_response_id=first.id
        )
        assert is_stored()
        await client.responses.delete(second.id)
    assert not is_stored()
    assert [turn.response_id for turn in gateway.turns()] == [first.id]


async def test_what_was_not_to_be_stored_or_is_no_response_is_not_told(make_gateway):
    gateway = make_gateway(["one", "two", "three"])
    async with serving(gateway.app) as url:
        client = client_for(url)
        unstored = await client.responses.create(model=MODEL, input="a", store=False)
        chat = await client.chat.completions.create(model=MODEL, messages=[user("b")])
        for unknown in (unstored.id, chat.id, "resp_0"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.responses.retrieve(unknown)
            assert caught.value.code == "response_not_found"
        with pytest.raises(openai.BadRequestError, match="not streamed again"):
            await client.responses.retrieve(unstored.id, stream=True)
        goes_on = await client.responses.create(
            model=MODEL, input="c", previous_response_id=unstored.id
        )
        assert (await client.responses.retrieve(goes_on.id)).output_text == "three"


async def test_no_database_is_asked_for_an_id_that_it_cannot_hold(gateway):
    for method, path in (
        ("GET", "/v1/responses/a%00"),
        ("DELETE", "/v1/responses/a%00"),
        ("DELETE", "/v1/sessions/a%00"),
    ):
        refused = await gateway.client.request(method, path)
        assert refused.status_code == 400
        assert "NUL" in refused.json()["error"]["message"]


async def test_a_response_that_broke_off_is_told_as_cancelled(make_gateway):
    gateway = make_gateway(["one two three"], fails_after=2)
    async with serving(gateway.app) as url:
        client = client_for(url)
        events = await client.responses.create(model=MODEL, input="a", stream=True)
        while (event := await anext(events)).type != "response.failed":
            pass
        told = await client.responses.retrieve(event.response.id)
        await events.close()
    assert (told.status, told.output[0].status) == ("cancelled", "incomplete")
    assert 0 < len(told.output_text) < len("one two three")
