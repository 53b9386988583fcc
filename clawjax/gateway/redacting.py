"""The turn log as the gateway writes it: redacted.

Everything that the gateway logs goes through here, whoever writes it. Rules run where the log's
writes do, in worker threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawjax.gateway.collector import GatewayLog
from clawjax.gateway.redaction import Redactor
from clawjax.records import (
    DropReason,
    JudgedTurn,
    Link,
    NextState,
    Outcome,
    Turn,
    Verdict,
)

__all__ = ["RedactingLog"]

Record = Turn | NextState | Verdict | Outcome | Link


class RedactingLog:
    """`GatewayLog` that blanks out before it appends. Reading gives what was logged."""

    def __init__(self, log: GatewayLog, redactor: Redactor) -> None:
        self._log = log
        self._redactor = redactor

    def append(self, *records: Record) -> None:
        """Commit records without what the rules find.

        Raises:
            LogError: a rule failed; nothing was logged.
        """
        self._log.append(*self._clean(records))

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        return self._log.get(turn_id)

    def outcome(self, turn_id: str) -> Outcome | None:
        """How a turn ended."""
        return self._log.outcome(turn_id)

    def find_response(self, response_id: str, choice: int = 0) -> str | None:
        """The turn behind a response id."""
        return self._log.find_response(response_id, choice)

    def open_turns(self, *, limit: int) -> Sequence[JudgedTurn]:
        """The newest main turns that no other goes on from, oldest first."""
        return self._log.open_turns(limit=limit)

    def links(self, turn_ids: Sequence[str]) -> Mapping[str, Link]:
        """How turns were placed, by turn id."""
        return self._log.links(turn_ids)

    def forgotten(self, *, after: int) -> Sequence[tuple[int, str]]:
        """Turns that are not there any more."""
        return self._log.forgotten(after=after)

    def count(self, name: str, n: int = 1) -> None:
        """Add to a persistent counter."""
        self._log.count(name, n)

    def _clean(self, records: Sequence[Record]) -> list[Record]:
        """A redacted turn ends where it is logged, unless it has ended already."""
        cleaned: list[Record] = []
        ended = {record.turn_id for record in records if isinstance(record, Outcome)}
        for record in records:
            match record:
                case Turn():
                    clean = self._redactor.turn(record)
                    cleaned.append(clean)
                    if clean is not record and record.turn_id not in ended:
                        reason = DropReason.REDACTED
                        cleaned.append(
                            Outcome(record.turn_id, record.finished_at, drop_reason=reason)
                        )
                case NextState():
                    cleaned.append(self._redactor.state(record))
                case _:
                    cleaned.append(record)
        return cleaned
