"""Agents that follow a script: the gates of every suite, and replies recorded before.

Invariant: only the oracle's and the exploits' scripts are made from tasks with their gold; neither
is an agent that is measured.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.tasks import Action, Brief, Task
from clawjax.evals.harness.trajectory import AgentTurn, Message, Trajectory

__all__ = [
    "RandomAgent",
    "ScriptedAgent",
    "exploit_agent",
    "following",
    "noop_agent",
    "oracle_agent",
    "replay_agent",
]


@dataclass(frozen=True, slots=True)
class ScriptedAgent:
    """Says what its script says, and nothing when that is over.

    `{observation}` in its text stands for the message before.
    """

    name: str
    script: Callable[[Brief], Sequence[AgentTurn]]

    async def act(self, brief: Brief, history: Sequence[Message], *, seed: int) -> AgentTurn:
        """The reply of this turn."""
        turns = self.script(brief)
        index = sum(message.role == "assistant" for message in history)
        if index >= len(turns):
            return AgentTurn()
        turn = turns[index]
        text = turn.text.replace("{observation}", history[-1].text.strip())
        return _numbered(replace(turn, text=text), index)


@dataclass(frozen=True, slots=True)
class RandomAgent:
    """Takes some valid action each time; the same seed takes the same."""

    suite: Suite
    name: str = "random"

    async def act(self, brief: Brief, history: Sequence[Message], *, seed: int) -> AgentTurn:
        """A reply with one action."""
        index = sum(message.role == "assistant" for message in history)
        rng = random.Random(f"{seed}:{brief.task_id}:{index}")
        action = self.suite.random_action(brief, history, rng)
        return _numbered(self.suite.render(action), index)


def following(suite: Suite, name: str, plan: Callable[[Task], Sequence[Action]]) -> ScriptedAgent:
    """An agent that carries out what `plan` says for each task, one action per turn."""
    tasks = {task.task_id: task for task in suite.tasks}

    def script(brief: Brief) -> list[AgentTurn]:
        return [suite.render(action) for action in plan(tasks[brief.task_id])]

    return ScriptedAgent(name, script)


def oracle_agent(suite: Suite) -> ScriptedAgent:
    """Solves every task."""
    return following(suite, "oracle", suite.oracle)


def exploit_agent(suite: Suite, name: str) -> ScriptedAgent:
    """Cheats in one of the suite's ways.

    Raises:
        ConfigError: the suite has no such exploit.
    """
    if name not in suite.exploits:
        msg = f"{suite.name} has no exploit {name!r}: use {', '.join(suite.exploits)}"
        raise ConfigError(msg)
    return following(suite, f"exploit:{name}", suite.exploits[name])


def noop_agent(suite: Suite) -> ScriptedAgent:
    """Gives up at once, or says nothing."""
    plan = () if suite.noop is None else (suite.noop,)
    return following(suite, "noop", lambda task: plan)


def replay_agent(trajectories: Iterable[Trajectory], name: str = "replay") -> ScriptedAgent:
    """Says again what was said in recorded episodes of the same tasks and trials."""
    recorded: Mapping[tuple[str, int], tuple[AgentTurn, ...]] = {
        each.key: tuple(step.turn for step in each.steps) for each in trajectories
    }
    return ScriptedAgent(name, lambda brief: recorded.get((brief.task_id, brief.trial), ()))


def _numbered(turn: AgentTurn, index: int) -> AgentTurn:
    """Calls whose ids no other turn has."""
    calls = tuple(replace(call, call_id=f"call_{index}_{i}") for i, call in enumerate(turn.calls))
    return replace(turn, calls=calls)
