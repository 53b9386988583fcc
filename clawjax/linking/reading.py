"""A request in the form in which it is compared with the turns before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from clawjax.linking.canonical import (
    Entry,
    canonical_history,
    hash_chain,
    scope_digest,
    system_digest,
)
from clawjax.linking.decorations import is_summary
from clawjax.linking.hints import with_openclaw_key
from clawjax.linking.profiles import tool_names
from clawjax.linking.sides import Profile
from clawjax.records import Link, Message, Origin, Turn

__all__ = ["Asked", "Reading", "asked_for", "prefill_of", "read"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as it arrived."""

    scope: str
    """Digest of its credential."""
    origin: Origin
    messages: tuple[Message, ...]
    tools_json: str | None
    arrived_at: float


class Reading(NamedTuple):
    """A request in canonical form."""

    origin: Origin
    """With the session's name, where only the messages give it."""
    start: bytes
    """Digest of credential and client family."""
    entries: tuple[Entry, ...]
    chain: tuple[bytes, ...]
    """Keys of the history's beginnings: entry i covers the first i entries."""
    profile: Profile

    @property
    def last(self) -> Entry | None:
        """What the reply has to follow."""
        return self.entries[-1] if self.entries else None

    @property
    def has_summary(self) -> bool:
        """Whether the history was compacted."""
        return bool(self.entries) and is_summary(self.entries[0].text)


def read(asked: Asked) -> Reading:
    """Canonical form and hashes of a request, in one pass over its messages."""
    origin = with_openclaw_key(asked.origin, asked.messages)
    start = scope_digest(asked.scope, origin.client)
    entries = canonical_history(asked.messages)
    return Reading(
        origin=origin,
        start=start,
        entries=entries,
        chain=hash_chain(start, entries),
        profile=profile_of(asked.messages, asked.tools_json, origin),
    )


def profile_of(messages: Sequence[Message], tools_json: str | None, origin: Origin) -> Profile:
    """What a request has in common with others of its conversation."""
    return Profile(system_digest(messages), tool_names(tools_json), origin.is_stream)


def prefill_of(messages: Sequence[Message]) -> str | None:
    """The text that the reply goes on from, where the last message is an unfinished reply."""
    last = messages[-1] if messages else None
    if last is None or last.role != "assistant" or last.tool_calls:
        return None
    return last.content


def asked_for(turn: Turn, link: Link) -> Asked:
    """The request that a logged turn answered."""
    return Asked(turn.scope, link.origin, turn.messages, turn.tools_json, turn.arrived_at)
