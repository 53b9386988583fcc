"""An endpoint over engine servers, talked to by many while versions are published.

The parts are those of a run with `engine=sglang`: pool, deliveries, gateway and turn log, in this
process; servers are elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openai
from _tiny_versions import MODEL, TinyVersions
from _witness import Span, Witness, during, unconfirmed

from clawjax.config import DeliveryConfig, EngineConfig, RunConfig, SglangConfig
from clawjax.config.databases import file_url
from clawjax.engine.sglang.courier import DeliveryCourier
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.engine import SglangEngine
from clawjax.engine.sglang.start import start_engine
from clawjax.engine.watcher import follow_weights
from clawjax.log.store import SqlTurnLog
from clawjax.models.load import load_tokenizer, open_source
from clawjax.runtime.endpoint import build_app
from clawjax.runtime.loopback import serving
from clawjax.weights import DirectoryWeightStore

__all__ = ["Endpoint", "Tally", "Worth", "chatting", "opened", "worth"]

_REPLY_TOKENS = 96
_TIMEOUT_S = 600.0
_LOOK_S = 0.02
_TOKENS_BETWEEN = 500
"""From one version to the next, so that replies are under way whenever one comes."""
_TOLERANCE = 1e-3
"""Nats: fp32, but with a cache, in chunks, and summed in another order."""


@dataclass
class Tally:
    """How the clients fared."""

    replies: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Answers that are not 2xx, by status."""
    dropped: list[str] = field(default_factory=list)
    """Streams without a proper end, and why."""


@dataclass
class Endpoint:
    """A gateway over servers; made by `opened`."""

    base_url: str
    engine: SglangEngine
    versions: TinyVersions
    log: SqlTurnLog
    witness: Witness
    spans: list[Span] = field(default_factory=list)
    """When versions were on their way, each from publishing to the last server's word."""

    async def publish(self, version: int, urls: Collection[str]) -> None:
        """Publish a version; returns when the servers have said that they have it and it is served.

        Raises:
            TimeoutError: it does not arrive within ten minutes.
        """
        begin = self.witness.clock()
        await asyncio.to_thread(self.versions.publish, version)
        await _until(lambda: all(self.witness.has_said(url, version) for url in urls))
        self.spans.append(Span(begin, self.witness.clock()))
        await _until(lambda: self.engine.status().version == version)

    async def publish_all(self, versions: Iterable[int], urls: Collection[str]) -> None:
        """Publish one after the other, each when clients have got some tokens of the one before.

        Raises:
            TimeoutError: one does not arrive, or no tokens come, within ten minutes.
        """
        for version in versions:
            enough = len(self.witness.drawn) + _TOKENS_BETWEEN
            await _until(lambda enough=enough: len(self.witness.drawn) >= enough)
            await self.publish(version, urls)


@asynccontextmanager
async def opened(
    urls: Sequence[str],
    folder: Path,
    *,
    transport: str,
    kinds: Sequence[str],
    router: str | None = None,
    wait_for_server_s: float = 120.0,
) -> AsyncIterator[Endpoint]:
    """An endpoint that follows a weight store of its own.

    Args:
        urls: of the servers.
        folder: for the store, the log, and what servers load.
        transport: of new weights.
        kinds: of versions, see `TinyVersions`.
        router: before the servers.
        wait_for_server_s: how long a request waits while no server is in rotation.

    Raises:
        ConfigError, EngineError: the servers cannot be used.
    """
    delivery = DeliveryConfig(transport=transport)
    sglang = SglangConfig(
        urls=list(urls),
        router=router,
        delivery=delivery,
        health_interval_s=0.2,
        call_timeout_s=120.0,
        wait_for_server_s=wait_for_server_s,
    )
    config = EngineConfig(
        kind="sglang",
        slots=64,
        max_waiting=64,
        max_response_tokens=_REPLY_TOKENS,
        sglang=sglang,
    )
    witness, store = Witness(), DirectoryWeightStore(folder / "weights")
    source = open_source(MODEL)
    tokenizer, architecture, _ = load_tokenizer(MODEL)
    directories = ModelDirectories(folder / "served", source)
    log = SqlTurnLog.open(file_url(folder / "turns.db"))
    engine = await start_engine(
        config,
        MODEL,
        tokenizer=tokenizer,
        vocab_size=architecture.vocab_size,
        base_id=source.base_id(),
        new_courier=lambda: witness.courier(DeliveryCourier(directories, delivery)),
        store=store,
        api_key=None,
        logs=folder,
    )
    try:
        app = build_app(
            RunConfig(model=MODEL, engine=config),
            witness.engine(engine),
            tokenizer,
            log,
            on_linked=lambda: None,
        )
        async with serving(app) as base_url, asyncio.TaskGroup() as group:
            following = group.create_task(follow_weights(engine, store, poll_s=_LOOK_S))
            yield Endpoint(base_url, engine, TinyVersions(store, kinds), log, witness)
            following.cancel()
    finally:
        await engine.aclose()
        log.close()


@asynccontextmanager
async def chatting(endpoint: Endpoint, clients: int) -> AsyncIterator[Tally]:
    """Clients that stream one reply after the other, as long as the context lasts.

    What they have begun they hear to its end.
    """
    tally, is_over = Tally(), asyncio.Event()
    async with (
        openai.AsyncOpenAI(
            base_url=endpoint.base_url, api_key="any", max_retries=0, timeout=_TIMEOUT_S
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(clients):
            group.create_task(_chat(client, f"client{number}", tally, is_over))
        try:
            yield tally
        finally:
            is_over.set()


async def _chat(
    client: openai.AsyncOpenAI, name: str, tally: Tally, is_over: asyncio.Event
) -> None:
    said = 0
    while not is_over.is_set():
        said += 1
        try:
            finish = await _reply(client, f"{name}-{said}")
        except openai.APIStatusError as error:
            tally.refused[error.status_code] += 1
        except Exception as error:  # whatever a client is shown
            tally.dropped.append(f"{type(error).__name__}: {error}")
        else:
            if finish is None:
                tally.dropped.append("the stream ended without a finish reason")
            else:
                tally.replies += 1


async def _reply(client: openai.AsyncOpenAI, session: str) -> str | None:
    """The finish reason of a streamed reply; None where the stream ended without one."""
    stream = await client.chat.completions.create(
        model=MODEL.name,
        messages=[{"role": "user", "content": f"hello {session}"}],
        stream=True,
        max_tokens=_REPLY_TOKENS,
        temperature=1.0,
        extra_headers={"X-Session-Id": session},
    )
    finish = None
    async for chunk in stream:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
    return finish


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while not holds():  # noqa: ASYNC110 - nobody has an event for it
            await asyncio.sleep(_LOOK_S)


class Worth(NamedTuple):
    """What a measurement has come to."""

    turns: int
    """Logged."""
    tokens: int
    while_publishing: int
    """Tokens that came while a version was on its way."""
    unconfirmed: int
    """Tokens of a version that no server had said to have by then."""
    mistaken: int
    """Tokens whose log-prob is not that of the version they are stamped with."""
    worst_error: float
    """The largest difference from those, in nats."""
    mixed: int
    """Turns of more than one version."""


def worth(endpoint: Endpoint) -> Worth:
    """Look at everything that was logged, with the weights themselves."""
    turns = [judged.turn for judged in endpoint.log.turns()]
    errors = [endpoint.versions.logprob_errors(turn) for turn in turns if turn.response_ids]
    every = np.concatenate(errors) if errors else np.zeros(0)
    drawn = endpoint.witness.drawn
    return Worth(
        turns=len(turns),
        tokens=every.size,
        while_publishing=during(drawn, endpoint.spans),
        unconfirmed=unconfirmed(drawn, endpoint.witness.said),
        mistaken=int((~(every <= _TOLERANCE)).sum()),  # NaN is one
        worst_error=float(every.max(initial=0.0)),
        mixed=sum(len(turn.token_versions) > 1 for turn in turns),
    )
