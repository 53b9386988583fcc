"""Turns and next states as the judges meet them."""

from __future__ import annotations

from clawjax.records import (
    Message,
    NextState,
    NextStateKind,
)


def user_says(*words: str, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="user", content=text) for text in words)
    return NextState(turn_id, NextStateKind.USER, arrived_at=110.0, messages=messages)


def tool_says(*results: str, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="tool", content=text, tool_call_id="c1") for text in results)
    return NextState(turn_id, NextStateKind.TOOL, arrived_at=110.0, messages=messages)


def feedback(*words: str, score: float | None = None, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="user", content=text) for text in words)
    return NextState(
        turn_id, NextStateKind.FEEDBACK, arrived_at=110.0, messages=messages, score=score
    )


def session_closed(turn_id: str = "t1") -> NextState:
    return NextState(turn_id, NextStateKind.SESSION_CLOSED, arrived_at=110.0)
