"""The turn log as the gateway writes it: redacted.

Everything that the gateway logs goes through here, whoever writes it. Rules run where the log's
writes do, in worker threads. Invariant: what was blanked out is in memory only, for conversations
to go on from, in a bounded amount, and until its turn is forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.redaction import Redactor
from clawjax.records import (
    DropReason,
    JudgedTurn,
    Link,
    Message,
    NextState,
    Outcome,
    Turn,
    Verdict,
)

__all__ = ["RedactingLog"]

Record = Turn | NextState | Verdict | Outcome | Link

MAX_CHARACTERS = 16_000_000
"""Of conversations that are remembered as they were said."""


class RedactingLog:
    """`GatewayLog` that blanks out before it appends. Reading gives what was logged."""

    def __init__(
        self, log: GatewayLog, redactor: Redactor, *, max_characters: int = MAX_CHARACTERS
    ) -> None:
        self._log = log
        self._redactor = redactor
        self._said = _Said(max_characters)

    def append(self, *records: Record) -> None:
        """Commit records without what the rules find.

        Raises:
            LogError: a rule failed; nothing was logged.
        """
        cleaned = self._clean(records)
        self._log.append(*cleaned)
        as_they_were = {id(record) for record in cleaned}
        for record in records:
            if isinstance(record, Turn) and id(record) not in as_they_were:
                self._said.keep(record)

    def as_said(self, turn: Turn) -> Turn:
        """A logged turn with its messages and reply as they were, where that is remembered."""
        return self._said.restored(turn)

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        return self._log.get(turn_id)

    def outcome(self, turn_id: str) -> Outcome | None:
        """How a turn ended."""
        return self._log.outcome(turn_id)

    def claimed_by(self, turn_id: str) -> int | None:
        """The step under way that has reserved a turn."""
        return self._log.claimed_by(turn_id)

    def find_response(self, response_id: str, choice: int = 0) -> str | None:
        """The turn behind a response id."""
        return self._log.find_response(response_id, choice)

    def leaves(self, *, limit: int) -> Sequence[tuple[str, int]]:
        """Ids and tokens of the newest main turns that no other goes on from, newest first."""
        return self._log.leaves(limit=limit)

    def waiting(self) -> Sequence[str]:
        """Main turns that nothing has come after and that have not ended, oldest first."""
        return self._log.waiting()

    def links(self, turn_ids: Sequence[str]) -> Mapping[str, Link]:
        """How turns were placed, by turn id."""
        return self._log.links(turn_ids)

    def forgotten(self, *, after: int) -> Sequence[tuple[int, str]]:
        """Turns that are not there any more, and that nothing is remembered of from now on."""
        found = self._log.forgotten(after=after)
        for _, turn_id in found:
            self._said.let_go(turn_id)
        return found

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


class _Said:
    """Messages and replies of the newest redacted turns. Thread-safe."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._turns: OrderedDict[str, tuple[tuple[Message, ...], Message]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def keep(self, turn: Turn) -> None:
        """Remember a turn, and let the oldest go where that is too much."""
        with self._lock:
            self._let_go(turn.turn_id)
            self._turns[turn.turn_id] = turn.messages, turn.reply
            self._characters += _characters(turn.messages, turn.reply)
            while self._characters > self._max_characters:
                self._let_go(next(iter(self._turns)))

    def restored(self, turn: Turn) -> Turn:
        """The turn as it was said; as it is given where that is not known."""
        with self._lock:
            said = self._turns.get(turn.turn_id)
        return turn if said is None else replace(turn, messages=said[0], reply=said[1])

    def let_go(self, turn_id: str) -> None:
        """Remember a turn no more."""
        with self._lock:
            self._let_go(turn_id)

    def _let_go(self, turn_id: str) -> None:
        if (said := self._turns.pop(turn_id, None)) is not None:
            self._characters -= _characters(*said)


def _characters(messages: Sequence[Message], reply: Message) -> int:
    return sum(
        len(message.content)
        + len(message.reasoning or "")
        + sum(len(call.arguments) for call in message.tool_calls)
        for message in (*messages, reply)
    )
