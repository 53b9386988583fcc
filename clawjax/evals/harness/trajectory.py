"""What happened in an episode, complete enough to score it again without playing it again.

Owns the JSON form of a trajectory and of a score (pydantic, from the dataclasses themselves).
Invariant: reading what was written gives an equal record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import TypeAdapter

from clawjax.evals.harness.outcome import UNSCORED, Outcome
from clawjax.evals.harness.tasks import Action

T = TypeVar("T")

__all__ = [
    "AgentTurn",
    "Executed",
    "Message",
    "Parse",
    "RawCall",
    "Score",
    "Step",
    "StepResult",
    "Trajectory",
    "Usage",
    "effective_outcome",
    "from_json",
    "messages_of",
    "rounds",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply; None where the endpoint does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class RawCall:
    """A tool call as the agent wrote it."""

    call_id: str
    name: str
    arguments: str
    """JSON, or what was meant to be."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation between harness and agent."""

    role: str
    """`user`, `assistant` or `tool`."""
    text: str
    calls: tuple[RawCall, ...] = ()
    call_id: str | None = None
    """Of the call that a `tool` message answers."""


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """One reply of the agent."""

    text: str = ""
    calls: tuple[RawCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0
    finish_reason: str = "stop"
    version: int | None = None
    """Policy version, where the endpoint says."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What the environment makes of one action."""

    observation: str
    is_done: bool = False
    reward: float | None = None
    progress: float | None = None
    """Share of the subgoals reached so far, in [0, 1]; None where there is no such notion."""
    is_valid: bool = True
    """Whether the action could be taken in this state."""
    error: str | None = None
    """Why it could not, or how it failed."""
    is_precondition: bool = False
    """Whether it failed because something had to come first."""
    state: str | None = None
    """Digest of the state after it, for loops and revisits; None: the observation stands for it."""
    resolved: Action | None = None
    """The action in the words of references, e.g. an element by its name and not by its number on
    this page; None: as it was written."""


@dataclass(frozen=True, slots=True)
class Executed:
    """An action and its result."""

    action: Action
    result: StepResult


class Parse(StrEnum):
    """What a reply was read as."""

    PARSED = "parsed"
    FORMAT_ERROR = "format_error"
    INVALID_ACTION = "invalid_action"


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the agent and what came of it."""

    turn: AgentTurn
    parse: Parse
    problem: str | None = None
    """What the agent was told where `parse` is an error."""
    executed: tuple[Executed, ...] = ()
    started_at: float = 0.0
    """Unix seconds."""
    ended_at: float = 0.0


def rounds(steps: Sequence[Step]) -> int:
    """As if each reply made one action: those carried out, and replies without any."""
    return sum(max(1, len(step.executed)) for step in steps)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One episode; one line of `trajectories.jsonl`."""

    suite: str
    suite_version: str
    data_version: str
    task_id: str
    split: str
    trial: int
    attempt: int
    """Counts up where an episode that broke down is played again."""
    seed: int
    agent: str
    instruction: str
    first_observation: str
    steps: tuple[Step, ...]
    outcome: Outcome
    detail: str = ""
    """Which limit, or which error."""
    answer: str | None = None
    """Final answer, where one was committed."""
    before: Mapping[str, Any] = field(default_factory=dict)
    """`Environment.snapshot` after the reset."""
    after: Mapping[str, Any] = field(default_factory=dict)
    """The same at the end."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """What `Environment.inspect` found."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0

    @property
    def key(self) -> tuple[str, int]:
        """Task and trial."""
        return self.task_id, self.trial

    @property
    def is_lost(self) -> bool:
        """Whether the environment was gone at the end: its state is known of the beginning only."""
        return bool(self.before) and not self.after

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that were carried out, in order."""
        return tuple(each.action for step in self.steps for each in step.executed)

    @property
    def resolved_actions(self) -> tuple[Action, ...]:
        """The same in the words of references."""
        return tuple(each.result.resolved or each.action for each in self.executed)

    @property
    def executed(self) -> tuple[Executed, ...]:
        """The same with their results."""
        return tuple(each for step in self.steps for each in step.executed)


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer makes of a trajectory; one line of `scores.jsonl` with its key."""

    value: float | None
    """In [0, 1]; None is unscored, never a zero."""
    parts: Mapping[str, float | None] = field(default_factory=dict)
    explanation: str = ""
    judged: float | None = None
    """A judge's opinion, kept apart from `value`: share of its votes for success."""
    judged_because: str = ""
    error: str | None = None
    """Why there is no value, where the scorer broke down."""


def effective_outcome(trajectory: Trajectory, score: Score) -> Outcome:
    """The outcome that is counted: an episode whose scorer broke down is a scorer's error."""
    if score.value is None and trajectory.outcome not in UNSCORED:
        return Outcome.SCORER_ERROR
    return trajectory.outcome


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def to_json(record: Any) -> Any:
    """A record as plain JSON values."""
    return _adapter(type(record)).dump_python(record, mode="json")


def from_json(kind: type[T], value: Mapping[str, Any]) -> T:
    """The record that `to_json` wrote.

    Raises:
        pydantic.ValidationError: it is not such a record.
    """
    return _adapter(kind).validate_python(value)


def messages_of(
    instruction: str, first_observation: str, steps: Sequence[Step]
) -> tuple[Message, ...]:
    """The conversation so far, as the agent reads it. Every tool call has its answer."""
    opening = "\n\n".join(part for part in (instruction, first_observation) if part)
    messages = [Message("user", opening)]
    for step in steps:
        messages.append(Message("assistant", step.turn.text, step.turn.calls))
        messages += _answers(step)
    return tuple(messages)


def _answers(step: Step) -> list[Message]:
    texts = [each.result.observation for each in step.executed]
    if not step.turn.calls:
        return [Message("user", "\n".join(texts) if texts else step.problem or "")]
    texts += [step.problem or "not carried out"] * (len(step.turn.calls) - len(texts))
    return [
        Message("tool", text, call_id=call.call_id)
        for call, text in zip(step.turn.calls, texts, strict=False)
    ]


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
