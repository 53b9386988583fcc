"""Both sites on loopback, on ports of their own, in a thread of the environment's process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import uvicorn

from clawjax.evals.suites.webarena.local.forum import forum
from clawjax.evals.suites.webarena.local.shop import shop
from clawjax.evals.suites.webarena.local.store import World
from clawjax.evals.suites.webarena.records import PLACEHOLDERS

__all__ = ["LocalSites"]

_HOST = "127.0.0.1"
_START_S = 60.0
_USER = "emma"
_COOKIES = {"shopping": ("shop", "shop_session"), "reddit": ("forum", "forum_session")}


class LocalSites:
    """The running sites; end with `close`."""

    def __init__(self) -> None:
        """Start them.

        Raises:
            RuntimeError: they do not answer in time.
        """
        self.world = World()
        apps = {"shopping": shop(self.world), "reddit": forum(self.world)}
        sockets = {name: socket.create_server((_HOST, 0)) for name in apps}
        self._servers = [
            uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
            for app in apps.values()
        ]
        self.sites = {
            PLACEHOLDERS[name]: f"http://{_HOST}:{each.getsockname()[1]}"
            for name, each in sockets.items()
        }
        self._thread = threading.Thread(
            target=asyncio.run, args=[self._serve(list(sockets.values()))], daemon=True
        )
        self._ready = threading.Event()
        self._thread.start()
        if not self._ready.wait(_START_S):
            msg = f"the local sites did not start within {_START_S:g} s"
            raise RuntimeError(msg)

    @property
    def shopping_admin(self) -> dict[str, str]:
        """Account of the shop's API."""
        return {"username": "admin", "password": self.world.admin_password}

    def storage_state(self, sites: Sequence[str]) -> dict[str, Any]:
        """The cookies of a browser in which our user is signed in at `sites`."""
        cookies = [
            {
                "name": cookie,
                "value": self.world.sign_in(site, _USER),
                "domain": _HOST,
                "path": "/",
                "expires": -1,
                "httpOnly": True,
                "secure": False,
                "sameSite": "Lax",
            }
            for site, cookie in (_COOKIES[each] for each in sites)
        ]
        return {"cookies": cookies, "origins": []}

    def close(self) -> None:
        """Stop them."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(_START_S)

    async def _serve(self, sockets: Sequence[socket.socket]) -> None:
        pairs = zip(self._servers, sockets, strict=True)
        running = [asyncio.create_task(server.serve([each])) for server, each in pairs]
        while not all(server.started for server in self._servers):
            if any(task.done() for task in running):
                break
            await asyncio.sleep(0.01)
        self._ready.set()
        await asyncio.gather(*running)
