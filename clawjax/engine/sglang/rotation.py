"""Keeps the servers in rotation: looks at each, gives it the wanted weights, brings it back.

Owns which weights are wanted. Invariants: a server enters the rotation only after it was probed and
has confirmed its weights, so no token is stamped with a version that its server has not confirmed;
these are the wanted ones, or, as long as no server in rotation has those, what a server that does
not take them shows to have kept, so that nobody goes without an answer because there are new
weights; a server that fails leaves, loudly, and the others go on; weights that are damaged change
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NoReturn

from clawjax.config import SglangConfig
from clawjax.engine.sglang.delivery_plan import WITHOUT_PAUSE, adapter_name
from clawjax.engine.sglang.failures import DeclinedError, RefusedError
from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.pool import UNNAMED, Courier, Pool, Refusal, Server
from clawjax.engine.sglang.probe import Expected, ask_adapters, ask_weight_version, probe
from clawjax.engine.sglang.router import set_workers
from clawjax.errors import ConfigError, EngineError, StoreError
from clawjax.protocols import WeightVersion

__all__ = ["Rotation"]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0
_LONGEST_RETRY_S = 60.0
"""Between two tries of weights that a server in rotation does not take, each of which may stop it
for a moment."""


class Rotation:
    """Servers in, servers out."""

    def __init__(
        self,
        pool: Pool,
        config: SglangConfig,
        expected: Expected,
        new_courier: Callable[[], Courier],
        wanted: WeightVersion,
    ) -> None:
        """Nothing is asked yet.

        Args:
            pool: of all servers.
            config: intervals and limits.
            expected: what they have to serve.
            new_courier: makes what brings weights to a server that was started.
            wanted: the weights that every server has, or is to have.
        """
        self.wanted = wanted
        self._pool = pool
        self._config = config
        self._expected = expected
        self._new_courier = new_courier
        self._delivering: dict[Server, asyncio.Lock] = {s: asyncio.Lock() for s in pool.servers}
        # one delivery per server at a time

    async def want(self, weights: WeightVersion) -> None:
        """Bring weights to every server; those in rotation go on meanwhile.

        A server that fails is out of rotation until it has them, and so is one that does not take
        them where another does. Where none does, those that show to have kept what they had serve
        on with it, and are asked again after growing pauses.

        Raises:
            StoreError: no server has them. Where they are damaged the old ones are wanted again;
                where the servers failed, each gets them before it comes back.
        """
        before, self.wanted = self.wanted, weights
        servers = self._pool.serving or list(self._pool.servers)
        results = await asyncio.gather(*(self._try(server) for server in servers))
        failures = {
            server: failure
            for server, failure in zip(servers, results, strict=True)
            if failure is not None and not self._has_them(server)  # it may have been tried again
        }
        if len(failures) < len(servers):
            for server, failure in failures.items():
                self._pool.remove(server, str(failure))
            return
        is_damaged = all(isinstance(failure, StoreError) for failure in results)
        if is_damaged:
            self.wanted = before
        msg = f"weights {weights.version} reached no server: {_reasons(failures)}"
        kept = sorted({str(server.version) for server in self._pool.serving})
        if kept and not is_damaged:
            msg += f"; version {', '.join(kept)} is served meanwhile, and it is tried again"
        elif not is_damaged:
            msg += "; it is tried again as soon as one can be asked"
        raise StoreError(msg) from results[0]

    async def look(self, server: Server) -> DeclinedError | None:
        """Bring a server that is out of rotation back, if it is fit.

        Returns:
            Why it comes back without the wanted weights; None: it has them.

        Raises:
            ConfigError: it serves something else.
            EngineError: it is not there, or took no weights, which another server has or without
                which it is not known what it has.
            StoreError: the wanted weights are damaged.
        """
        async with self._delivering[server]:  # or weights might come between the answers
            if server.trouble is None:
                return None
            await self._identify(server)
            declined = await self._sync(server)
            if declined is not None and self._is_there:
                raise declined
            self._pool.admit(server)
        self._let_go()
        return declined

    async def watch(self, server: Server) -> NoReturn:
        """Look at a server every so often, and at once when it is woken, until cancelled."""
        pause_s = self._config.health_interval_s
        complaint = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await server.wake.wait()
            server.wake.clear()
            try:
                await self._check(server)
            except (ConfigError, EngineError, StoreError) as error:
                if str(error) != complaint:
                    logger.warning("%s stays out of rotation: %s", server.url, error)
                complaint = str(error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                complaint, pause_s = "", self._config.health_interval_s

    async def watch_router(self, router: ServerClient) -> NoReturn:
        """Keep the router's workers those in rotation, until cancelled."""
        complaint = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.health_interval_s):
                    await self._pool.has_changed.wait()
            self._pool.has_changed.clear()
            urls = [server.url for server in self._pool.serving]
            try:
                await set_workers(router, urls, timeout_s=self._config.call_timeout_s)
                complaint = ""
            except EngineError as error:
                if str(error) != complaint:
                    logger.error("the router does not follow: %s", error)
                complaint = str(error)

    async def _check(self, server: Server) -> None:
        if server.trouble is not None:
            await self.look(server)
            return
        if server.incoming is not None:  # while weights are loaded a server may not answer
            return
        try:
            await self._alive(server)
            word = server.word
            said = await ask_weight_version(server.client, timeout_s=self._config.health_timeout_s)
        except EngineError as error:
            self._pool.remove(server, str(error))
            return
        if server.incoming is not None or server.word != word:  # others have come meanwhile
            return
        if said != server.word:
            server.version = None
            self._pool.remove(server, f"it has weights {said!r} where {server.word!r} were put")
        elif server.version != self.wanted.version and _is_due(server.refusal):
            await self._try(server)

    async def _alive(self, server: Server) -> None:
        try:
            await server.client.call("GET", "/health", timeout_s=self._config.health_timeout_s)
        except RefusedError as error:
            if error.status != 404:
                raise

    async def _identify(self, server: Server) -> None:
        """Find out what answers there, and whether it is what has confirmed its weights."""
        await self._alive(server)
        facts = await probe(server.client, self._expected, timeout_s=self._config.call_timeout_s)
        server.dialect, server.logprobs_of = facts.dialect, facts.logprobs_of
        server.context_length = facts.context_length
        is_same = facts.weight_version is not None and facts.weight_version == server.word
        if server.has_adapters:  # one that was started anew has none
            name = adapter_name(server.version or 0)
            is_same = name is not None and facts.adapters.get(name) == server.adapter_root
        is_as_confirmed = server.version is not None and is_same
        if not is_as_confirmed:
            is_untold = facts.weight_version in (UNNAMED, "0")
            never_had_any = facts.weight_version is None and not server.version
            server.version, server.had = None, set()
            if (is_untold or never_had_any) and not server.is_doubtful:
                server.confirm(0)
            server.has_adapters = False
            server.courier = self._new_courier()
            server.word = facts.weight_version
        logger.info("%s: %s, %s", server.url, facts.software, facts.logprobs_of)
        if not facts.takes_weights:
            logger.warning("%s/pause_generation is not there: %s", server.url, WITHOUT_PAUSE)

    @property
    def _is_there(self) -> bool:
        """Whether a server in rotation has the wanted weights."""
        return any(map(self._has_them, self._pool.servers))

    def _has_them(self, server: Server) -> bool:
        """Whether a server is in rotation with the wanted weights."""
        return server.trouble is None and server.version == self.wanted.version

    def _let_go(self) -> None:
        """Once a server has the wanted weights, those that do not take them leave."""
        if not self._is_there:
            return
        for server in self._pool.serving:
            is_behind = server.incoming is None and not self._has_them(server)
            if is_behind and server.refusal is not None:
                self._pool.remove(server, server.refusal.why)

    async def _try(self, server: Server) -> Exception | None:
        """Bring the wanted weights to a server; what went wrong takes it out of rotation.

        One that does not take them, and shows what it has, stays as long as none takes them. One
        that is out of rotation is looked at first: it may have been started anew.
        """
        try:
            if server.trouble is None:
                async with self._delivering[server]:
                    declined = await self._sync(server)
                self._let_go()
            else:
                declined = await self.look(server)
        except StoreError as error:  # nothing has changed on the server
            return error
        except (ConfigError, EngineError) as error:
            self._pool.remove(server, f"weights {self.wanted.version} did not arrive: {error}")
            return error
        return declined

    async def _sync(self, server: Server) -> DeclinedError | None:
        """Bring the wanted weights; whoever calls holds the server's lock.

        Returns:
            Why it does not take them, where it shows that it has kept what it had.
        """
        weights = self.wanted
        if server.version == weights.version:
            server.refusal = None
            return None
        server.incoming = weights.version
        try:
            async with asyncio.timeout(self._config.weights_timeout_s):
                return await self._bring_or_keep(server, weights)
        except TimeoutError as error:
            server.version = None
            msg = f"not in place after {self._config.weights_timeout_s:.0f} s"
            raise EngineError(msg) from error
        except EngineError:
            server.version = None  # it may have either
            raise
        finally:
            server.incoming = None

    async def _bring_or_keep(self, server: Server, weights: WeightVersion) -> DeclinedError | None:
        try:
            await self._bring(server, weights)
        except DeclinedError as declined:
            if not await self._has_kept(server):
                raise
            self._refused(server, declined)
            return declined
        server.refusal = None
        logger.info("%s has weights %d", server.url, weights.version)
        return None

    async def _has_kept(self, server: Server) -> bool:
        """Whether a server that took no weights shows those that it has confirmed."""
        timeout_s = self._config.call_timeout_s
        said = await ask_weight_version(server.client, timeout_s=timeout_s)
        if server.version is None or said != server.word:
            return False
        if server.has_adapters and server.version > 0:
            adapters = await ask_adapters(server.client, timeout_s=timeout_s)
            return adapters.get(adapter_name(server.version) or "") == server.adapter_root
        return said is not None or server.version == 0

    def _refused(self, server: Server, declined: DeclinedError) -> None:
        """Note when to ask again; say so where it is news."""
        last, why = server.refusal, str(declined)
        times = 1 if last is None else last.times + 1
        pause_s = _retry_pause_s(self._config.health_interval_s, times)
        server.refusal = Refusal(why, times, time.monotonic() + pause_s)
        if last is None or last.why != why:
            version = server.version
            logger.error("%s has weights %s and takes no others: %s", server.url, version, why)

    async def _bring(self, server: Server, weights: WeightVersion) -> None:
        courier = server.courier or self._new_courier()
        server.courier = courier
        delivered = await courier.deliver(
            server.client, weights, server.show, is_doubtful=server.is_doubtful
        )
        if delivered.lora_path is not None:
            server.has_adapters, server.adapter_root = True, str(weights.path.absolute())
        server.confirm(weights.version)
        server.word = await ask_weight_version(server.client, timeout_s=self._config.call_timeout_s)


def _is_due(refusal: Refusal | None) -> bool:
    return refusal is None or time.monotonic() >= refusal.retry_at


def _retry_pause_s(first_s: float, times: int) -> float:
    """Seconds after so many refusals in a row."""
    return min(first_s * 2.0 ** min(times, 16), _LONGEST_RETRY_S)


def _reasons(failures: Mapping[Server, Exception]) -> str:
    """Each reason once, behind the servers that it is of."""
    servers: dict[str, list[str]] = {}
    for server, failure in failures.items():
        servers.setdefault(str(failure), []).append(server.url)
    return "; ".join(f"{', '.join(urls)}: {why}" for why, urls in servers.items())
