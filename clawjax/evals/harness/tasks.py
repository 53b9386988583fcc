"""What is to be done, by whom it may be seen, and what an action is.

Invariant: `Brief` is all that an agent gets, `Task.setup` all that an environment gets. The
reference stays in the process that runs and scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "ANSWER",
    "RESPOND",
    "Action",
    "Brief",
    "Limits",
    "Reference",
    "Setup",
    "Task",
    "Tool",
    "ToolKind",
]

ANSWER = "answer"
"""The action that commits a final answer, `{"text": ...}`, and ends the episode."""
RESPOND = "respond"
"""The action that says something to the user, `{"text": ...}`."""


ToolKind = Literal["read", "write", "generic"]
"""Whether a tool looks at the world's state, changes it, or does neither (tau2's names)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as the OpenAI API describes it."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    """JSON schema of the arguments."""


@dataclass(frozen=True, slots=True)
class Action:
    """What the agent does: a tool and its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def answer(cls, text: str) -> Action:
        """Commit a final answer."""
        return cls(ANSWER, {"text": text})

    @classmethod
    def respond(cls, text: str) -> Action:
        """Say something to the user."""
        return cls(RESPOND, {"text": text})


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one episode; reaching any of the first three is `Outcome.TASK_LIMIT`."""

    turns: int = 15
    """Replies of the agent."""
    counts_actions: bool = False
    """Whether each action counts as a reply: where a round is one action, as published, several
    calls in one reply are as many rounds."""
    tokens: int | None = None
    """Tokens of all its replies together; None: no limit."""
    wall_s: float = 600.0
    """Seconds, environment and agent together."""
    observation_chars: int = 8000
    """Longer observations are cut, with a notice."""
    format_errors: int = 3
    """Turns in a row without an action that can be read; so many end the episode."""
    action_errors: int = 3
    """Turns in a row with an action that is refused; so many end the episode."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The gold. Never sent to an agent; to an environment only after the episode (`inspect`)."""

    answer: Any = None
    actions: tuple[Action, ...] = ()
    """Calls of a good solution, for tool-call accuracy; without any it is not measured."""
    steps: int | None = None
    """Rounds of a good solution (`trajectory.rounds`), for efficiency; None: not known, as where
    only the answer is."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setup:
    """What an environment is told when it is reset."""

    task_id: str
    seed: int
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Brief:
    """What an agent is told."""

    episode_id: str
    """Of this run, task, trial and attempt: the session it belongs to."""
    suite: str
    task_id: str
    trial: int
    instruction: str
    system: str
    tools: tuple[Tool, ...]
    text_rules: str
    """How to write an action as text, for agents without tool calls."""
    limits: Limits


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a suite."""

    suite: str
    task_id: str
    instruction: str
    """The first message; what the environment says on reset follows it. Empty: only the latter."""
    tools: tuple[Tool, ...] = ()
    system: str = ""
    split: str = "test"
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the environment; without the gold."""
    reference: Reference = field(default_factory=Reference)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Level, category, template: what a table may be split by. Neither agent nor environment sees
    it."""
    data_version: str = ""
    """sha256 of the file that it is from."""
    variation_of: str = ""
    """Shared by tasks that are one with other seeds, as MiniWoB++'s pages are: these are no
    independent samples, so that intervals and tests keep them together."""

    @property
    def cluster(self) -> str:
        """What is resampled as a whole: the task with its trials, and its other variations."""
        return self.variation_of or self.task_id

    def brief(self, episode_id: str, *, trial: int = 0, text_rules: str = "") -> Brief:
        """The agent's view."""
        return Brief(
            episode_id=episode_id,
            suite=self.suite,
            task_id=self.task_id,
            trial=trial,
            instruction=self.instruction,
            system=self.system,
            tools=self.tools,
            text_rules=text_rules,
            limits=self.limits,
        )

    def setup(self, seed: int) -> Setup:
        """The environment's view."""
        return Setup(self.task_id, seed, self.options)
