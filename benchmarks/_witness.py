"""What servers say of their weights, and which tokens come when: noted beside the code that acts.

A version counts as a server's from when the server itself has said so on the wire, in
`/get_model_info` or in its list of adapters, whatever the client makes of it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import NamedTuple, Protocol, cast

from clawjax.engine.sglang.delivery import Delivered
from clawjax.engine.sglang.delivery_plan import adapter_name, read_version
from clawjax.engine.sglang.lease import Calls
from clawjax.protocols import (
    Engine,
    EngineStatus,
    GenerateRequest,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)

__all__ = ["Drawn", "NamedCalls", "Said", "Span", "Witness", "during", "unconfirmed"]

Clock = Callable[[], float]


class Said(NamedTuple):
    """A server has said that it has a version."""

    at: float
    url: str
    version: int


class Drawn(NamedTuple):
    """A token has arrived."""

    at: float
    version: int
    """As it was stamped."""


class Span(NamedTuple):
    """From when until when a version was published and brought to every server."""

    begin: float
    end: float


def unconfirmed(drawn: Iterable[Drawn], said: Iterable[Said]) -> int:
    """Tokens of a version that no server had said to have by then; 0 is there from the start."""
    known = {0: 0.0}
    for one in sorted(said):
        known.setdefault(one.version, one.at)
    return sum(token.version not in known or token.at < known[token.version] for token in drawn)


def during(drawn: Iterable[Drawn], spans: Sequence[Span]) -> int:
    """Tokens that came within one of the spans."""
    return sum(any(span.begin <= token.at <= span.end for span in spans) for token in drawn)


class NamedCalls(Calls, Protocol):
    """`Calls` of a server that has an address."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...


class InnerCourier(Protocol):
    """A courier that asks servers by nothing but `Calls`."""

    async def deliver(
        self,
        client: Calls,
        weights: WeightVersion,
        on_version: Callable[[int | None], None],
        *,
        is_doubtful: bool,
    ) -> Delivered:
        """See `pool.Courier`."""
        ...

    def asked(self) -> AbstractContextManager[int]:
        """See `pool.Courier`."""
        ...


class Witness:
    """Notes of one measurement."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Nothing has happened yet."""
        self.said: list[Said] = []
        self.drawn: list[Drawn] = []
        self.clock = clock

    def has_said(self, url: str, version: int) -> bool:
        """Whether a server has ever said that it has a version."""
        return any((one.url, one.version) == (url, version) for one in self.said)

    def courier(self, inner: InnerCourier) -> _Courier:
        """The courier, listened to."""
        return _Courier(inner, self)

    def engine(self, inner: Engine) -> _Engine:
        """The engine, its tokens counted."""
        return _Engine(inner, self)


class _Courier:
    def __init__(self, inner: InnerCourier, witness: Witness) -> None:
        self._inner = inner
        self._witness = witness

    async def deliver(
        self,
        client: NamedCalls,
        weights: WeightVersion,
        on_version: Callable[[int | None], None],
        *,
        is_doubtful: bool,
    ) -> Delivered:
        listened = _Listened(client, self._witness)
        return await self._inner.deliver(listened, weights, on_version, is_doubtful=is_doubtful)

    def asked(self) -> AbstractContextManager[int]:
        return self._inner.asked()


class _Listened:
    """A server whose answers are read along."""

    def __init__(self, client: NamedCalls, witness: Witness) -> None:
        self._client = client
        self._witness = witness

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
    ) -> dict[str, object]:
        answer = await self._client.call(method, path, body, timeout_s=timeout_s)
        for version in _versions_in(path, body or {}, answer):
            said = Said(self._witness.clock(), self._client.url, version)
            self._witness.said.append(said)
        return answer


class _Engine:
    def __init__(self, inner: Engine, witness: Witness) -> None:
        self._inner = inner
        self._witness = witness

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        await self._inner.check(request, replies=replies)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk]:
        inner = cast("AsyncGenerator[TokenChunk]", self._inner.generate(request))
        async with aclosing(inner) as chunks:
            async for chunk in chunks:
                now = self._witness.clock()
                self._witness.drawn += [Drawn(now, version) for version in chunk.versions]
                yield chunk

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        return await self._inner.score(request)

    async def swap(self, weights: WeightVersion) -> None:
        await self._inner.swap(weights)

    def status(self) -> EngineStatus:
        return self._inner.status()

    async def aclose(self) -> None:
        await self._inner.aclose()


def _versions_in(
    path: str, body: Mapping[str, object], answer: Mapping[str, object]
) -> tuple[int, ...]:
    """The versions that an answer says a server has."""
    if path == "/get_model_info":
        version = read_version(answer.get("weight_version"))
        return () if version is None else (version,)
    if path == "/load_lora_adapter":
        listed = answer.get("loaded_adapters")
        name = body.get("lora_name")
        if isinstance(listed, Mapping) and name in listed:
            version = int(str(name).rpartition("-")[2])
            assert adapter_name(version) == name
            return (version,)
    return ()
