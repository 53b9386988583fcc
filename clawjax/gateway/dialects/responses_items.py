"""The output items of `/v1/responses`: whole, and under construction.

An item under construction knows the events of its own life, without their place in the stream.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from clawjax.gateway.completions import Json
from clawjax.records import ToolCall

__all__ = [
    "CallItem",
    "Item",
    "TextItem",
    "ThoughtItem",
    "call_item",
    "message_item",
    "thought_item",
]

Event = tuple[str, Json]


@dataclass(slots=True)
class ThoughtItem:
    """A reasoning item under construction; the thought is its only summary."""

    item_id: str
    held: list[str] = field(default_factory=list)

    def begun(self) -> Json:
        """As it is added: empty."""
        return {**thought_item(self.item_id, ""), "summary": [], "status": "in_progress"}

    def whole(self) -> Json:
        """As it is done."""
        return thought_item(self.item_id, "".join(self.held))

    def opening(self) -> list[Event]:
        """What follows its being added."""
        part = {"summary_index": 0, "part": _summary_text("")}
        return [("response.reasoning_summary_part.added", part)]

    def growth(self, new: str) -> Event:
        """More of it."""
        return "response.reasoning_summary_text.delta", {"summary_index": 0, "delta": new}

    def closing(self) -> list[Event]:
        """What comes before its being done."""
        text = "".join(self.held)
        part = {"summary_index": 0, "part": _summary_text(text)}
        return [
            ("response.reasoning_summary_text.done", {"summary_index": 0, "text": text}),
            ("response.reasoning_summary_part.done", part),
        ]


@dataclass(slots=True)
class TextItem:
    """A message item under construction."""

    item_id: str
    held: list[str] = field(default_factory=list)

    def begun(self) -> Json:
        """As it is added: empty."""
        return {**message_item(self.item_id, ""), "content": [], "status": "in_progress"}

    def whole(self) -> Json:
        """As it is done."""
        return message_item(self.item_id, "".join(self.held))

    def opening(self) -> list[Event]:
        """What follows its being added."""
        part = {"content_index": 0, "part": _output_text("")}
        return [("response.content_part.added", part)]

    def growth(self, new: str) -> Event:
        """More of it."""
        return "response.output_text.delta", {"content_index": 0, "delta": new, "logprobs": []}

    def closing(self) -> list[Event]:
        """What comes before its being done."""
        text = "".join(self.held)
        whole = {"content_index": 0, "text": text, "logprobs": []}
        part = {"content_index": 0, "part": _output_text(text)}
        return [("response.output_text.done", whole), ("response.content_part.done", part)]


@dataclass(slots=True)
class CallItem:
    """A function call under construction."""

    item_id: str
    call: ToolCall
    held: list[str] = field(default_factory=list)
    """Its arguments so far."""

    def begun(self) -> Json:
        """As it is added: empty."""
        return {**call_item(self.item_id, self.call, ""), "status": "in_progress"}

    def whole(self) -> Json:
        """As it is done."""
        return call_item(self.item_id, self.call, "".join(self.held))

    def opening(self) -> list[Event]:
        """What follows its being added."""
        return []

    def growth(self, new: str) -> Event:
        """More of it."""
        return "response.function_call_arguments.delta", {"delta": new}

    def closing(self) -> list[Event]:
        """What comes before its being done."""
        whole = {"name": self.call.name, "arguments": "".join(self.held)}
        return [("response.function_call_arguments.done", whole)]


Item = ThoughtItem | TextItem | CallItem


def message_item(item_id: str, text: str) -> Json:
    """What was said."""
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_output_text(text)],
    }


def thought_item(item_id: str, text: str) -> Json:
    """A thought as its own summary; what clients take for encrypted is only there to be kept."""
    return {
        "id": item_id,
        "type": "reasoning",
        "status": "completed",
        "summary": [_summary_text(text)],
        "encrypted_content": base64.b64encode(item_id.encode()).decode(),
    }


def call_item(item_id: str, call: ToolCall, arguments: str) -> Json:
    """A call, with as much of its arguments as there is."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": "completed",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments,
    }


def _output_text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary_text(text: str) -> Json:
    return {"type": "summary_text", "text": text}
