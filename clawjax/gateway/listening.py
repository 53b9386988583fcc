"""The HTTP server that an app of ours is served by, wherever it is served."""

from __future__ import annotations

import asyncio
import logging
import signal

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from clawjax.errors import ConfigError

__all__ = ["HEAD_S", "IDLE_S", "http_server", "listen"]

logger = logging.getLogger(__name__)

IDLE_S = 120
"""How long a connection may rest. Longer than clients keep theirs (httpx and with it the openai
client 5 s, undici 4 s, Go 90 s, nginx as a proxy 60 s): who closes first is who asks, so that no
request is sent into a connection that is being closed."""
HEAD_S = 30.0
"""How long a client may take over a request's first line and headers. Who it is is in them, so that
until then anybody would hold a connection."""
_LAST_WORDS_S = 10.0
"""What is broken off has so long to write down how far it came."""


def http_server(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    grace_s: int | None = None,
    max_header_bytes: int | None = None,
) -> uvicorn.Server:
    """A server that has not begun to listen; what it logs is up to the process.

    Args:
        app: What answers.
        host: Where to listen.
        port: 0 takes a free one.
        grace_s: How long replies may go on once it was told to stop; None: for ever.
        max_header_bytes: What is read of headers; None: as much as uvicorn likes.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=_Http,
            log_config=None,
            access_log=False,
            h11_max_incomplete_event_size=max_header_bytes,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=grace_s,
        )
    )


class _Http(H11Protocol):
    """Lets go of who does not come to the end of a request's headers.

    Between requests uvicorn's own time-out counts, up to the first byte of the next.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._watch_head()
        else:
            self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def listen(server: uvicorn.Server) -> None:
    """Serve until a signal, which is for the server alone: the process has yet to tidy up.

    To be called from the main thread.

    Raises:
        ConfigError: it cannot listen there; uvicorn leaves with `SystemExit`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again once it has ended
        signal.signal(number, lambda *_: None)
    try:
        await server.serve()
    except SystemExit as error:
        where = f"{server.config.host}:{server.config.port}"
        msg = f"cannot listen on {where}: is it in use?"
        raise ConfigError(msg) from error
    await _let_end(server)


async def _let_end(server: uvicorn.Server) -> None:
    """Wait for requests whose time is up: uvicorn cancels them and leaves."""
    left = set(server.server_state.tasks)
    for task in left:
        if not task.cancelling():  # none is, after a second signal; twice would break its end off
            task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=_LAST_WORDS_S)
    if left:
        logger.error("%d requests have not ended within %.0f s", len(left), _LAST_WORDS_S)
