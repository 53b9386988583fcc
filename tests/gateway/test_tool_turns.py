"""A call and its results in every dialect, with the official clients, against one gateway."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from clawjax.gateway.dialects.anthropic import MALFORMED
from clawjax.records import GrammarKind, LinkKind, NextStateKind

from .helpers import MODEL, serving, user

LOOK = "I look.\n" + "\n".join(
    f'<tool_call>\n{{"name": "ls", "arguments": {{"path": "{path}", "depth": 2}}}}\n</tool_call>'
    for path in ("/tmp", "/é")
)
ASKED = [{"path": "/tmp", "depth": 2}, {"path": "/é", "depth": 2}]
FOUND = ("a.txt b.txt", "nothing")
DONE = "There are two files."
MISSPELT = '{"city": "Paris", "days": three}'
NO_COMMA = '{"city": "Paris" "days": 3}'
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "depth": {"type": "integer"}},
    "required": ["path"],
}
CHAT_TOOLS: list[Any] = [{"type": "function", "function": {"name": "ls", "parameters": SCHEMA}}]
FLAT_TOOLS: list[Any] = [{"type": "function", "name": "ls", "parameters": SCHEMA, "strict": False}]
OWN_TOOLS: list[Any] = [{"name": "ls", "input_schema": SCHEMA}]


class Call(NamedTuple):
    call_id: str
    name: str
    arguments: object


class Said(NamedTuple):
    text: str
    calls: list[Call]
    reason: str | None
    growths: int = 0
    """Pieces in which arguments came."""


class Clients(NamedTuple):
    openai: openai.AsyncOpenAI
    anthropic: anthropic.AsyncAnthropic


Speaker = Callable[[Clients, str, bool], Awaitable[tuple[Said, Said]]]


async def chat(clients: Clients, question: str, is_stream: bool) -> tuple[Said, Said]:
    messages: list[Any] = [{"role": "user", "content": question}]

    async def say() -> Said:
        asked: dict[str, Any] = {"model": MODEL, "messages": messages, "tools": CHAT_TOOLS}
        growths = 0
        if is_stream:
            async with clients.openai.chat.completions.stream(**asked, max_tokens=400) as stream:
                async for event in stream:
                    growths += event.type == "tool_calls.function.arguments.delta"
                choice = (await stream.get_final_completion()).choices[0]
        else:
            answer = await clients.openai.chat.completions.create(**asked, max_tokens=400)
            choice = answer.choices[0]
        messages.append(choice.message.model_dump(exclude_none=True))
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in choice.message.tool_calls or []
        ]
        return Said(choice.message.content or "", calls, choice.finish_reason, growths)

    first = await say()
    for call, found in zip(first.calls, FOUND, strict=True):
        messages.append({"role": "tool", "tool_call_id": call.call_id, "content": found})
    return first, await say()


async def responses(
    clients: Clients, question: str, is_stream: bool, *, is_kept: bool = False
) -> tuple[Said, Said]:
    items: list[Any] = [{"role": "user", "content": question}]
    previous: dict[str, Any] = {}

    async def say() -> Said:
        asked: dict[str, Any] = {"model": MODEL, "input": items, "tools": FLAT_TOOLS, **previous}
        growths = 0
        if is_stream:
            async with clients.openai.responses.stream(**asked, max_output_tokens=400) as stream:
                async for event in stream:
                    growths += event.type == "response.function_call_arguments.delta"
                answer = await stream.get_final_response()
        else:
            answer = await clients.openai.responses.create(**asked, max_output_tokens=400)
        if is_kept:
            previous["previous_response_id"] = answer.id
            items.clear()
        else:
            items.extend(item.model_dump(exclude_none=True) for item in answer.output)
        calls = [
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]
        return Said(answer.output_text, calls, answer.status, growths)

    first = await say()
    for call, found in zip(first.calls, FOUND, strict=True):
        output = {"type": "function_call_output", "call_id": call.call_id, "output": found}
        items.append(output)
    return first, await say()


async def kept_responses(clients: Clients, question: str, is_stream: bool) -> tuple[Said, Said]:
    return await responses(clients, question, is_stream, is_kept=True)


async def messages(clients: Clients, question: str, is_stream: bool) -> tuple[Said, Said]:
    history: list[Any] = [{"role": "user", "content": question}]

    async def say() -> Said:
        asked: dict[str, Any] = {"model": MODEL, "messages": history, "tools": OWN_TOOLS}
        growths = 0
        if is_stream:
            async with clients.anthropic.messages.stream(**asked, max_tokens=400) as stream:
                async for event in stream:
                    growths += event.type == "input_json"
                answer = await stream.get_final_message()
        else:
            answer = await clients.anthropic.messages.create(**asked, max_tokens=400)
        content = [block.model_dump(exclude_none=True) for block in answer.content]
        history.append({"role": "assistant", "content": content})
        calls = [
            Call(block.id, block.name, block.input)
            for block in answer.content
            if block.type == "tool_use"
        ]
        text = "".join(block.text for block in answer.content if block.type == "text")
        return Said(text, calls, answer.stop_reason, growths)

    first = await say()
    results = [
        {"type": "tool_result", "tool_use_id": call.call_id, "content": found}
        for call, found in zip(first.calls, FOUND, strict=True)
    ]
    history.append({"role": "user", "content": results})
    return first, await say()


REASONS: Mapping[Speaker, tuple[str, str]] = {
    chat: ("tool_calls", "stop"),
    responses: ("completed", "completed"),
    kept_responses: ("completed", "completed"),
    messages: ("tool_use", "end_turn"),
}
CASES = [(speak, is_stream) for speak in REASONS for is_stream in (False, True)]


async def test_calls_and_their_results_are_two_turns_of_one_session(make_gateway):
    gateway = make_gateway([LOOK, DONE], context_length=4096)
    async with (
        serving(gateway.app) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as by_openai,
        anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as by_anthropic,
    ):
        clients = Clients(by_openai, by_anthropic)
        for number, (speak, is_stream) in enumerate(CASES):
            said = await speak(clients, f"question {number}", is_stream)
            first, last = said
            where = f"{speak.__name__}, stream={is_stream}"
            assert [reply.text for reply in said] == ["I look.", DONE], where
            assert [call.name for call in first.calls] == ["ls", "ls"], where
            assert [call.arguments for call in first.calls] == ASKED, where
            assert (first.reason, last.reason) == REASONS[speak], where
            assert not last.calls, where
            if not is_stream:
                assert not first.growths, where
            elif speak is messages:
                assert first.growths == 2, f"{where}: a call's arguments come at once"
            else:
                assert first.growths > 8, where

            asked, answered = gateway.turns()[-2:]
            assert [call.call_id for call in asked.reply.tool_calls] == [
                call.call_id for call in first.calls
            ], where
            assert len({call.call_id for call in first.calls}) == 2, where
            assert answered.session_id == asked.session_id, where
            assert answered.parent_turn_id == asked.turn_id, where
            link = gateway.log.links([answered.turn_id])[answered.turn_id]
            assert link.kind is LinkKind.EXTEND, where
            (reaction,) = gateway.events(asked.turn_id)
            assert reaction.kind is NextStateKind.TOOL, where
            assert [message.content for message in reaction.messages] == [*FOUND], where
            whole = asked.prompt_ids + asked.response_ids
            assert answered.prompt_ids[: len(whole)] == whole, where
    turns = gateway.turns()
    assert len(turns) == 2 * len(CASES)
    assert len({turn.session_id for turn in turns}) == len(CASES)


@pytest.mark.parametrize(
    ("call", "given"),
    [
        ('"arguments": [1]', {MALFORMED: "[1]"}),
        ('"arguments": "all of it"', {MALFORMED: "all of it"}),
        ('"arguments": {}', {}),
        ('"id": 1', {}),
        # Whose brace the last one is cannot be told where the rest is no JSON.
        (f'"arguments": {MISSPELT}', {MALFORMED: MISSPELT + "}"}),
        (f'"arguments": {NO_COMMA}', {MALFORMED: NO_COMMA + "}"}),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_anthropics_clients_get_objects_and_turns_stay_linked(
    make_gateway, call, given, is_stream
):
    text = f'<tool_call>{{"name": "ls", {call}}}</tool_call>'
    gateway = make_gateway([text, DONE], context_length=4096)
    history: list[Any] = [{"role": "user", "content": "q"}]
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 400, "tools": OWN_TOOLS}
    async with (
        serving(gateway.app) as url,
        anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client,
    ):
        if is_stream:
            async with client.messages.stream(**asked, messages=history) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await client.messages.create(**asked, messages=history)
        (block,) = answer.content
        assert block.type == "tool_use"
        assert block.input == given
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "invalid"}
        history.append({"role": "assistant", "content": [block.model_dump(exclude_none=True)]})
        history.append({"role": "user", "content": [result]})
        await client.messages.create(**asked, messages=history)
    first, second = gateway.turns()
    assert second.parent_turn_id == first.turn_id
    assert gateway.log.links([second.turn_id])[second.turn_id].kind is LinkKind.EXTEND


async def test_half_a_surrogate_pair_in_a_call_breaks_no_conversation(make_gateway):
    half = r'{"path": "\ud83d"}'
    called = f'<tool_call>\n{{"name": "ls", "arguments": {half}}}\n</tool_call>'
    gateway = make_gateway([called, DONE], context_length=4096)
    first = await gateway.chat(user("look"), tools=CHAT_TOOLS, max_tokens=400)
    message = first.json()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    call["function"]["arguments"] = half
    found = {"role": "tool", "tool_call_id": call["id"], "content": "nothing"}
    second = await gateway.chat(user("look"), message, found, tools=CHAT_TOOLS)
    assert second.status_code == 200, second.text
    asked, answered = gateway.turns()
    assert asked.reply.tool_calls[0].arguments == '{"path": "?"}'
    assert answered.messages[1].tool_calls[0].arguments == '{"path": "?"}'
    assert answered.parent_turn_id == asked.turn_id


async def test_a_required_call_is_held_to_the_same_grammar_in_every_dialect(make_gateway):
    gateway = make_gateway([LOOK], context_length=4096)
    asked: Any = [{"role": "user", "content": "look"}]
    async with (
        serving(gateway.app) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as by_openai,
        anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as by_anthropic,
    ):
        await by_openai.chat.completions.create(
            model=MODEL,
            messages=asked,
            tools=CHAT_TOOLS,
            tool_choice="required",
            parallel_tool_calls=False,
        )
        await by_openai.responses.create(
            model=MODEL,
            input=asked,
            tools=FLAT_TOOLS,
            tool_choice="required",
            parallel_tool_calls=False,
        )
        await by_anthropic.messages.create(
            model=MODEL,
            messages=asked,
            tools=OWN_TOOLS,
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            max_tokens=400,
        )
    first, *others = [request.sampling.grammar for request in gateway.engine.requests]
    assert first is not None
    assert first.kind is GrammarKind.STRUCTURAL_TAG
    assert others == [first, first]
