"""One reply in the making, over as many servers and attempts as it takes.

Text is made from the ids as they come, by the same code as the embedded engine's. Invariants: what
was handed out stays as it is, whoever continues the reply; it ends where the embedded engine would
have ended it (a stop token, a stop string, the limit), also where a server goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clawjax.engine.sglang.logprobs import LogprobsOf, derive
from clawjax.engine.sglang.wire import Piece
from clawjax.engine.text import ReplyText
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import GenerateRequest, TokenChunk
from clawjax.records import FinishReason

__all__ = ["StreamedReply"]


@dataclass(slots=True)
class StreamedReply:
    """What has been said so far; `limit` tokens at most."""

    request: GenerateRequest
    limit: int
    tokenizer: ChatTokenizer
    tokens: list[int] = field(default_factory=list)
    is_finished: bool = False
    _text: ReplyText = field(init=False)

    def __post_init__(self) -> None:
        """Begin its text."""
        tokens = self.tokenizer.detokenizer(goes_on=self.request.goes_on)
        self._text = ReplyText(tokens, self.request.sampling.stop)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end it."""
        sampling = self.request.sampling
        ends = frozenset() if sampling.ignore_eos else self.tokenizer.eos_ids
        return ends | frozenset(sampling.stop_token_ids)

    def add(self, piece: Piece, *, versions: Sequence[int], of: LogprobsOf) -> TokenChunk | None:
        """Take what a server has sampled, by weights of `versions`; None where that is nothing."""
        is_first = not self.tokens
        taken, text, reason = self._read(piece)
        if not taken and reason is None:
            return None
        self.is_finished = reason is not None
        told = None if piece.sampler_logprobs is None else piece.sampler_logprobs[:taken]
        logprobs = derive(of, self.request.sampling, piece.logprobs[:taken], told)
        return TokenChunk(
            token_ids=piece.token_ids[:taken],
            sampler_logprobs=logprobs.sampler,
            sampler_logprobs_t1=logprobs.at_t1,
            versions=tuple(versions[:taken]),
            text=text,
            finish_reason=reason,
            top_logprobs=piece.top_logprobs[:taken],
            cached_tokens=piece.cached_tokens if is_first else 0,
        )

    def _read(self, piece: Piece) -> tuple[int, str, FinishReason | None]:
        """How many of the tokens belong to the reply, their text, and whether that ends it."""
        text = ""
        for index, token in enumerate(piece.token_ids):
            self.tokens.append(token)
            is_servers_stop = token == piece.end.stop_token and index + 1 == len(piece.token_ids)
            if token in self.stop_ids or is_servers_stop:
                return index + 1, text + self._text.finish(), FinishReason.STOP
            text += self._text.push(token)
            if self._text.is_stopped:
                return index + 1, text, FinishReason.STOP
            if len(self.tokens) == self.limit:
                text += self._text.finish()
                is_stopped = self._text.is_stopped
                return index + 1, text, FinishReason.STOP if is_stopped else FinishReason.LENGTH
        if piece.end.reason is not None:
            text += self._text.finish()
        return len(piece.token_ids), text, piece.end.reason
