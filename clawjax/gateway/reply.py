"""One reply under construction: engine chunks in, wire-neutral deltas out, a `Turn` at the end.

Invariant: ids, log-probs and versions are kept exactly as the engine gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from clawjax.gateway.parse import ReplyDelta, ReplyParser
from clawjax.protocols import TokenChunk
from clawjax.records import (
    FinishReason,
    Message,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    run_lengths,
)
from clawjax.rendering.formats.base import CallDelta

__all__ = ["Exchange", "Reply", "TokenLogprob"]


class TokenLogprob(NamedTuple):
    """A sampled token's log-prob, with alternatives.

    At temperature 1, or at the request's where the engine can only tell that.
    """

    token_id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that has found its session and prompt: what its replies have in common."""

    response_id: str
    session_id: str
    parent_turn_id: str | None
    scope: str
    kind: TurnKind
    model: str
    messages: tuple[Message, ...]
    tools_json: str | None
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    seed: int
    """Of choice 0; choice i uses the i-th after it."""
    arrived_at: float
    choices: int
    top_logprobs: int
    priority: int
    goes_on: bool
    """Whether the replies go on from a text of the client's."""


class Reply:
    """Collects one choice of an exchange."""

    def __init__(
        self, exchange: Exchange, *, choice: int, turn_id: str, seed: int, parser: ReplyParser
    ) -> None:
        self.choice = choice
        self.turn_id = turn_id
        self.seed = seed
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[TokenLogprob] = []
        self.cached_tokens = 0
        """Prompt tokens that the engine had read before."""
        self.reasoning_tokens = 0
        """Tokens up to the last that added to the reasoning; the thought comes first."""
        self._exchange = exchange
        self._parser = parser
        self._token_ids: list[int] = []
        self._sampler_logprobs: list[float] = []
        self._sampler_logprobs_t1: list[float] = []
        self._versions: list[int] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCall] = []

    @property
    def tokens(self) -> int:
        """Tokens sampled so far."""
        return len(self._token_ids)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What was sampled so far."""
        return tuple(self._token_ids)

    @property
    def message(self) -> Message:
        """The reply as the client sees it."""
        return Message(
            role="assistant",
            content="".join(self._content),
            tool_calls=tuple(self._tool_calls),
            reasoning="".join(self._reasoning) or None,
            malformed=self._parser.malformed,
        )

    def add(self, chunk: TokenChunk) -> list[ReplyDelta]:
        """Take what the engine sampled; return what can be shown."""
        self.cached_tokens += chunk.cached_tokens
        self._token_ids += chunk.token_ids
        self._sampler_logprobs += chunk.sampler_logprobs
        self._sampler_logprobs_t1 += chunk.sampler_logprobs_t1
        self._versions += chunk.versions
        self.logprobs += _token_logprobs(chunk)
        deltas = self._parser.push(chunk.text)
        if chunk.finish_reason is not None:
            deltas += self._parser.flush(is_cut=chunk.finish_reason is not FinishReason.STOP)
        self._keep(deltas)
        if chunk.finish_reason is not None:
            self.finish_reason = self._finish_reason(chunk.finish_reason)
        return deltas

    def turn(self, finished_at: float) -> Turn:
        """The record; cancelled where the engine has not finished."""
        exchange = self._exchange
        return Turn(
            turn_id=self.turn_id,
            session_id=exchange.session_id,
            parent_turn_id=exchange.parent_turn_id,
            response_id=exchange.response_id,
            choice=self.choice,
            kind=exchange.kind,
            scope=exchange.scope,
            model=exchange.model,
            messages=exchange.messages,
            tools_json=exchange.tools_json,
            reply=self.message,
            prompt_ids=exchange.prompt_ids,
            response_ids=tuple(self._token_ids),
            sampler_logprobs=tuple(self._sampler_logprobs),
            sampler_logprobs_t1=tuple(self._sampler_logprobs_t1),
            token_versions=run_lengths(self._versions),
            sampling=exchange.sampling,
            finish_reason=self.finish_reason or FinishReason.CANCELLED,
            arrived_at=exchange.arrived_at,
            finished_at=finished_at,
            seed=self.seed,
        )

    def _keep(self, deltas: Sequence[ReplyDelta]) -> None:
        if any(delta.reasoning for delta in deltas):
            self.reasoning_tokens = self.tokens
        for delta in deltas:
            self._content.append(delta.content)
            self._reasoning.append(delta.reasoning)
            if delta.call is not None:
                self._keep_call(delta.call)

    def _keep_call(self, delta: CallDelta) -> None:
        if (begun := delta.begun) is not None:
            self._tool_calls.append(begun)
        else:
            call = self._tool_calls[delta.position]
            grown = replace(call, arguments=call.arguments + delta.arguments)
            self._tool_calls[delta.position] = grown

    def _finish_reason(self, reason: FinishReason) -> FinishReason:
        if reason is FinishReason.STOP and self._tool_calls:
            return FinishReason.TOOL_CALLS
        return reason


def _token_logprobs(chunk: TokenChunk) -> list[TokenLogprob]:
    alternatives = chunk.top_logprobs or ((),) * len(chunk.token_ids)
    known = chunk.sampler_logprobs_t1 or chunk.sampler_logprobs
    # Not strict: sequences of unequal length are the collector's to drop, with the reason.
    entries = zip(chunk.token_ids, known, alternatives, strict=False)
    return [TokenLogprob(*entry) for entry in entries]
