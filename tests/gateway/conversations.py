"""One conversation as each dialect writes it, and recorded requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from clawjax.records import Message

RECORDED = Path(__file__).parents[1] / "data" / "dialects"


def recorded(name: str | None = None) -> list[dict]:
    """What real clients sent, shortened."""
    paths = sorted(RECORDED.glob(f"{name or '*'}.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def as_chat(messages: Sequence[Message]) -> dict:
    return {"messages": [_chat_message(message) for message in messages]}


def _chat_message(message: Message) -> dict:
    entry: dict = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        entry["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        entry["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        entry["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return entry


def as_anthropic(messages: Sequence[Message]) -> dict:
    """Results and the user's text behind them share a message, as Anthropic wants it."""
    body: dict = {"messages": []}
    for i, message in enumerate(messages):
        match message.role:
            case "system" if i == 0:
                body["system"] = [{"type": "text", "text": message.content, "cache_control": {}}]
            case "tool":
                block = {
                    "type": "tool_result",
                    "tool_use_id": message.tool_call_id,
                    "content": [{"type": "text", "text": message.content}],
                }
                _user_blocks(body, messages, i).append(block)
            case "user" if i and messages[i - 1].role == "tool":
                block = {"type": "text", "text": message.content}
                _user_blocks(body, messages, i).append(block)
            case "assistant":
                content = _assistant_blocks(message)
                body["messages"].append({"role": "assistant", "content": content})
            case role:
                body["messages"].append({"role": role, "content": message.content})
    return body


def _user_blocks(body: dict, messages: Sequence[Message], i: int) -> list:
    if messages[i - 1].role != "tool":
        body["messages"].append({"role": "user", "content": []})
    return body["messages"][-1]["content"]


def _assistant_blocks(message: Message) -> list[dict]:
    blocks: list[dict] = []
    if message.reasoning is not None:
        blocks.append({"type": "thinking", "thinking": message.reasoning, "signature": "x"})
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    for call in message.tool_calls:
        arguments = json.loads(call.arguments)
        blocks.append(
            {"type": "tool_use", "id": call.call_id, "name": call.name, "input": arguments}
        )
    return blocks


def as_responses(messages: Sequence[Message]) -> dict:
    items: list[dict] = []
    for message in messages:
        match message.role:
            case "tool":
                items.append(
                    {
                        "type": "function_call_output",
                        "call_id": message.tool_call_id,
                        "output": message.content,
                    }
                )
            case "assistant":
                items += _reply_items(message)
            case role:
                part = {"type": "input_text", "text": message.content}
                items.append({"type": "message", "role": role, "content": [part]})
    return {"input": items}


def _reply_items(message: Message) -> list[dict]:
    items: list[dict] = []
    if message.reasoning is not None:
        summary = [{"type": "summary_text", "text": message.reasoning}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "content": None})
    if message.content:
        part = {"type": "output_text", "text": message.content, "annotations": []}
        items.append({"type": "message", "role": "assistant", "content": [part]})
    calls = [
        {
            "type": "function_call",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in message.tool_calls
    ]
    return items + calls
