"""An engine that plays the model's part of a script, token by token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from clawjax.errors import EngineError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import EngineStatus, GenerateRequest, ScoreRequest, TokenChunk, WeightVersion
from clawjax.testing import FakeEngine
from clients.judging import Seen, Served

__all__ = ["ScriptedEngine"]

_CONTEXT = 1_000_000
_CUT_AFTER = 8
"""Tokens of an answer that breaks off: some words, none of them its mark."""


@dataclass(frozen=True, slots=True)
class ScriptedEngine:
    """Says what the script has for the moment that a prompt is of, and notes what it saw."""

    tokenizer: ChatTokenizer
    seen: Seen

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """What the script refuses is refused when its reply is begun."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Say it; refuse, or break off, the first request of a moment that is to fail."""
        seen, script = self.seen, self.seen.script
        try:
            moment = script.moment_of(self.tokenizer.decode(request.prompt_ids))
        except ValueError as error:
            seen.strangers.append(str(error))
            raise EngineError(str(error)) from error
        if script.is_refused(moment) and moment not in seen.refused:
            seen.refused.add(moment)
            msg = "the script refuses this request once: try again"
            raise EngineError(msg)
        served = Served(moment, request.prompt_ids)
        seen.served[request.request_id] = served
        is_cut = script.is_cut(moment) and moment not in seen.cut
        if is_cut:
            seen.cut.add(moment)
        fake = FakeEngine(
            self.tokenizer,
            [script.reply(moment)],
            context_length=_CONTEXT,
            fails_after=_CUT_AFTER if is_cut else None,
        )
        async for chunk in fake.generate(request):
            served.drawn.extend(chunk.token_ids)
            yield chunk

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """As likely as anything."""
        return (-1.0,) * len(request.response_ids)

    async def swap(self, weights: WeightVersion) -> None:
        """There are no weights."""

    def status(self) -> EngineStatus:
        """Idle."""
        return FakeEngine(self.tokenizer, [""], context_length=_CONTEXT).status()

    async def aclose(self) -> None:
        """Nothing is held."""
