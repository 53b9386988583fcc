"""Keeps the pages of browsers out: on the loopback too, any page that is open can send requests.

A page reaches the loopback in two ways. It sends a request as itself, whose answer its browser may
keep from it, but which is carried out: the browser then says where it came from (`Origin`, or
`Sec-Fetch-Site` where there is none). Or its own name is made to point at this machine (DNS
rebinding), and the answer is the page's to read: the browser then says that name (`Host`). Clients
that are no browsers send none of this, or the address that they were given.

Invariant: what cannot be understood is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from clawjax.config.hosts import host_of, host_of_origin, is_loopback
from clawjax.errors import WireError
from clawjax.gateway.completions import failure_of
from clawjax.gateway.failures import failure_response

__all__ = ["RefusePages"]

_SHOWN = 80


class RefusePages:
    """ASGI middleware: 403 for what a page of another site has sent."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        is_keyless: Callable[[], bool],
        origins: Collection[str] = (),
        hosts: Collection[str] = (),
    ) -> None:
        """Refuse what is not from here.

        Args:
            app: what answers the rest.
            is_keyless: whether anybody may ask; then `Host` has to name the loopback. Where a key
                is needed, a page without one learns nothing under whichever name.
            origins: of pages that may ask, as `https://app.example:8443`.
            hosts: names that count as this machine's, as `host.docker.internal`.
        """
        self._app = app
        self._is_keyless = is_keyless
        self._origins = {origin.lower() for origin in origins}
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        error = self._problem(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        await failure_response(scope["path"], failure_of(error))(scope, receive, send)

    def _problem(self, scope: Scope) -> WireError | None:
        named, origins = _values(scope, b"host"), _values(scope, b"origin")
        hosts = {host for host in map(host_of, named) if host is not None}
        if self._is_keyless() and not (len(named) == 1 and any(map(self._is_here, hosts))):
            return _wrong_host(", ".join(named))
        for origin in origins:
            if not self._may_ask(origin, hosts):
                return _wrong_origin(f"the page {_shown(origin)}")
        if not origins and "cross-site" in _values(scope, b"sec-fetch-site"):
            return _wrong_origin("a page of another site")
        return None

    def _is_here(self, host: str) -> bool:
        return is_loopback(host) or host in self._hosts

    def _may_ask(self, origin: str, hosts: Collection[str]) -> bool:
        host = host_of_origin(origin)
        if host is None:
            return False
        return is_loopback(host) or host in hosts or origin.lower() in self._origins


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])


def _wrong_host(named: str) -> WireError:
    msg = (
        f"without keys only this machine is answered, and the request is for {_shown(named)}: ask "
        "127.0.0.1 or localhost, set a key, or (the gateway) add the name to gateway.allowed_hosts"
    )
    return WireError(msg, status=403, code="host_not_allowed", kind="permission_error")


def _wrong_origin(page: str) -> WireError:
    msg = (
        f"the request comes from {page}, which may not ask here: ask from a program, or (the "
        "gateway) add the page's origin to gateway.allowed_origins"
    )
    return WireError(msg, status=403, code="origin_not_allowed", kind="permission_error")
