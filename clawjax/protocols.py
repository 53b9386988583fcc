"""The seams: what the loops may know of each other.

Six small protocols. A validating fake of each is in `clawjax.testing`. Implementations are chosen
in `clawjax.runtime`, nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clawjax.records import (
    Counts,
    FinishReason,
    JudgedTurn,
    Link,
    LinkedTurn,
    NextState,
    Outcome,
    SamplingParams,
    Turn,
    Verdict,
)
from clawjax.weight_records import BASE_KIND, Removed, WeightVersion

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BASE_KIND",
    "Engine",
    "EngineStatus",
    "GenerateRequest",
    "Ledger",
    "Monitor",
    "Removed",
    "Reward",
    "ScoreRequest",
    "ServerStatus",
    "Standing",
    "TokenChunk",
    "TurnLog",
    "WeightStore",
    "WeightVersion",
]


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Token ids in; the engine never sees text."""

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    seed: int
    top_logprobs: int = 0
    """How many alternatives to report per token (temperature 1); 0 for none, 20 at most."""
    priority: int = 0
    """The lower, the more urgent; what is equally urgent is served in order of arrival."""
    session_id: str | None = None
    """Requests of one session share a beginning: an engine with several caches keeps them together.
    None: not known."""
    cache_scope: str | None = None
    """What was read for another scope is not reused: the time to the first token would tell one
    caller how another's prompt begins. None is a scope like any other."""
    goes_on: bool = False
    """Whether the reply's text goes on from the prompt's, and does not begin anew: a first space,
    which some vocabularies put before every text, is a part of it then."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A prompt and a reply that somebody wrote: how likely does the policy think it is?"""

    request_id: str
    prompt_ids: tuple[int, ...]
    """At least one: the first token of a text is predicted by nothing."""
    response_ids: tuple[int, ...]
    """At least one; prompt and response fit the context together."""
    priority: int = 0
    """As for `GenerateRequest`."""
    cache_scope: str | None = None
    """As for `GenerateRequest`."""


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """Newly sampled tokens, one entry each per token; `text` is their new visible text.

    Text may lag behind tokens (an unfinished UTF-8 character, a possible stop string) and never
    contains a stop string or a special token. Only the last chunk has a `finish_reason`.
    """

    token_ids: tuple[int, ...]
    sampler_logprobs: tuple[float, ...]
    """Of the distribution drawn from; empty where the engine cannot tell."""
    sampler_logprobs_t1: tuple[float, ...]
    """At temperature 1, nothing cut off; empty where the engine cannot tell."""
    versions: tuple[int, ...]
    text: str = ""
    finish_reason: FinishReason | None = None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    cached_tokens: int = 0
    """On the first chunk: prompt tokens that had been read before, for another request."""


class Standing(StrEnum):
    """Whether a server is asked for replies."""

    SERVING = "serving"
    OUTDATED = "outdated"
    """It is, with the weights it has, as it does not take those that are wanted."""
    OUT = "out"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One of the servers that an engine samples on."""

    url: str
    standing: Standing
    version: int | None
    """Of the weights that it has shown to have; None: not known."""
    trouble: str | None = None
    """Why it is out or outdated; None: it is neither."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot for health checks and the live view."""

    version: int
    running: int
    waiting: int
    slots: int
    context_length: int
    generated_tokens: int
    tokens_per_s: float
    """Over the last seconds with traffic; 0 when idle."""
    is_healthy: bool = True
    """Whether replies can be sampled."""
    prompt_tokens: int = 0
    """Of the replies that have begun since the start."""
    cached_tokens: int = 0
    """Of those, the ones that had been read before and were not read again."""
    may_recover: bool = False
    """Whether an engine that is not healthy may become so by itself; if not, only a new process
    helps."""
    trouble: str | None = None
    """What is wrong, in words, be it healthy or not; None: nothing is."""
    servers: tuple[ServerStatus, ...] = ()
    """Those that it samples on, where these are other processes."""

    @property
    def prefix_hit_rate(self) -> float | None:
        """The share of prompt tokens that need not be read; None where there was no prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@runtime_checkable
class Engine(Protocol):
    """Samples from the policy."""

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """Refuse what `generate` would refuse at once, before anything is kept of a request.

        Nothing is held for who passes: another may come first. What only a server far away can
        tell is not asked.

        Args:
            request: what `generate` is to be asked.
            replies: how many times, at once.

        Raises:
            WireError: prompt over the context length (`context_length_exceeded`), bad parameters, a
                grammar that cannot be used (`invalid_grammar`), no room (503, `engine_overloaded`).
            EngineError: the engine has stopped.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream a reply. Closing the iterator cancels the request.

        Raises:
            WireError: prompt over the context length (`context_length_exceeded`), bad parameters.
            EngineError: the engine has stopped.
        """
        ...

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """`log p(token | everything before it)` of each response token, at temperature 1.

        All by one version of the weights.

        Raises:
            WireError: over the context length (`context_length_exceeded`), bad tokens.
            EngineError: the engine has stopped.
        """
        ...

    async def swap(self, weights: WeightVersion) -> None:
        """Verify and adopt weights between two decode steps; running requests go on.

        Raises:
            StoreError: the version is damaged or does not fit; the old weights stay in use.
        """
        ...

    def status(self) -> EngineStatus:
        """Report what is going on, without blocking."""
        ...

    async def aclose(self) -> None:
        """Finish or cancel running requests and free the device."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Judges a turn by what came after it."""

    name: str

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether this module has anything to say about such an event. Cheap and pure."""
        ...

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Reach a verdict; unsure means `score=None`.

        Raises:
            RewardError: no verdict (time-out, unreachable judge); recorded as an abstention.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and models."""
        ...


@runtime_checkable
class TurnLog(Protocol):
    """The durable, append-only record of everything that happened. Thread-safe, synchronous."""

    def append(self, *records: Turn | NextState | Verdict | Outcome | Link) -> None:
        """Commit records in one transaction before returning; a known key changes nothing.

        A verdict that says something takes the place of its module's abstention.

        Raises:
            LogError: the store cannot be written.
        """
        ...

    def linked(self, *, after: int, limit: int) -> Sequence[LinkedTurn]:
        """Main turns with something after them, in order of linking, beyond cursor `after`."""
        ...

    def judged(self, *, limit: int) -> Sequence[JudgedTurn]:
        """Turns with a verdict and without outcome or claim, oldest first.

        Where there are more than `limit`, every scope has its oldest among them.
        """
        ...

    def counts(self) -> Counts:
        """The balance."""
        ...


@runtime_checkable
class Ledger(Protocol):
    """Exactly-once training: which turns a step consumed, settled when the step is durable.

    A step claims its turns, begins, is checkpointed, published, and then settled. After a crash,
    `recover(step)` of the restored checkpoint settles what that checkpoint contains and frees
    what it does not.
    """

    def claim(self, step: int, turn_ids: Sequence[str], *, seen: Sequence[JudgedTurn] = ()) -> bool:
        """Reserve turns for a step; False where more is known of one by now than was `seen`.

        Raises:
            ForgottenError: a turn is not there any more; nothing was claimed.
        """
        ...

    def begin(self, step: int, turn_ids: Sequence[str], *, recalls: Sequence[str] = ()) -> None:
        """Note which of its turns a step learns from, and which older ones it may recall.

        Raises:
            ForgottenError: a turn is not there any more; nothing was noted.
        """
        ...

    def write_off(self, ends: Sequence[Outcome], *, seen: Sequence[JudgedTurn] = ()) -> None:
        """Write how turns end that no step takes; those claimed are so no longer.

        One of which more is known by now than was `seen` does not end.
        """
        ...

    def settle(self, step: int, version: int) -> None:
        """Write `trained@version` for the step's turns, atomically."""
        ...

    def recover(self, step: int) -> Sequence[str]:
        """Settle claims up to `step`, release later ones; returns the released turn ids."""
        ...


@runtime_checkable
class WeightStore(Protocol):
    """Versioned weights. Only the learner's publisher makes versions; a person may point back."""

    def publish(
        self,
        tensors: Mapping[str, np.ndarray],
        *,
        version: int,
        parent: int | None,
        step: int,
        base_model: str,
        kind: str,
        config: Mapping[str, object],
        refused: str | None = None,
    ) -> WeightVersion:
        """Write aside, checksum, rename, then serve it from now on; a second time is a no-op.

        Kept but not served: what is `refused`, and what descends from a version that is no longer
        the one served. What is returned tells.
        """
        ...

    def latest(self) -> WeightVersion | None:
        """The version that is served, not always the newest; None: nothing was ever published."""
        ...

    def versions(self, *, after: int = 0) -> Sequence[WeightVersion]:
        """Every complete version above `after`, oldest first, refused ones included."""
        ...

    def removed(self) -> Mapping[int, Removed]:
        """What is no longer here and was refused, or had not the number before as parent."""
        ...

    def load(self, version: int) -> tuple[WeightVersion, dict[str, np.ndarray]]:
        """Read and verify a version; 0, the base model, has no tensors.

        Raises:
            StoreError: missing, incomplete or damaged.
        """
        ...


@runtime_checkable
class Monitor(Protocol):
    """Where metrics go."""

    def log(
        self,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Record slash-path keys, e.g. `train/loss`; `step` is the policy version.

        `texts` are kept beside the numbers, e.g. `train/objective`; their keys are others.
        """
        ...

    def close(self) -> None:
        """Flush."""
        ...
