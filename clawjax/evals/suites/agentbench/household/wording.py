"""How agents are told to act in a household, and how their replies are read.

Form of v0.2 (`alfworld/task.py`): whatever follows `ACTION:` on its line; a reply without it is an
invalid action. Which admissible action is meant is decided where these are known. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from clawjax.evals.harness.parsing import reply_parser
from clawjax.evals.harness.protocols import InvalidAction, Parsed
from clawjax.evals.harness.tasks import Action, Brief, Tool
from clawjax.evals.harness.trajectory import AgentTurn

__all__ = ["ACT", "SYSTEM", "TEXT_RULES", "TOOLS", "offered", "parse", "read_offered", "render"]

ACT = "take_action"

SYSTEM = """\
You are in a household and have a chore to do. At the beginning you are told what you see and what \
the chore is; in every turn you are given the actions that are available, choose one of them, and \
are told what happens. "Nothing happens." means that the action could not be taken: try another. \
Think when you have to, but mostly act."""

TEXT_RULES = """\
Write your action, word for word one of those available, in one of these two forms:
THOUGHT: your thoughts
ACTION: your next action
or only:
ACTION: your next action"""

TOOLS = (
    Tool(
        ACT,
        "Do something in the household.",
        {
            "type": "object",
            "properties": {"action": {"type": "string", "description": "one of those available"}},
            "required": ["action"],
            "additionalProperties": False,
        },
    ),
)

_ACTION = re.compile(r"ACTION:(.*)")
_OFFER = "AVAILABLE ACTIONS: "


def offered(seen: str, actions: Sequence[str]) -> str:
    """What the agent is told: what it sees, then what it may do."""
    return f"{seen} {_OFFER}" + "\n".join(actions) + "\n"


def read_offered(text: str) -> list[str]:
    """The actions of a message that `offered` wrote."""
    return [line for line in text.rpartition(_OFFER)[2].splitlines() if line]


def _read_text(text: str, brief: Brief) -> Parsed | InvalidAction:
    found = _ACTION.search(text)
    if found is None:
        return InvalidAction("Your reply lacks `ACTION:`.")
    return Parsed((Action(ACT, {"action": found.group(1).strip()}),))


parse = reply_parser(_read_text)


def render(action: Action) -> AgentTurn:
    """An action as text in the published form."""
    return AgentTurn(f"ACTION: {action.arguments.get('action', '')}")
