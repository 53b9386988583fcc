"""The records that travel between the loops: frozen, comparable, made of plain values.

Token ids and log-probs are born together in the engine and stay together: they are never
re-tokenised, cut or padded. `None` means absent; it is never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

__all__ = [
    "Component",
    "Counts",
    "DropReason",
    "FinishReason",
    "Grammar",
    "GrammarKind",
    "JudgedTurn",
    "Link",
    "LinkKind",
    "LinkedTurn",
    "Message",
    "NextState",
    "NextStateKind",
    "Origin",
    "Outcome",
    "Sample",
    "SamplingParams",
    "TeacherSays",
    "ToolCall",
    "Turn",
    "TurnKind",
    "Verdict",
    "VersionRun",
    "expand_versions",
    "run_lengths",
]


class TurnKind(StrEnum):
    """Whether a turn may be trained on."""

    MAIN = "main"
    SIDE = "side"


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CANCELLED = "cancelled"


class GrammarKind(StrEnum):
    """How a grammar is written."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "lark"
    """As llguidance reads it."""
    STRUCTURAL_TAG = "structural_tag"
    """XGrammar's and SGLang's JSON for texts around schemas; `clawjax.engine.grammar` says how much
    of it."""


class NextStateKind(StrEnum):
    """What came after a turn."""

    USER = "user"
    TOOL = "tool"
    ENVIRONMENT = "environment"
    FEEDBACK = "feedback"
    SESSION_CLOSED = "session_closed"


class LinkKind(StrEnum):
    """How a request relates to the turns before it."""

    NEW = "new"
    EXTEND = "extend"
    """It goes on from a reply."""
    BRANCH = "branch"
    """It has something else in a reply's place."""
    RETRY = "retry"
    """It asks again for a reply that nobody got."""
    RESAMPLE = "resample"
    """It asks again for a reply that was given."""
    COMPACTED = "compacted"
    """It goes on from a reply after its history was rewritten."""
    RESET = "reset"
    """Its session is known, its history is not."""


class DropReason(StrEnum):
    """Why a turn will never be trained on. Each is a data point, not an error."""

    SIDE = "side"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    """Its client asked again, because the reply had not arrived."""
    EMPTY_RESPONSE = "empty_response"
    LENGTH_MISMATCH = "length_mismatch"
    NO_LOGPROBS = "no_logprobs"
    """The engine could not tell how likely its tokens were, cut as their distribution was."""
    NEARLY_GREEDY = "nearly_greedy"
    REDACTED = "redacted"
    """Its text had something that is not to be logged, which its tokens spell."""
    TOO_LONG = "too_long"
    NO_NEXT_STATE = "no_next_state"
    ABSTAINED = "abstained"
    STALE = "stale"
    NO_SIGNAL = "no_signal"
    CONTENT = "content"  # its user is content: training would only lead away from there
    LISTENED = "listened"  # what its user likes cannot be told yet: it is remembered instead


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call inside an assistant message."""

    call_id: str
    name: str
    arguments: str
    """The arguments as the model wrote them: JSON text, possibly malformed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message, as the chat template sees it."""

    role: str
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str | None = None
    malformed: str | None = None
    """Of a reply: what is wrong with a call that could not be read as its format wants; None where
    nothing is."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a reply may say, from its first token to its end."""

    kind: GrammarKind
    text: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a reply is drawn. `top_k = 0`, `top_p = 1`, `min_p = 0` switch a filter off."""

    max_response_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    ignore_eos: bool = False
    grammar: Grammar | None = None
    """Only tokens that it allows are drawn; None allows all."""

    @property
    def is_truncated(self) -> bool:
        """Whether a filter or a grammar cuts the distribution; greedy turns know no filter."""
        has_filter = self.top_p < 1 or self.top_k > 0 or self.min_p > 0
        return self.grammar is not None or (has_filter and self.temperature > 0)


class VersionRun(NamedTuple):
    """`length` consecutive response tokens sampled by policy `version`."""

    version: int
    length: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant reply with everything needed to train on it."""

    turn_id: str
    session_id: str
    parent_turn_id: str | None
    response_id: str
    """The `id` the client was given; replies of one request with n > 1 share it."""
    choice: int
    kind: TurnKind
    scope: str
    """Digest of the credential that asked; sessions never cross it."""
    model: str
    messages: tuple[Message, ...]
    tools_json: str | None
    """The request's tools as canonical JSON text."""
    reply: Message
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    """log-prob of each response token under the distribution it was drawn from; empty where the
    engine cannot tell: such a turn is not trained on."""
    sampler_logprobs_t1: tuple[float, ...]
    """The same tokens under the untruncated distribution at temperature 1; empty where the engine
    cannot tell."""
    token_versions: tuple[VersionRun, ...]
    sampling: SamplingParams
    finish_reason: FinishReason
    arrived_at: float
    """Unix seconds when the request was received."""
    finished_at: float
    seed: int
    """The sampler seed used, drawn by the gateway where the client gave none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a request says of itself besides its messages and tools."""

    client: str = ""
    """Family of the client: its `User-Agent` without versions."""
    key: str | None = None
    """Names the session, as far as this client knows."""
    key_source: str | None = None
    """The header or field that the key was read from."""
    is_key_explicit: bool = False
    """Somebody meant clawjax to read the key as the session's name."""
    compactions: int | None = None
    """How often the history was compacted, where the client counts."""
    said_kind: TurnKind | None = None
    retries: int = 0
    """How often this request was sent before."""
    is_stream: bool = False
    is_constrained: bool = False
    """The reply has to be in a given format."""
    model: str | None = None
    """The alias that was asked for."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a turn's request was placed among the turns before it, and why. Key: `turn_id`."""

    turn_id: str
    kind: LinkKind
    reason: str
    turn_kind_reason: str
    """Why the turn is main or side."""
    origin: Origin
    of_turn_id: str | None = None
    """The turn that was repeated (retry, resample) or departed from (branch)."""
    at: int | None = None
    """Position, in the turn's messages, of the reply that came back, or of what took its place."""


@dataclass(frozen=True, slots=True)
class NextState:
    """Everything that came after a turn, up to the next reply.

    Key: `(turn_id, kind, arrived_at)`: a turn is answered, closed and rated, also more than once.
    """

    turn_id: str
    kind: NextStateKind
    arrived_at: float
    messages: tuple[Message, ...] = ()
    score: float | None = None
    """Explicit feedback in [-1, 1]; None unless somebody gave a number or a thumb."""


class Component(NamedTuple):
    """What one part of a composed verdict said."""

    module: str
    score: float | None
    """In [-1, 1]; None where it abstained, failed or was not asked."""
    note: str = ""
    """Why, in the part's own words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reward module made of a turn. Key: `(turn_id, module)`."""

    turn_id: str
    module: str
    score: float | None
    """In [-1, 1]; None is an abstention: counted, never trained on."""
    judged_at: float
    hints: tuple[str, ...] = ()
    """Instructions, best first, each of which in hindsight would have made the turn right."""
    step_labels: tuple[float | None, ...] = ()
    """What the turn is worth as a step of a longer task: one value in [-1, 1] per
    `config.StepAspect`, in order, None where it does not apply; empty where no step is labelled."""
    votes: tuple[float | None, ...] = ()
    explanation: str = ""
    prompt_digest: str | None = None
    """sha256 of the judge prompt template or model, so that a re-judge can tell them apart."""
    components: tuple[Component, ...] = ()
    """Of a composed verdict: what each part said, in order."""
    revision: str | None = None
    """A reply that the module holds to be better: beside the turn's own a preference, alone a
    demonstration. None where it wrote none, or does not stand by it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ended: `trained` at a version, or `dropped` for a reason. One per turn."""

    turn_id: str
    decided_at: float
    trained_version: int | None = None
    drop_reason: DropReason | None = None

    def __post_init__(self) -> None:
        """Exactly one of the two endings holds."""
        if (self.trained_version is None) == (self.drop_reason is None):
            msg = f"turn {self.turn_id}: exactly one of trained_version and drop_reason is set"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class TeacherSays:
    """What the policy thinks of a reply once it has read a hint; one entry per response token."""

    logprobs: tuple[float, ...]
    """Of the tokens themselves, at the temperature they were drawn at."""
    support_ids: tuple[tuple[int, ...], ...] = ()
    """The `K` tokens that a top-K objective compares; empty where none does."""
    support_logprobs: tuple[tuple[float, ...], ...] = ()
    """Theirs, at the same temperature."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the learner eats: one turn with its signals, of which it has at least one.

    What the sampler, credit and the teacher say has one entry per response token.
    """

    turn_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    token_versions: tuple[int, ...]
    temperature: float
    credit: tuple[float, ...] | None
    """Advantages; None where nobody scored the turn."""
    teacher: TeacherSays | None = None
    """None where the turn has no hint."""
    is_truncated: bool = False
    """As `SamplingParams`: its log-probs are right for the ratio, no measure of a mismatch."""


class LinkedTurn(NamedTuple):
    """A turn and one thing that came after it; `seq` is the judges' cursor."""

    seq: int
    turn: Turn
    next_state: NextState


class JudgedTurn(NamedTuple):
    """An unsettled turn with all that is known about it; `seq` is the order of arrival."""

    seq: int
    turn: Turn
    next_states: tuple[NextState, ...]
    verdicts: tuple[Verdict, ...]
    unjudged: tuple[NextState, ...] = ()
    """Of `next_states`, those on which verdicts may still come; none where nobody judges."""


class Counts(NamedTuple):
    """The turn log's balance: `trained + dropped + pending == logged`."""

    logged: int
    trained: int
    pending: int
    dropped: dict[str, int]
    """Turns by `DropReason` value."""
    linked: int
    scored: int
    abstained: int


def run_lengths(versions: tuple[int, ...] | list[int]) -> tuple[VersionRun, ...]:
    """Compress one version per token into runs."""
    return tuple(VersionRun(version, len(list(run))) for version, run in groupby(versions))


def expand_versions(runs: tuple[VersionRun, ...]) -> tuple[int, ...]:
    """Undo `run_lengths`."""
    return tuple(version for version, length in runs for _ in range(length))
