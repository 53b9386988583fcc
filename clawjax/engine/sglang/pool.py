"""The servers in rotation, and who gets the next request.

Owns each server's standing. Invariants: a server out of rotation gets no request; a request of a
session goes where the session was, unless that server is much busier than another; who waits for a
server waits a bounded time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from clawjax.config import SglangConfig
from clawjax.engine.sglang.failures import (
    CrowdedError,
    InterruptError,
    LostError,
    UnreachableError,
    UnreadableError,
)
from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.logprobs import LogprobsOf
from clawjax.engine.sglang.wire import Dialect, is_busy
from clawjax.errors import EngineError, WireError
from clawjax.protocols import GenerateRequest, ScoreRequest, WeightVersion

__all__ = ["UNNAMED", "Asked", "Courier", "Delivered", "Pool", "Refusal", "Server", "affinity"]

logger = logging.getLogger(__name__)

UNNAMED = "default"
"""What a server calls the weights that it was started with."""
_PREFIX = 256
"""Tokens that stand for a session where none is named."""


class Delivered(Protocol):
    """What a delivery says of itself."""

    @property
    def lora_path(self) -> str | None:
        """The LoRA adapter that requests may name now; None: the weights are whole."""
        ...


class Courier(Protocol):
    """Brings weights to one server."""

    async def deliver(
        self,
        client: ServerClient,
        weights: WeightVersion,
        on_version: Callable[[int | None], None],
        *,
        is_doubtful: bool,
    ) -> Delivered:
        """Bring a version, and return when the server has shown that it has it.

        `on_version` is told what the server samples with before it goes on after a load: the
        version, or None where that is not known. `is_doubtful` is `Server.is_doubtful`: adapters
        do not go beside weights of which nobody knows what they are.

        Raises:
            StoreError: the weights are damaged or do not fit; the server has not been touched.
            DeclinedError: the server does not take them, and what it has is untouched.
            EngineError: the server failed; which weights it has is not known.
        """
        ...

    def asked(self) -> AbstractContextManager[int]:
        """While a request is under way: the adapter's version to ask for, which is not taken away.

        0: none.
        """
        ...


class Asked(NamedTuple):
    """The weights that a request asks for."""

    version: int | None
    """Those the reply begins with."""
    adapter: int
    """The version that it asks for as an adapter; 0: none."""
    since: int
    """`Server.since` when the request began."""


class Refusal(NamedTuple):
    """A server that serves on with what it has, as it does not take what is wanted."""

    why: str
    times: int
    """How often in a row."""
    retry_at: float
    """When it is asked again, of the monotonic clock."""


@dataclass(slots=True, eq=False)
class Server:
    """One server and what is known of it."""

    client: ServerClient
    trouble: str | None = "it has not been looked at yet"
    """Why it is out of rotation; None: it is in."""
    version: int | None = None
    """The weights that it has confirmed; None: not known."""
    since: int = field(default_factory=time.monotonic_ns)
    """When it confirmed them, in nanoseconds: never twice the same, be they the same or others."""
    had: set[int] = field(default_factory=set)
    """All that it has confirmed since it was started; tokens of any may still be under way."""
    is_doubtful: bool = False
    """Whether it has begun a load that it has not confirmed: what it calls its weights may be what
    they were called before."""
    incoming: int | None = None
    """Those that it is being given."""
    refusal: Refusal | None = None
    """Why it has not taken those that are wanted; None: it has, or has not been asked."""
    word: str | None = None
    """What it said its weights are, when it confirmed them."""
    courier: Courier | None = None
    """Who brings it weights; None: nobody has yet."""
    has_adapters: bool = False
    """Whether a version is an adapter beside the base model, which a request names."""
    adapter_root: str | None = None
    """From where the newest of them was loaded."""
    context_length: int | None = None
    """As it says itself."""
    dialect: Dialect = field(default_factory=Dialect)
    logprobs_of: LogprobsOf = LogprobsOf.SCALED
    in_flight: int = 0
    failures: int = 0
    """Errors in a row."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it should be looked at now."""

    @property
    def url(self) -> str:
        """Where it is."""
        return self.client.url

    def confirm(self, version: int) -> None:
        """Note that it has shown which weights it has."""
        if version != self.version:
            self.since = time.monotonic_ns()
        self.version = version
        self.had.add(version)
        self.is_doubtful = False

    def show(self, version: int | None) -> None:
        """Note what it samples with from now on; None: that is not known."""
        if version is None:
            self.version, self.is_doubtful = None, True
        else:
            self.confirm(version)

    def stamp(self, said: str | None) -> int | None:
        """The version of a token that came with the word `said` about the weights; None: not known.

        A word that names a version this server has had, or is getting, counts, since tokens may
        arrive after the weights that sampled them have gone. One that names another is of a server
        that was started anew, with weights of its own. Without a number, what was confirmed counts.
        """
        named = None if said is None else _said(said)
        if named is None or self.version is None:
            return self.version
        return named if named == self.incoming or named in self.had else None


class Pool:
    """Hands out servers."""

    def __init__(
        self, config: SglangConfig, servers: Collection[Server], router: Server | None = None
    ) -> None:
        """All are out of rotation at first; a `router` chooses among them where there is one."""
        self.servers = tuple(servers)
        self.has_changed = asyncio.Event()
        """Set when a server has come or gone; cleared by whoever looks."""
        self._config = config
        self._router = router
        self._changed = asyncio.Event()
        self._empty_since: float | None = time.monotonic()

    @property
    def serving(self) -> list[Server]:
        """Those in rotation, as long as it is known which weights they have."""
        return [s for s in self.servers if s.trouble is None and s.version is not None]

    @property
    def empty_s(self) -> float:
        """For how many seconds none has been in rotation; 0 while one is."""
        return 0.0 if self._empty_since is None else time.monotonic() - self._empty_since

    @property
    def router(self) -> ServerClient | None:
        """Who chooses among them, if somebody does."""
        return None if self._router is None else self._router.client

    def admit(self, server: Server) -> None:
        """Put a server into rotation, for whoever waits."""
        if server.trouble is not None:
            logger.info("%s is in rotation", server.url)
        server.trouble = None
        server.failures = 0
        self._empty_since = None
        self.has_changed.set()
        self._changed.set()
        self._changed = asyncio.Event()

    def remove(self, server: Server, why: str) -> None:
        """Take a server out of rotation, loudly, and have it looked at."""
        if server.trouble is None:
            logger.error("%s is out of rotation: %s", server.url, why)
        server.trouble = why
        if self._empty_since is None and not self.serving:
            self._empty_since = time.monotonic()
        server.wake.set()
        self.has_changed.set()

    def note(self, server: Server, error: EngineError | None) -> None:
        """Count how a request went; the breaker of `server` opens or closes by it.

        A lost connection opens it at once: the server may have been started anew, with other
        weights, and has to say which. One that is full, or was told to give its replies up, is
        well.
        """
        if error is None:
            server.failures = 0
            return
        if _says_nothing(error):
            return
        server.failures += 1
        if server is self._router:
            logger.warning("a request through the router failed: %s", error)
            return
        is_gone = isinstance(error, (UnreachableError, LostError))
        if is_gone or server.failures >= self._config.failures_to_leave:
            self.remove(server, str(error))

    async def pick(self, key: bytes, avoid: Collection[Server] = ()) -> Server:
        """The server for a request; one to `avoid` only where there is no other.

        Raises:
            WireError: 503, none came into rotation in time.
        """
        limit_s = self._config.wait_for_server_s
        try:
            async with asyncio.timeout(limit_s):
                while not (serving := self.serving):
                    await self._changed.wait()
        except TimeoutError as error:
            reasons = "; ".join(f"{s.url}: {s.trouble}" for s in self.servers)
            logger.error("no server for %.0f s: %s", limit_s, reasons)
            msg = f"No engine server is in rotation ({reasons}). Please retry shortly."
            raise WireError(
                msg, status=503, code="engine_unavailable", kind="server_error"
            ) from error
        if self._router is not None:
            return self._as_its_servers(self._router)
        others = [server for server in serving if server not in avoid]
        return self._preferred(key, others or serving)

    def stamp(self, server: Server, asked: Asked, said: str | None) -> int:
        """The version of a token from `server` that came with the word `said` about its weights.

        A request for an adapter, or for the base model beside adapters, stays with it to its end.

        Raises:
            UnreadableError: the server's weights are not known any more.
        """
        if asked.adapter or server.has_adapters:
            version = asked.version
        elif server is self._router:
            version = self._as_its_servers(server).version if said is None else _said(said)
        else:
            version = server.stamp(said)
        if version is None:
            msg = f"{server.url} does not know its weights any more"
            raise UnreadableError(msg)
        return version

    @contextmanager
    def using(self, server: Server) -> Iterator[Asked]:
        """Count a request while it is under way, and say what it is to ask for.

        Where versions are adapters, that is what it gets, be it confirmed already or not.
        """
        server.in_flight += 1
        try:
            with nullcontext(0) if server.courier is None else server.courier.asked() as adapter:
                version = adapter if server.has_adapters else adapter or server.version
                yield Asked(version, adapter, server.since)
        finally:
            server.in_flight -= 1

    async def abort(self, server: Server, rid: str) -> None:
        """Free what a request holds; a router does not pass that on, so its servers are told."""
        told = self.serving if server is self._router else [server]
        await asyncio.gather(*(one.client.abort(rid) for one in told))

    def _as_its_servers(self, router: Server) -> Server:
        """The router as the oldest of its servers, since the last of them got its weights."""
        serving = self.serving
        versions = [server.version for server in serving if server.version is not None]
        router.version = min(versions, default=router.version)
        router.since = max((server.since for server in serving), default=router.since)
        if serving:
            router.dialect, router.logprobs_of = serving[0].dialect, serving[0].logprobs_of
        return router

    def _preferred(self, key: bytes, servers: list[Server]) -> Server:
        """The session's own (rendezvous hashing), or the idlest where that one is much busier."""
        own = max(servers, key=lambda server: _weight(key, server.url))
        idlest = min(servers, key=lambda server: server.in_flight)
        is_busy = own.in_flight - idlest.in_flight > self._config.affinity_slack
        return idlest if is_busy else own


def affinity(request: GenerateRequest | ScoreRequest) -> bytes:
    """What requests that share a beginning have in common: the session, else the first tokens."""
    session = request.session_id if isinstance(request, GenerateRequest) else None
    if session is not None:
        return session.encode()
    return b",".join(str(token).encode() for token in request.prompt_ids[:_PREFIX])


def _says_nothing(error: EngineError) -> bool:
    """Whether a request failed for nothing that is wrong with its server."""
    was_told_to = isinstance(error, InterruptError) and error.status is None
    return was_told_to or isinstance(error, CrowdedError) or is_busy(error)


def _said(word: str) -> int | None:
    """The version that a server names; what was never named is the base model's."""
    if word == UNNAMED:
        return 0
    return int(word) if word.isdecimal() else None


def _weight(key: bytes, url: str) -> bytes:
    return hashlib.blake2b(url.encode(), key=hashlib.blake2b(key).digest()).digest()
