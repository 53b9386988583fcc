"""What names a session, and whose client it is: headers, body fields and one client's own text.

Hints of real, unpatched clients, most telling first. A hint that cannot be a name is no hint: it is
left out, never refused. `X-Session-Affinity` and `X-Client-Request-Id` are no names (nanobot makes
new ones for every process), `user` is a tenant, and a trace lasts for one run only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, cast

from clawjax.records import Message, Origin
from clawjax.texts import clean

__all__ = ["client_family", "is_session_name", "read_session_key", "with_openclaw_key"]

Headers = Mapping[str, str]
Body = Mapping[str, object]

_MAX_NAME_CHARACTERS = 256
_MAX_FAMILY_CHARACTERS = 64
_READ_OF_USER_AGENT = 1024
"""Characters; the family is in its first words."""
_VERSIONS = re.compile(r"/\S*|\([^)]*\)|\bv?\d[\w.-]*")
_CACHE_KEY = "prompt_cache_key"
_COUNTED = re.compile(r"(.+):(\d{1,6})", re.DOTALL)
_RUNTIME = re.compile(r"^Runtime: agent=[^\n]*?\| sessionId=([^\s|]+)", re.MULTILINE)
_READ_FOR_RUNTIME = 4
"""Messages from the first in which OpenClaw's line may stand."""


class SessionKey(NamedTuple):
    """A name for a session, and where it was found."""

    source: str
    value: str
    is_explicit: bool = False


def client_family(user_agent: str) -> str:
    """A `User-Agent` without versions, systems and comments: `OpenAI/JS 7.15.0` is `OpenAI JS`.

    The first product counts; what follows a slash is kept where it names a language. It is logged
    and shown to people, so nothing in it is obeyed by terminals.
    """
    text = re.sub(r"^(\w+)/(JS|Python)\b", r"\1 \2", user_agent.strip()[:_READ_OF_USER_AGENT])
    words = _VERSIONS.sub(" ", text).split()
    kept = words[:2] if words[1:2] in (["JS"], ["Python"]) else words[:1]
    return clean(" ".join(kept)[:_MAX_FAMILY_CHARACTERS])


def is_session_name(value: object) -> bool:
    """Whether a value can be a session's name: 1 to 256 printable ASCII characters."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_NAME_CHARACTERS
        and value.isascii()
        and value.isprintable()
    )


def read_session_key(headers: Headers, body: Body) -> SessionKey | None:
    """The first name that there is."""
    return next((key for key in _keys(headers, body) if is_session_name(key.value)), None)


def with_openclaw_key(origin: Origin, messages: Sequence[Message]) -> Origin:
    """The session as OpenClaw names it.

    Its text does where nothing else names one; in a request with that text `prompt_cache_key`
    counts compactions behind a colon, and its summariser, without the text, sends the bare name.
    """
    counted = None
    if origin.key is not None:
        counted = _COUNTED.fullmatch(origin.key) if origin.key_source == _CACHE_KEY else None
        if counted is None:
            return origin
    named = _runtime_session(messages)
    if named is None:
        return origin
    if counted is not None:
        return replace(origin, key=counted[1], compactions=int(counted[2]))
    is_name = is_session_name(named)
    return replace(origin, key=named, key_source="runtime line") if is_name else origin


def _runtime_session(messages: Sequence[Message]) -> str | None:
    for message in islice(messages, _READ_FOR_RUNTIME):
        if message.role == "assistant" or "Runtime: agent=" not in message.content:
            continue
        if found := _RUNTIME.search(message.content):
            return found[1]
    return None


def _keys(headers: Headers, body: Body) -> Iterator[SessionKey]:
    yield from _texts(headers, ("x-session-id",), is_explicit=True)
    yield from _texts(headers, _HEADERS)
    yield from _texts(body, ("session_id",), is_explicit=True)
    yield from _texts(body, (_CACHE_KEY,))
    if (key := _metadata_session(body)) is not None:
        yield key


_HEADERS = (
    "x-claude-code-session-id",
    "x-openwebui-chat-id",
    "session-id",
    "session_id",
    "thread-id",
)
"""Claude Code; Open WebUI; codex; pi; codex."""


def _texts(
    where: Mapping[str, object], names: Sequence[str], *, is_explicit: bool = False
) -> Iterator[SessionKey]:
    for name in names:
        if isinstance(value := where.get(name), str):
            yield SessionKey(name, value.strip(), is_explicit)


def _metadata_session(body: Body) -> SessionKey | None:
    """Claude Code: JSON within a string of the metadata."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return None
    user_id = cast("dict[str, object]", metadata).get("user_id")
    if not isinstance(user_id, str) or not user_id.startswith("{"):
        return None
    try:
        decoded: object = json.loads(user_id)
    except (ValueError, RecursionError):
        return None
    session_id = cast("dict[str, object]", decoded).get("session_id")
    return SessionKey("metadata.user_id", session_id) if isinstance(session_id, str) else None
