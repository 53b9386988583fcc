"""What is under way: a reply that is being drawn, or a text that is being scored.

Both are read, sit in a slot, give way and go on alike; they differ in where their tokens come
from. Invariant: what is known of a text, be it tokens drawn or log-probs, is known of a beginning
of it, so that whoever gives way can go on later from what the cache holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from clawjax.engine.constraint import Constraint
from clawjax.engine.decode import Read
from clawjax.engine.sampling import Drawn, SamplingRows, Scored, idle_rows
from clawjax.engine.text import ReplyText
from clawjax.protocols import GenerateRequest, ScoreRequest, TokenChunk
from clawjax.records import FinishReason

__all__ = ["Delivery", "Job", "RunningReply", "alternatives", "last_chunk", "rank_of"]

_WORD = 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way through the scheduler."""

    request: GenerateRequest | ScoreRequest
    limit: int
    """Tokens that are delivered at most, the room in the context considered."""
    top_logprobs: int = 0
    """Alternatives to report per token that is scored; who generates says so in the request."""
    constraint: Constraint | None = None
    """The grammar of a reply that has one, and how far the reply is in it."""
    is_cancelled: bool = False
    """Set from any thread; honoured before the next step."""


class Delivery(NamedTuple):
    """A chunk for the asker of a job."""

    job: Job
    chunk: TokenChunk


@dataclass(slots=True, eq=False)
class RunningReply:
    """A reply from its request to its end, in a slot or waiting for one."""

    job: Job
    prompt: np.ndarray
    text: ReplyText
    order: int
    """How many jobs were submitted before."""
    cached: int = 0
    """Prompt tokens that the cache held when it began."""
    drawn: list[int] = field(default_factory=list)
    """The reply's tokens so far."""
    logprobs: list[float] = field(default_factory=list)
    """Of the tokens that are scored, so far."""
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    """What would have been likely in their place."""
    slot: int = -1
    """Meaningful while it sits in one, as are the next three."""
    sequence: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """What has to be read before the next token can be drawn, or all that is scored."""
    prefilled: int = 0
    """How much of that is read."""
    is_mixed: bool = False
    """Whether the weights have changed since it was read."""

    @property
    def rank(self) -> tuple[int, int]:
        """Whose turn it is: the lowest comes first."""
        return self.job.request.priority, self.order

    @property
    def given(self) -> tuple[int, ...]:
        """The tokens to score; none where they are to be drawn."""
        request = self.job.request
        return request.response_ids if isinstance(request, ScoreRequest) else ()

    @property
    def is_decoding(self) -> bool:
        """Whether everything is read."""
        return self.left == 0

    @property
    def left(self) -> int:
        """How much is not; the last token of what is scored never is."""
        return len(self.sequence) - bool(self.given) - self.prefilled

    @property
    def is_scoring(self) -> bool:
        """Whether the next token to be read predicts one that is to be scored."""
        return bool(self.given) and self.prefilled >= len(self.prompt) - 1

    @property
    def tokens(self) -> np.ndarray:
        """Prompt and reply, `[T]`."""
        return np.concatenate([self.prompt, np.asarray(self.given or self.drawn, np.int32)])

    @property
    def known(self) -> np.ndarray:
        """The beginning of `tokens` of which all but the last need not be looked at again."""
        return self.tokens[: len(self.prompt) + len(self.logprobs)] if self.given else self.tokens

    @property
    def read(self) -> Read:
        """What to read next: the prompt, as long as nothing has to be learnt about its tokens."""
        end = len(self.prompt) - 1 if self.given and not self.is_scoring else len(self.sequence)
        return Read(self.sequence[:end], self.slot, self.prefilled)

    def start_at(self, held: int) -> None:
        """Only the first `held` tokens are in the cache; log-probs beyond have to be found anew."""
        self.prefilled = held
        kept = max(0, held - len(self.prompt) + 1)
        del self.logprobs[kept:], self.top_logprobs[kept:]

    def book_scores(self, scored: Scored[np.ndarray]) -> None:
        """Take what was found about the next tokens."""
        self.logprobs += scored.logprob.tolist()
        wanted = self.job.top_logprobs
        if wanted:
            rows = zip(scored.top_ids, scored.top_logprobs, strict=True)
            self.top_logprobs += [alternatives(*row, wanted) for row in rows]

    def scores(self, version: int) -> TokenChunk:
        """All that was asked about a text, as the one chunk of its delivery."""
        return TokenChunk(
            token_ids=self.given,
            sampler_logprobs=tuple(self.logprobs),
            sampler_logprobs_t1=tuple(self.logprobs),
            versions=(version,) * len(self.given),
            finish_reason=FinishReason.STOP,
            top_logprobs=tuple(self.top_logprobs),
            cached_tokens=self.cached,
        )

    def take(self, token: int, eos_ids: frozenset[int]) -> tuple[str, FinishReason | None]:
        """Book a drawn token: the text that it makes visible, and whether it ends the reply."""
        self.drawn.append(token)
        request = self.job.request
        assert isinstance(request, GenerateRequest), "what is scored is never decoded"
        sampling = request.sampling
        is_end = token in eos_ids and not sampling.ignore_eos
        if is_end or token in sampling.stop_token_ids:
            return self.text.finish(), FinishReason.STOP
        text = self.text.push(token)
        if not self.text.is_stopped and len(self.drawn) == self.job.limit:
            text += self.text.finish()
            return text, FinishReason.STOP if self.text.is_stopped else FinishReason.LENGTH
        return text, FinishReason.STOP if self.text.is_stopped else None

    def chunk(
        self,
        drawn: Drawn[np.ndarray],
        row: int,
        *,
        version: int,
        text: str,
        finish_reason: FinishReason | None,
    ) -> TokenChunk:
        """The token that was taken last, as its asker gets it: `drawn[row]`, by `version`."""
        request = self.job.request
        assert isinstance(request, GenerateRequest), "what is scored is never decoded"
        wanted = request.top_logprobs
        top = [alternatives(drawn.top_ids[row], drawn.top_logprobs[row], wanted)] if wanted else ()
        return TokenChunk(
            token_ids=(self.drawn[-1],),
            sampler_logprobs=(float(drawn.logprob[row]),),
            sampler_logprobs_t1=(float(drawn.logprob_t1[row]),),
            versions=(version,),
            text=text,
            finish_reason=finish_reason,
            top_logprobs=tuple(top),
            cached_tokens=self.cached if len(self.drawn) == 1 else 0,
        )

    @property
    def position(self) -> int:
        """Of the next token in the whole text: with the seed it decides what is drawn.

        So a reply that goes on elsewhere, its tokens so far behind the prompt, draws as it would
        have here, not the same numbers once more.
        """
        return len(self.job.request.prompt_ids) + len(self.drawn)

    def sampling_row(self) -> SamplingRows[np.ndarray]:
        """Its sampling parameters as host arrays of one row, at the next token."""
        request = self.job.request
        if isinstance(request, ScoreRequest):
            return idle_rows(1)
        sampling = request.sampling
        return SamplingRows(
            temperature=np.asarray([sampling.temperature], np.float32),
            top_k=np.asarray([min(sampling.top_k, np.iinfo(np.int32).max)], np.int32),
            top_p=np.asarray([sampling.top_p], np.float32),
            min_p=np.asarray([sampling.min_p], np.float32),
            seed=np.asarray([[(request.seed >> 32) & _WORD, request.seed & _WORD]], np.uint32),
            step=np.asarray([self.position], np.int32),
            top_logprobs=np.asarray([request.top_logprobs], np.int32),
        )


def rank_of(reply: RunningReply) -> tuple[int, int]:
    """`RunningReply.rank` as a sorting key."""
    return reply.rank


def alternatives(
    ids: np.ndarray, logprobs: np.ndarray, wanted: int
) -> tuple[tuple[int, float], ...]:
    """The `wanted` likeliest tokens in one place, of `[20]` each."""
    return tuple(zip(ids[:wanted].tolist(), logprobs[:wanted].tolist(), strict=True))


def last_chunk(text: str) -> TokenChunk:
    """Ends what is cancelled, with the text that was still held back."""
    return TokenChunk((), (), (), (), text=text, finish_reason=FinishReason.CANCELLED)
