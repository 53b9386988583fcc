"""Keeps the servers in rotation: looks at each, gives it the wanted weights, brings it back.

Owns which weights are wanted. Invariants: a server enters the rotation only after it was probed and
has confirmed the wanted weights, so no token is stamped with a version that its server has not
confirmed; a server that fails leaves, loudly, and the others go on; weights that are damaged change
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from clawjax.config import SglangConfig
from clawjax.engine.sglang.delivery_plan import adapter_name
from clawjax.engine.sglang.failures import RefusedError
from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.pool import UNNAMED, Courier, Pool, Server
from clawjax.engine.sglang.probe import Expected, ask_weight_version, probe
from clawjax.engine.sglang.router import set_workers
from clawjax.errors import ConfigError, EngineError, StoreError
from clawjax.protocols import WeightVersion

__all__ = ["Rotation"]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 10.0


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

        A server that fails is out of rotation until it has them.

        Raises:
            StoreError: no server has them. Where they are damaged the old ones are wanted again;
                where the servers failed, each gets them before it comes back.
        """
        before, self.wanted = self.wanted, weights
        servers = self._pool.serving or list(self._pool.servers)
        results = await asyncio.gather(*(self._try(server) for server in servers))
        failures = {s: f for s, f in zip(servers, results, strict=True) if f is not None}
        if len(failures) < len(servers):
            for server, failure in failures.items():
                self._pool.remove(server, str(failure))
            return
        is_damaged = all(isinstance(failure, StoreError) for failure in results)
        if is_damaged:
            self.wanted = before
        reasons = "; ".join(dict.fromkeys(str(failure) for failure in results))
        msg = f"weights {weights.version} reached no server: {reasons}"
        if not is_damaged:
            msg += "; it is tried again as soon as one can be asked"
        raise StoreError(msg) from results[0]

    async def look(self, server: Server) -> None:
        """Bring a server that is out of rotation back, if it is fit.

        Raises:
            ConfigError: it serves something else.
            EngineError: it is not there, or took no weights.
            StoreError: the wanted weights are damaged.
        """
        async with self._delivering[server]:  # or weights might come between the answers
            if server.trouble is not None:
                await self._identify(server)
                await self._sync(server)
                self._pool.admit(server)

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
        elif server.version != self.wanted.version:
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
            if is_untold or never_had_any:
                server.confirm(0)
            server.has_adapters = False
            server.courier = self._new_courier()
            server.word = facts.weight_version
        logger.info("%s: %s, %s", server.url, facts.software, facts.logprobs_of)

    async def _try(self, server: Server) -> Exception | None:
        """Bring the wanted weights to a server; what went wrong takes it out of rotation.

        One that is out of rotation is looked at first: it may have been started anew.
        """
        try:
            if server.trouble is None:
                async with self._delivering[server]:
                    await self._sync(server)
            else:
                await self.look(server)
        except StoreError as error:  # nothing has changed on the server
            return error
        except (ConfigError, EngineError) as error:
            self._pool.remove(server, f"weights {self.wanted.version} did not arrive: {error}")
            return error
        return None

    async def _sync(self, server: Server) -> None:
        """Bring the wanted weights; whoever calls holds the server's lock."""
        weights = self.wanted
        if server.version == weights.version:
            return
        server.incoming = weights.version
        try:
            async with asyncio.timeout(self._config.weights_timeout_s):
                await self._bring(server, weights)
        except TimeoutError as error:
            server.version = None
            msg = f"not in place after {self._config.weights_timeout_s:.0f} s"
            raise EngineError(msg) from error
        except EngineError:
            server.version = None  # it may have either
            raise
        finally:
            server.incoming = None
        logger.info("%s has weights %d", server.url, weights.version)

    async def _bring(self, server: Server, weights: WeightVersion) -> None:
        courier = server.courier or self._new_courier()
        server.courier = courier
        delivered = await courier.deliver(server.client, weights, server.show)
        if delivered.lora_path is not None:
            server.has_adapters, server.adapter_root = True, str(weights.path.absolute())
        server.confirm(weights.version)
        server.word = await ask_weight_version(server.client, timeout_s=self._config.call_timeout_s)
