"""Actions as replies: what scripted agents say."""

from __future__ import annotations

import json

from clawjax.evals.harness.tasks import RESPOND, Action
from clawjax.evals.harness.trajectory import AgentTurn, RawCall

__all__ = ["as_call", "as_text"]


def as_call(action: Action) -> AgentTurn:
    """A tool call; what is said to the user is plain text."""
    if action.name == RESPOND:
        return AgentTurn(text=str(action.arguments["text"]))
    return AgentTurn(calls=(RawCall("call", action.name, json.dumps(dict(action.arguments))),))


def as_text(action: Action) -> AgentTurn:
    """Text as `parsing.ACTION_RULES` asks for."""
    return AgentTurn(text=f"Action: {action.name}\nArguments: {json.dumps(dict(action.arguments))}")
