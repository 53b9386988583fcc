"""What a request says about its place: scope, session, main or side, its end, its urgency.

Headers win over body fields; both are optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clawjax.gateway.wire import JsonObject, read_flag, read_integer, read_text, reject
from clawjax.records import TurnKind

__all__ = ["Caller", "identify"]

_MAX_SESSION_ID_CHARACTERS = 256
_LAST_PRIORITY = 9


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request belongs."""

    scope: str
    session_id: str | None
    """As the client named it; None where the session is found by message history."""
    kind: TurnKind
    is_session_done: bool
    priority: int = 0
    """The lower, the more urgent."""


def identify(
    headers: Mapping[str, str], body: JsonObject, *, scope: str, default_kind: TurnKind
) -> Caller:
    """Read `X-Session-Id`, `X-Turn-Type`, `X-Session-Done`, `X-Priority` or their body twins.

    Raises:
        WireError: a value that cannot be honoured.
    """
    kind = _turn_kind(headers, body, default_kind)
    return Caller(
        scope=scope,
        session_id=_session_id(headers, body),
        kind=kind,
        is_session_done=_is_session_done(headers, body),
        priority=_priority(headers, body, kind),
    )


def _session_id(headers: Mapping[str, str], body: JsonObject) -> str | None:
    session_id = headers.get("x-session-id") or read_text(body, "session_id")
    if not session_id:
        return None
    is_plain = session_id.isascii() and session_id.isprintable()
    if not is_plain or len(session_id) > _MAX_SESSION_ID_CHARACTERS:
        limit = f"1 to {_MAX_SESSION_ID_CHARACTERS} printable ASCII characters"
        reject("session_id", f"expected {limit}")
    return session_id


def _turn_kind(headers: Mapping[str, str], body: JsonObject, default: TurnKind) -> TurnKind:
    word = headers.get("x-turn-type") or read_text(body, "turn_type")
    if not word:
        return default
    try:
        return TurnKind(word.strip().lower())
    except ValueError:
        reject("turn_type", f"{word[:40]!r} is unknown: expected main or side")


def _is_session_done(headers: Mapping[str, str], body: JsonObject) -> bool:
    said = {"session_done": headers["x-session-done"]} if "x-session-done" in headers else body
    return bool(read_flag(said, "session_done"))


def _priority(headers: Mapping[str, str], body: JsonObject, kind: TurnKind) -> int:
    """As said; else people come before their client's side turns."""
    if "x-priority" not in headers:
        said = read_integer(body, "priority", 0, _LAST_PRIORITY)
    elif headers["x-priority"].strip().isdecimal():
        said = read_integer({"priority": int(headers["x-priority"])}, "priority", 0, _LAST_PRIORITY)
    else:
        reject("priority", f"expected an integer from 0 (first) to {_LAST_PRIORITY}")
    return said if said is not None else int(kind is TurnKind.SIDE)
