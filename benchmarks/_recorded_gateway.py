"""Recorded chat requests through a real gateway, whose engine says what it is told to say."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from _recordings import Expected, Request, reply_to

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.errors import EngineError
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.log.replay import Placed
from clawjax.log.store import SqlTurnLog
from clawjax.models.load import load_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import EngineStatus, GenerateRequest, ScoreRequest, TokenChunk, WeightVersion
from clawjax.records import Link, Message, Turn
from clawjax.testing import FakeEngine, temporary_log

__all__ = ["Played", "play_recording"]

_CONTEXT = 1_000_000
_KEPT_HEADERS = ("user-agent", "x-stainless-retry-count", "x-session-id", "session_id")


@dataclass(frozen=True, slots=True)
class Played:
    """A turn that the gateway logged, and the recorded request it answered."""

    number: int
    turn: Turn
    link: Link
    parent: int | None
    of: int | None
    is_exact: bool
    """Its ids are those that the engine was given and those that it drew."""


@dataclass(slots=True)
class _Scripted:
    """An engine that says the next words, and keeps what it was given and drew."""

    tokenizer: ChatTokenizer
    words: str = ""
    is_refusing: bool = False
    is_cut: bool = False
    given: dict[str, tuple[int, ...]] = field(default_factory=dict)
    drawn: dict[str, list[int]] = field(default_factory=dict)

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """A recording refuses nothing before its time."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Say them; refuse, or break off before the last token, where the recording does."""
        if self.is_refusing:
            msg = "as recorded: nothing is sampled for this request"
            raise EngineError(msg)
        length = len(self.tokenizer.encode(self.words))
        fake = FakeEngine(
            self.tokenizer,
            [self.words],
            context_length=_CONTEXT,
            fails_after=length if self.is_cut else None,
        )
        self.given[request.request_id] = request.prompt_ids
        drawn = self.drawn.setdefault(request.request_id, [])
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


async def play_recording(
    asked: Sequence[Request], links: Mapping[int, Expected], folder: Path
) -> list[Played]:
    """Send the chat requests of a recording and read the log afterwards."""
    logging.getLogger("clawjax").setLevel(logging.CRITICAL)  # replies break off on purpose
    engine = _Scripted(load_tokenizer(ModelConfig(path="random:llama"))[0])
    log = temporary_log(folder)
    deps = GatewayDeps(
        engine=engine,
        tokenizer=engine.tokenizer,
        log=log,
        config=GatewayConfig(),
        sampling_defaults=EngineConfig(),
        model_name="policy",
    )
    transport = httpx.ASGITransport(create_app(deps), raise_app_exceptions=False)
    numbers: dict[str, int] = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for index, request in enumerate(asked):
            if request.path != "/v1/chat/completions":
                continue
            engine.is_refusing = request.is_refused
            engine.words = _as_text(reply_to(request, asked[index + 1 :], links))
            engine.is_cut = request.is_cut
            headers = {k: v for k, v in request.headers.items() if k in _KEPT_HEADERS}
            body = {**request.body, "model": "policy", "max_completion_tokens": 4096}
            response = await client.post(request.path, json=body, headers=headers)
            is_served = response.status_code == 200 or request.is_cut or request.is_refused
            assert is_served, f"{request.number}: {response.text[:200]}"
            for turn_id in engine.given:
                numbers.setdefault(turn_id, request.number)
    found = list(_read(log, engine, numbers))
    log.close()
    return found


def _read(log: SqlTurnLog, engine: _Scripted, numbers: Mapping[str, int]) -> Iterator[Played]:
    for turn, link in Placed(log):
        parent, of = turn.parent_turn_id, link.of_turn_id
        yield Played(
            number=numbers[turn.turn_id],
            turn=turn,
            link=link,
            parent=None if parent is None else numbers[parent],
            of=None if of is None else numbers[of],
            is_exact=turn.prompt_ids == engine.given[turn.turn_id]
            and turn.response_ids == tuple(engine.drawn[turn.turn_id]),
        )


def _as_text(reply: Message) -> str:
    """As a model writes it."""
    calls = [
        json.dumps({"name": call.name, "arguments": json.loads(call.arguments)})
        for call in reply.tool_calls
    ]
    return reply.content + "".join(f"<tool_call>{call}</tool_call>" for call in calls)
