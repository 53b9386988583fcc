"""An engine that plays the model's part of a script, token by token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from clients.script import Moment, Script

from clawjax.errors import EngineError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import EngineStatus, GenerateRequest, ScoreRequest, TokenChunk, WeightVersion
from clawjax.testing import FakeEngine

__all__ = ["ScriptedEngine"]

_CONTEXT = 1_000_000


@dataclass(slots=True)
class ScriptedEngine:
    """Says what the script has for the moment that a prompt is of, and keeps what it drew."""

    tokenizer: ChatTokenizer
    script: Script
    moments: dict[str, Moment] = field(default_factory=dict)
    """Of each request that was served, by its id, which is the turn's."""
    given: dict[str, tuple[int, ...]] = field(default_factory=dict)
    drawn: dict[str, list[int]] = field(default_factory=dict)
    refused: set[Moment] = field(default_factory=set)
    strangers: list[str] = field(default_factory=list)
    """Requests that are not in the script."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Say it; refuse the first request of a moment that is to be refused."""
        try:
            moment = self.script.moment_of(self.tokenizer.decode(request.prompt_ids))
        except ValueError as error:
            self.strangers.append(str(error))
            raise EngineError(str(error)) from error
        if self.script.is_refused(moment) and moment not in self.refused:
            self.refused.add(moment)
            msg = "the script refuses this request once: try again"
            raise EngineError(msg)
        self.moments[request.request_id] = moment
        self.given[request.request_id] = request.prompt_ids
        drawn = self.drawn.setdefault(request.request_id, [])
        fake = FakeEngine(self.tokenizer, [self.script.reply(moment)], context_length=_CONTEXT)
        async for chunk in fake.generate(request):
            drawn += chunk.token_ids
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
