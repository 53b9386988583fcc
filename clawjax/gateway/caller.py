"""What a request says of its sender: scope, session, main or side, its end, its urgency.

`read_caller` is the one place where headers and body fields are read for it, whatever the dialect;
what each dialect writes in a way of its own it is told. What is meant for clawjax (`X-Session-Id`,
`X-Turn-Type`, `X-Session-Done`, `X-Priority`, `X-No-Training` and their body twins) is refused
where it cannot be honoured, headers winning over the body; what clients say for other reasons is a
hint, and never a reason to refuse anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clawjax.gateway.wire import JsonObject, read_flag, read_integer, read_text, reject
from clawjax.linking.hints import client_family, is_session_name, read_session_key
from clawjax.records import Origin, TurnKind

__all__ = ["Caller", "read_caller"]

_LAST_PRIORITY = 9
_MOST_RETRIES = 1000
_LONGEST_NUMBER = 4
"""Characters of a number in a header; Python refuses to read very long ones."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as the request tells."""

    scope: str
    """Digest of the credential."""
    origin: Origin = field(default_factory=Origin)
    """What the linker goes by."""
    is_session_done: bool = False
    is_logged: bool = True
    """False: it is answered, and kept nowhere."""
    said_priority: int | None = None
    """The lower, the more urgent."""

    def priority(self, kind: TurnKind) -> int:
        """As said; else people come before their client's side turns."""
        said = self.said_priority
        return int(kind is TurnKind.SIDE) if said is None else said


def read_caller(
    headers: Mapping[str, str],
    body: JsonObject,
    *,
    scope: str,
    is_constrained: bool = False,
    is_logged: bool = True,
) -> Caller:
    """Read the headers, by lower-case name, and the body of a request in any dialect.

    Args:
        headers: of the request.
        body: of the request.
        scope: whose it is.
        is_constrained: whether the reply has to be in a given format.
        is_logged: whether what they ask for is kept, unless the request itself says no.

    Raises:
        WireError: a value that cannot be honoured.
    """
    _check_session_id(headers, body)
    key = read_session_key(headers, body)
    model = body.get("model")
    return Caller(
        scope=scope,
        origin=Origin(
            client=client_family(headers.get("user-agent", "")),
            key=None if key is None else key.value,
            key_source=None if key is None else key.source,
            is_key_explicit=key is not None and key.is_explicit,
            said_kind=_said_kind(headers, body),
            retries=_retries(headers),
            is_stream=body.get("stream") is True,
            is_constrained=is_constrained,
            model=model if isinstance(model, str) else None,
        ),
        is_session_done=_said(headers, body, "session_done"),
        is_logged=is_logged and not _said(headers, body, "no_training"),
        said_priority=_said_priority(headers, body),
    )


def _check_session_id(headers: Mapping[str, str], body: JsonObject) -> None:
    session_id = headers.get("x-session-id") or read_text(body, "session_id")
    if session_id and not is_session_name(session_id):
        reject("session_id", "expected 1 to 256 printable ASCII characters")


def _said_kind(headers: Mapping[str, str], body: JsonObject) -> TurnKind | None:
    word = headers.get("x-turn-type") or read_text(body, "turn_type")
    if not word:
        return None
    try:
        return TurnKind(word.strip().lower())
    except ValueError:
        reject("turn_type", f"{word[:40]!r} is unknown: expected main or side")


def _retries(headers: Mapping[str, str]) -> int:
    """How often the client's own library has sent this request before."""
    count = headers.get("x-stainless-retry-count", "").strip()
    is_count = count.isascii() and count.isdecimal() and len(count) <= _LONGEST_NUMBER
    return min(int(count), _MOST_RETRIES) if is_count else 0


def _said(headers: Mapping[str, str], body: JsonObject, name: str) -> bool:
    """A flag, by the header `x-` and its name, else by the body."""
    header = f"x-{name.replace('_', '-')}"
    return bool(read_flag({name: headers[header]} if header in headers else body, name))


def _said_priority(headers: Mapping[str, str], body: JsonObject) -> int | None:
    if "x-priority" not in headers:
        return read_integer(body, "priority", 0, _LAST_PRIORITY)
    text = headers["x-priority"].strip()
    if not text.isdecimal() or len(text) > _LONGEST_NUMBER:
        reject("priority", f"expected an integer from 0 (first) to {_LAST_PRIORITY}")
    return read_integer({"priority": int(text)}, "priority", 0, _LAST_PRIORITY)
