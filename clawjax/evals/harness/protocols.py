"""The seams of an evaluation: what a suite brings, what an agent is, what an environment does.

A new suite is a `Suite`: data and pure functions, and the import path of its environment.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from clawjax.errors import UnavailableError
from clawjax.evals.harness.rendering import as_call
from clawjax.evals.harness.tasks import Action, Brief, Setup, Task, ToolKind
from clawjax.evals.harness.trajectory import AgentTurn, Message, Score, StepResult, Trajectory

__all__ = [
    "ActionParser",
    "Agent",
    "Environment",
    "FormatError",
    "InvalidAction",
    "Launch",
    "Parsed",
    "Scorer",
    "Suite",
    "furthest",
    "furthest_from_nothing",
    "nothing_lacking",
]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A reply from which actions could be read; at least one."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class FormatError:
    """A reply from which none could be read; `problem` is told to the agent."""

    problem: str


@dataclass(frozen=True, slots=True)
class InvalidAction:
    """A reply whose action does not exist, or not with such arguments."""

    problem: str


ActionParser = Callable[[AgentTurn, Brief], Parsed | FormatError | InvalidAction]
"""Pure."""


@runtime_checkable
class Environment(Protocol):
    """The world of a task, synchronous, in a process of its own, for one episode after the other.

    Any exception breaks it, for this episode: what the agent did wrong is a `StepResult` with
    `is_valid=False`, and what it cannot have done an `OutsideFailure`.
    """

    def reset(self, setup: Setup) -> str:
        """Begin a task; the first observation. The same setup begins the same world."""
        ...

    def step(self, action: Action) -> StepResult:
        """Carry out one action."""
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """The state as JSON, for side effects and offline scoring; small, a digest where large."""
        ...

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a scorer wants to know of the final state.

        Called after the last step only, with the final answer under `answer`, what
        `Suite.inspection` asks, which may be gold, and under `folder` the episode's own, for what
        is too large for its record: made by who puts something there.
        """
        ...

    def close(self) -> None:
        """Free everything."""
        ...


@runtime_checkable
class Agent(Protocol):
    """Who is evaluated. Holds no state of an episode, so that any number may run at once.

    One that asks an endpoint may have `timeout_s`, of one attempt at a reply: where an episode's
    time runs out after so long a silence, that is not the agent's doing.
    """

    @property
    def name(self) -> str:
        """As reports call it."""
        ...

    async def act(self, brief: Brief, history: Sequence[Message], *, seed: int) -> AgentTurn:
        """Reply to a conversation, whose first message is the task.

        Raises:
            ContextLimitReached: the conversation does not fit.
            AgentFailure: no reply could be had.
        """
        ...


def nothing_lacking() -> str | None:
    """For environments that any machine can start."""
    return None


Scorer = Callable[[Task, Trajectory], Awaitable[Score]]
"""From the record alone: it runs after the episode and again offline."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an environment: in a process of its own, by the name of its factory."""

    factory: str
    """`module:callable`; called with `options` as keywords, gives an `Environment`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """JSON."""
    timeout_s: float = 60.0
    """Of one reset, step, snapshot or inspection."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the process's environment variables, from which keys and tokens are removed."""
    is_live: bool = False
    """Whether its world is others' too, as of sites that somebody runs: where it breaks down, the
    agent's actions are not repeated there to find out whose doing that was."""
    problem: Callable[[], str | None] = nothing_lacking
    """Why this machine cannot start it, and what to do; None: it can."""

    def check(self) -> None:
        """Refuse what cannot be played here; what is on record can be scored all the same.

        Raises:
            UnavailableError: `problem` names one.
        """
        problem = self.problem()
        if problem is not None:
            raise UnavailableError(problem)


def furthest(task: Task, trajectory: Trajectory, score: Score) -> float | None:
    """The most that the environment told of progress; None where it told nothing."""
    told = [each.result.progress for each in trajectory.executed]
    return max((value for value in told if value is not None), default=None)


def not_measured(task: Task, trajectory: Trajectory) -> None:
    """Side effects of a world whose state is not compared."""


def nothing_to_inspect(task: Task) -> Mapping[str, Any]:
    """For suites whose scorer needs no more than trajectory and snapshots."""
    return {}


def furthest_from_nothing(task: Task, trajectory: Trajectory, score: Score) -> float:
    """The same where a task begins with nothing done and every step tells of progress."""
    return furthest(task, trajectory, score) or 0.0


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark."""

    name: str
    version: str
    """Changes whenever prompts, parser, environment or scorer do: scores of two versions are not
    compared."""
    tasks: tuple[Task, ...]
    launch: Launch
    parser: ActionParser
    scorer: Scorer
    oracle: Callable[[Task], Sequence[Action]]
    """Actions that solve the task: score 1.0 is a gate of every suite."""
    random_action: Callable[[Brief, Sequence[Message], random.Random], Action]
    """Some valid action, without looking at the gold: a score up to `chance` is a gate."""
    exploits: Mapping[str, Callable[[Task], Sequence[Action]]]
    """Ways to cheat, by name: each is a gate of 0."""
    chance: float = 0.05
    """What acting at random may score; more than this only where that is measured and told."""
    noop: Action | None = None
    """What an agent does that gives up at once; None: it says nothing. Score about 0 is a gate."""
    render: Callable[[Action], AgentTurn] = as_call
    """An action as an agent would write it, so that `parser` reads it back."""
    text_rules: str = ""
    """How to act without tool calls, for agents that have none."""
    inspection: Callable[[Task], Mapping[str, Any]] = nothing_to_inspect
    side_effects: Callable[[Task, Trajectory], tuple[str, ...] | None] = not_measured
    """What changed outside of what was allowed, one line each; None: it is not measured, as where
    the final state is lost."""
    progress: Callable[[Task, Trajectory, Score], float | None] = furthest
    """Share of the subgoals that were reached, in [0, 1]; None: it is not measured."""
    tool_kinds: Mapping[str, ToolKind] = field(default_factory=dict)
    """By name: calls that read and calls that write are also compared apart. Empty: not told."""
    scores_unfinished: bool = False
    """Whether an episode that a limit or an error of the agent ended is scored by its final state;
    otherwise it is 0, as where that state is lost."""
    main_metric: Callable[[Sequence[tuple[Trajectory, Score]]], float | None] | None = None
    """Where the field reports something else than the mean score."""
    licence: str = ""
    """Of the data."""
