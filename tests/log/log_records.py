"""Records for the log's tests."""

from clawjax.records import (
    Message,
    NextState,
    NextStateKind,
)


def user_said(turn_id: str, at: float = 110.0) -> NextState:
    return NextState(turn_id, NextStateKind.USER, at, (Message("user", "thanks"),))
