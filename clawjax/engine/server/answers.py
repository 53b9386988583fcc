"""What was drawn, as SGLang tells it: chunks in, the cumulative answer out. Pure.

`output_token_logprobs` are those at temperature 1 without truncation, whatever was drawn from; what
SGLang cannot tell besides is in fields of our own: `output_token_sampler_logprobs`, of the
distribution drawn from, and `output_token_versions`, whose weights each token is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from clawjax.engine.server.wire import Wanted
from clawjax.engine.text import StopStrings
from clawjax.protocols import TokenChunk
from clawjax.records import FinishReason

__all__ = ["Answer", "Json", "TokenTexts"]

Json = dict[str, Any]

_ABORTED = {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}


class TokenTexts(Protocol):
    """The part of a tokenizer that an answer needs."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        ...

    def special_text(self, token_id: int) -> str:
        """How one token is written, special or not."""
        ...

    def decode(self, ids: Sequence[int], *, goes_on: bool = False) -> str:
        """Text of ids; where it goes on from another, its first space is its own."""
        ...


@dataclass(slots=True, eq=False)
class Answer:
    """One reply, from its first token to its end."""

    wanted: Wanted
    prompt_ids: tuple[int, ...]
    tokenizer: TokenTexts
    version_label: Callable[[int], str]
    version: int = 0
    """Of the weights, as long as no token tells."""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """At temperature 1."""
    sampler_logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    scored: TokenChunk | None = None
    """What was found about the prompt, from the token after `logprob_start` on."""

    def add(self, chunk: TokenChunk) -> None:
        """Take what was drawn."""
        self.token_ids += chunk.token_ids
        self.logprobs += chunk.sampler_logprobs_t1
        self.sampler_logprobs += chunk.sampler_logprobs
        self.top_logprobs += chunk.top_logprobs
        self.versions += chunk.versions
        self.text += chunk.text
        self.cached_tokens += chunk.cached_tokens
        self.finish_reason = chunk.finish_reason

    @property
    def is_scoring_cancelled(self) -> bool:
        """Whether nothing was found about the prompt because it was ended from outside."""
        return self.scored is not None and self.scored.finish_reason is FinishReason.CANCELLED

    @property
    def weight_version(self) -> str:
        """What the weights of the last token are called."""
        seen = self.versions or (self.scored.versions if self.scored else ())
        return self.version_label(seen[-1] if seen else self.version)

    def body(self, latency_s: float) -> Json:
        """All of it so far; `latency_s` since the request came."""
        meta: Json = {
            "id": self.wanted.rid,
            "finish_reason": self.finish(),
            "prompt_tokens": len(self.prompt_ids),
            "weight_version": self.weight_version,
        }
        if self.wanted.wants_logprobs:
            meta |= self._input_fields() | self._output_fields()
        meta |= {
            "completion_tokens": len(self.token_ids),
            "cached_tokens": self.cached_tokens,
        }
        if self.finish_reason is not None:
            meta["e2e_latency"] = latency_s
        return {"text": self.text, "output_ids": list(self.token_ids), "meta_info": meta}

    def finish(self) -> Json | None:
        """Why it ended; None while it has not."""
        match self.finish_reason:
            case None:
                return None
            case FinishReason.STOP:
                return {"type": "stop", "matched": self.matched}
            case FinishReason.CANCELLED:
                return dict(_ABORTED)
            case _:
                limit = self.wanted.sampling.max_response_tokens
                return {"type": "length", "length": min(limit, len(self.token_ids))}

    @property
    def matched(self) -> int | str | None:
        """The token or the stop string that ended it; None while nothing has."""
        if self.finish_reason is not FinishReason.STOP:
            return None
        sampling, last = self.wanted.sampling, self.token_ids[-1]
        is_end = last in self.tokenizer.eos_ids and not sampling.ignore_eos
        if is_end or last in sampling.stop_token_ids:
            return last
        words = StopStrings(sampling.stop)
        words.push(self.tokenizer.decode(self.token_ids, goes_on=self.wanted.goes_on))
        return words.matched

    def _input_fields(self) -> Json:
        start = self.wanted.logprob_start
        if start is None or (self.scored is None and start + 1 < len(self.prompt_ids)):
            return {}  # nothing was asked, or it was aborted before it was known
        logprobs = (None, *(self.scored.sampler_logprobs_t1 if self.scored else ()))
        fields: Json = {"input_token_logprobs": self._entries(self.prompt_ids[start:], logprobs)}
        if self.wanted.top_logprobs:
            tops = self.scored.top_logprobs if self.scored else ()
            fields["input_top_logprobs"] = [None, *map(self._alternatives, tops)]
        return fields

    def _output_fields(self) -> Json:
        fields: Json = {
            "output_token_logprobs": self._entries(self.token_ids, self.logprobs),
            "output_token_sampler_logprobs": list(self.sampler_logprobs),
            "output_token_versions": [self.version_label(one) for one in self.versions],
        }
        if self.wanted.top_logprobs:
            fields["output_top_logprobs"] = list(map(self._alternatives, self.top_logprobs))
        return fields

    def _entries(self, ids: Sequence[int], logprobs: Sequence[float | None]) -> list[Any]:
        return [self._entry(*pair) for pair in zip(ids, logprobs, strict=True)]

    def _alternatives(self, tops: Sequence[tuple[int, float]]) -> list[Any]:
        return [self._entry(*pair) for pair in tops]

    def _entry(self, token_id: int, logprob: float | None) -> list[Any]:
        text = self.tokenizer.special_text(token_id) if self.wanted.has_token_texts else None
        return [logprob, token_id, text]
