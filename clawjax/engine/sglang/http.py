"""One server over HTTP: calls with an answer, and streams of events.

Owns the translation of transport failures (`failures`). Invariants: every phase of a request has a
timeout; nothing is repeated here; a server's own words reach whoever has to read them. Connections
are pooled for all servers together, HTTP/2 where `h2` is installed and the server speaks it; what
keeps servers going (health, weights, an abort) has connections of its own, which no reply takes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, NamedTuple, Self

import httpx

from clawjax.config import SglangConfig
from clawjax.config.secrets import bearer
from clawjax.engine.sglang.failures import (
    CrowdedError,
    LostError,
    RefusedError,
    UnreachableError,
)
from clawjax.engine.sglang.wire import words_of
from clawjax.errors import EngineError

__all__ = ["Connections", "ServerClient"]

logger = logging.getLogger(__name__)

_KEEP_ALIVE_S = 4.0
"""Below the 5 s of SGLang's uvicorn: an idle connection is closed by who asks, not by it."""
_ABORT_TIMEOUT_S = 2.0
_CONTROL = 256
"""Connections for what is no reply."""


class Connections(NamedTuple):
    """Those to all servers; whoever opens them closes them."""

    replies: httpx.AsyncClient
    control: httpx.AsyncClient

    @classmethod
    def open(cls, config: SglangConfig, api_key: str | None) -> Self:
        """Nothing is connected yet. A reply waits `wait_for_server_s` for a free one."""
        return cls(
            _client(config, api_key, config.max_connections, config.wait_for_server_s),
            _client(config, api_key, _CONTROL, config.connect_timeout_s),
        )

    async def aclose(self) -> None:
        """Close them."""
        await self.replies.aclose()
        await self.control.aclose()

    async def __aenter__(self) -> Self:
        """They are open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self.aclose()


def _client(
    config: SglangConfig, api_key: str | None, limit: int, wait_s: float
) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        http2=importlib.util.find_spec("h2") is not None,
        headers=bearer(api_key),
        limits=httpx.Limits(
            max_connections=limit,
            max_keepalive_connections=limit,
            keepalive_expiry=_KEEP_ALIVE_S,
        ),
        timeout=httpx.Timeout(
            connect=config.connect_timeout_s,
            write=config.write_timeout_s,
            read=config.call_timeout_s,
            pool=wait_s,
        ),
        trust_env=False,
    )


class ServerClient:
    """Talks to one server (or router)."""

    def __init__(self, connections: Connections, url: str) -> None:
        """Nothing is sent yet."""
        self.url = url.rstrip("/")
        self._connections = connections

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
        is_reply: bool = False,
    ) -> dict[str, object]:
        """One request and its answer; one that is no JSON object is `{"text": ...}`.

        Args:
            method: of HTTP.
            path: of the endpoint.
            body: sent as JSON.
            timeout_s: how long nothing may come.
            is_reply: whether somebody waits for it as for a reply, of which there may be many.

        Raises:
            UnreachableError, CrowdedError: it did not run.
            LostError: it may have run.
            RefusedError: the server answered with an error.
        """
        client = self._connections.replies if is_reply else self._connections.control
        with _translated(self.url):
            response = await client.request(
                method, self.url + path, json=body, timeout=_timeouts(client, timeout_s)
            )
        if not response.is_success:
            raise RefusedError(self.url, path, response.status_code, _words(response))
        return _object(response.text)

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, object], *, silence_s: float
    ) -> AsyncGenerator[AsyncGenerator[dict[str, Any]]]:
        """The events of a server-sent stream, up to `[DONE]`; leaving closes the connection.

        Args:
            path: of the endpoint.
            body: sent as JSON.
            silence_s: how long nothing may come.

        Raises:
            EngineError: as `call`; lost also without `[DONE]`.
        """
        client = self._connections.replies
        with _translated(self.url):
            request = client.build_request(
                "POST", self.url + path, json=body, timeout=_timeouts(client, silence_s)
            )
            response = await client.send(request, stream=True)
        try:
            if not response.is_success:
                with _translated(self.url):
                    await response.aread()
                raise RefusedError(self.url, path, response.status_code, _words(response))
            async with aclosing(self._events(response)) as events:
                yield events
        finally:
            with suppress(httpx.HTTPError):
                await response.aclose()

    async def abort(self, rid: str) -> None:
        """Free what a request holds on the server, if that can still be reached."""
        try:
            await self.call("POST", "/abort_request", {"rid": rid}, timeout_s=_ABORT_TIMEOUT_S)
        except EngineError as error:
            logger.debug("%s was not aborted: %s", rid, error)

    async def _events(self, response: httpx.Response) -> AsyncGenerator[dict[str, Any]]:
        with _translated(self.url):
            async with aclosing(_lines(response)) as lines:
                async for line in lines:
                    if not line.startswith("data:"):
                        continue
                    text = line.removeprefix("data:").strip()
                    if text == "[DONE]":
                        return
                    yield self._event(text)
        msg = f"{self.url} ended a stream in the middle"
        raise LostError(msg)

    def _event(self, text: str) -> dict[str, Any]:
        try:
            event = json.loads(text)
        except ValueError as error:
            msg = f"{self.url} sent an event that is no JSON: {text[:100]!r}"
            raise LostError(msg) from error
        if not isinstance(event, dict):
            msg = f"{self.url} sent an event that is no object: {text[:100]!r}"
            raise LostError(msg)
        return event


def _timeouts(client: httpx.AsyncClient, read_s: float) -> httpx.Timeout:
    usual = client.timeout
    return httpx.Timeout(connect=usual.connect, write=usual.write, pool=usual.pool, read=read_s)


class _translated:  # noqa: N801 - used as a statement
    """Turns httpx's failures into those of `failures`; works around `yield` as well."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case httpx.PoolTimeout():
                msg = f"no connection to {self._url} was free in time"
                raise CrowdedError(msg) from error
            case httpx.ConnectError() | httpx.ConnectTimeout():
                msg = f"{self._url} cannot be reached ({_name(error)})"
                raise UnreachableError(msg) from error
            case httpx.ReadTimeout():
                msg = f"{self._url} has been silent for too long"
                raise LostError(msg) from error
            case httpx.HTTPError():
                msg = f"{self._url} was lost ({_name(error)})"
                raise LostError(msg) from error
            case _:
                return


async def _lines(response: httpx.Response) -> AsyncGenerator[str]:
    """Lines of a stream of events; httpx's end at U+2028 and the like, too, which JSON may hold."""
    rest = b""
    async for block in response.aiter_bytes():
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def _name(error: Exception) -> str:
    return str(error) or type(error).__name__


def _words(response: httpx.Response) -> str:
    try:
        return words_of(response.json())
    except ValueError:
        return words_of(response.text) or response.reason_phrase


def _object(text: str) -> dict[str, object]:
    try:
        answer = json.loads(text)
    except ValueError:
        return {"text": text}
    return answer if isinstance(answer, dict) else {"text": text}
