"""A response that was given before, as `/v1/responses/{id}` tells it: from its turn alone.

What a turn does not keep is not made up: `metadata` is empty, and what a request named besides its
input, tools and sampling is as if it had named nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from clawjax.gateway.completions import Json
from clawjax.gateway.dialects.responses import is_instructed, is_stored
from clawjax.gateway.dialects.responses_items import call_item, message_item, thought_item
from clawjax.gateway.dialects.responses_reply import (
    Counted,
    finished_body,
    item_id,
    output_items,
)
from clawjax.records import FinishReason, Message, Turn

__all__ = ["input_items", "is_stored", "stored_body"]


def stored_body(turn: Turn) -> Json:
    """The response of a turn; a reply that was broken off is `cancelled`, with what there is."""
    counted = Counted(len(turn.prompt_ids), len(turn.response_ids), cached=None, reasoning=None)
    items = output_items(turn.response_id, turn.reply)
    echo = {
        "max_output_tokens": turn.sampling.max_response_tokens,
        **({"instructions": turn.messages[0].content} if is_instructed(turn.response_id) else {}),
        **({"tools": _flat(turn.tools_json)} if turn.tools_json is not None else {}),
    }
    body = finished_body(turn, turn.finish_reason, items, echo, counted)
    if turn.finish_reason is not FinishReason.CANCELLED:
        return body
    cut = [{**item, "status": "incomplete"} for item in items]
    return {**body, "status": "cancelled", "output": cut}


def input_items(turn: Turn) -> list[Json]:
    """What the reply answers, oldest first: the whole conversation, without the instructions."""
    said = turn.messages[int(is_instructed(turn.response_id)) :]
    return [item for place, one in enumerate(said) for item in _items(turn, place, one)]


def _items(turn: Turn, place: int, message: Message) -> Iterator[Json]:
    def name(prefix: str, part: int = 0) -> str:
        return item_id(turn.response_id, prefix, f"m{place}p{part}")

    match message.role:
        case "assistant":
            if message.reasoning is not None:
                yield thought_item(name("rs"), message.reasoning)
            if message.content or not message.tool_calls:
                yield message_item(name("msg"), message.content)
            for part, call in enumerate(message.tool_calls):
                yield call_item(name("fc", part), call, call.arguments)
        case "tool":
            yield {
                "id": name("fco"),
                "type": "function_call_output",
                "status": "completed",
                "call_id": message.tool_call_id or "",
                "output": message.content,
            }
        case role:
            yield {
                "id": name("msg"),
                "type": "message",
                "status": "completed",
                "role": role,
                "content": [{"type": "input_text", "text": message.content}],
            }


def _flat(tools_json: str) -> list[Json]:
    """Functions as this dialect has them: not nested, and strict or not."""
    tools = cast("list[dict[str, Any]]", json.loads(tools_json))
    return [{"type": "function", "strict": None, **tool["function"]} for tool in tools]
