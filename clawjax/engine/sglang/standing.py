"""What the servers say of the engine's health: who is asked, who is not, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.engine.sglang.pool import Server
from clawjax.protocols import ServerStatus, Standing

__all__ = ["standing", "trouble"]

_LONGEST = 500
"""Characters of a reason: a server's own words may have any length."""


def standing(server: Server) -> ServerStatus:
    """One server's."""
    refusal = server.refusal
    if server.trouble is not None:
        return ServerStatus(server.url, Standing.OUT, server.version, _short(server.trouble))
    if refusal is not None:
        return ServerStatus(server.url, Standing.OUTDATED, server.version, _short(refusal.why))
    return ServerStatus(server.url, Standing.SERVING, server.version)


def trouble(servers: Sequence[ServerStatus], wanted: int) -> str | None:
    """What is wrong with the servers, in words; None: nothing is.

    Args:
        servers: all of them.
        wanted: the version that every server is to have.
    """
    out = [_with_url(one, "is out of rotation") for one in servers if _is(one, Standing.OUT)]
    outdated = [
        _with_url(one, f"serves version {one.version} and does not take {wanted}")
        for one in servers
        if _is(one, Standing.OUTDATED)
    ]
    words = "; ".join([*out, *outdated])
    if len(out) == len(servers):
        return f"no engine server is in rotation: {words}"
    return words or None


def _is(server: ServerStatus, wanted: Standing) -> bool:
    return server.standing is wanted


def _with_url(server: ServerStatus, what: str) -> str:
    return f"{server.url} {what}: {server.trouble}"


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST else reason[: _LONGEST - 3] + "..."
