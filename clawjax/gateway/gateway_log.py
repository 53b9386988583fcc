"""What the gateway asks of the turn log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clawjax.records import JudgedTurn, Link, NextState, Outcome, Turn, Verdict

__all__ = ["GatewayLog"]


class GatewayLog(Protocol):
    """The part of the turn log that the gateway uses. Synchronous and thread-safe."""

    def append(self, *records: Turn | NextState | Verdict | Outcome | Link) -> None:
        """Commit records in one transaction; what a key has said is left as it is."""
        ...

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        ...

    def outcome(self, turn_id: str) -> Outcome | None:
        """How a turn ended."""
        ...

    def claimed_by(self, turn_id: str) -> int | None:
        """The step under way that has reserved a turn."""
        ...

    def find_response(self, response_id: str, choice: int = 0) -> str | None:
        """The turn behind a response id."""
        ...

    def leaves(self, *, limit: int) -> Sequence[tuple[str, int]]:
        """Ids and tokens of the newest main turns that no other goes on from, newest first."""
        ...

    def waiting(self) -> Sequence[str]:
        """Main turns that nothing has come after and that have not ended, oldest first."""
        ...

    def links(self, turn_ids: Sequence[str]) -> Mapping[str, Link]:
        """How turns were placed, by turn id; nothing of those logged before there were links."""
        ...

    def forgotten(self, *, after: int) -> Sequence[tuple[int, str]]:
        """Turns that are not there any more, beyond `after`: the next numbers and ids, in order."""
        ...

    def count(self, name: str, n: int = 1) -> None:
        """Add to a persistent counter."""
        ...
