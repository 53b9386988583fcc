"""The turn log over SQLAlchemy: SQLite in write-ahead mode by default.

Owns the database. Invariants: a record is committed before `append` returns; what a key has said
is left as it is (`clawjax.log.adding`); `trained + dropped + pending == logged`; a turn is consumed
by at most one training step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import SQLAlchemyError

from clawjax.errors import LogError
from clawjax.log import codec, ledger
from clawjax.log.adding import add, add_new
from clawjax.log.balance import balance
from clawjax.log.connection import (
    chunks,
    connect,
    opening,
    overwrite,
    parse_url,
    queued,
    reason_of,
    schema_held,
    shown_url,
    snapshots,
)
from clawjax.log.forgetting import forgotten_among
from clawjax.log.known import judges_place, known_turn
from clawjax.log.leaves import newest_leaves, waiting_turns
from clawjax.log.schema import (
    SCHEMA_VERSION,
    UPGRADED_BY_ADDING,
    claims,
    counters,
    cursors,
    forgotten,
    links,
    next_states,
    outcomes,
    turns,
    verdicts,
)
from clawjax.log.undecided import undecided, undecided_choices
from clawjax.log.upgrade import add_missing
from clawjax.records import (
    Counts,
    JudgedTurn,
    Link,
    LinkedTurn,
    Outcome,
    TurnKind,
)

__all__ = ["SqlTurnLog"]

_MOST_FORGOTTEN = 10_000


class SqlTurnLog:
    """`protocols.TurnLog` and `protocols.Ledger`. Thread-safe; several processes may share it."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        busy_timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Wrap an engine whose schema exists; use `open` to get one."""
        self._engine = engine
        self._readers = snapshots(engine)
        self._clock = clock
        self._busy_timeout_s = busy_timeout_s
        self._one_writer = threading.Lock()
        """Lets this process's writers queue; SQLite would let them poll, for up to 0.1 s a look."""

    @classmethod
    def open(
        cls,
        url: str,
        *,
        busy_timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> SqlTurnLog:
        """Connect, and create tables where they are missing, also in logs of earlier versions.

        Raises:
            LogError: unreachable or unwritable, or written by another schema version.
        """
        parsed = parse_url(url)
        shown = shown_url(parsed)
        with opening(shown, "make sure that it exists and can be written, or set log.url"):
            found = schema_held(parsed, busy_timeout_s)
        if found not in (None, SCHEMA_VERSION, *UPGRADED_BY_ADDING):
            is_other = "is a database of something else" if found == 0 else f"has schema {found}"
            msg = (
                f"the turn log {shown} {is_other}, this version of clawjax writes schema "
                f"{SCHEMA_VERSION}: use a new run.dir or the clawjax that wrote it"
            )
            raise LogError(msg)
        with opening(shown, "make sure that it exists and can be written, or set log.url"):
            engine = connect(parsed, busy_timeout_s)
            log = cls(engine, busy_timeout_s=busy_timeout_s, clock=clock)
            with log.writing() as connection:
                add_missing(connection)
                add_new(connection, cursors, [{"name": "schema", "position": SCHEMA_VERSION}])
        log.move_cursor("schema", SCHEMA_VERSION)
        return log

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # --- writing -----------------------------------------------------------------------------

    def append(self, *records: codec.Record) -> None:
        """Commit records in one transaction; a known key, or a forgotten turn, changes nothing.

        A verdict that says something takes the place of its module's abstention.
        """
        with self.writing() as connection:
            gone = forgotten_among(connection, {record.turn_id for record in records})
            for record in records:
                if record.turn_id not in gone:
                    add(connection, record)

    def count(self, name: str, n: int = 1) -> None:
        """Add to a persistent counter."""
        with self.writing() as connection:
            add_new(connection, counters, [{"name": name, "value": 0}])
            connection.execute(
                sa.update(counters)
                .where(counters.c.name == name)
                .values(value=counters.c.value + n)
            )

    def move_cursor(self, name: str, position: int) -> None:
        """Remember how far a reader has come; a cursor never moves back."""
        with self.writing() as connection:
            add_new(connection, cursors, [{"name": name, "position": position}])
            connection.execute(
                sa.update(cursors)
                .where(cursors.c.name == name, cursors.c.position < position)
                .values(position=position)
            )

    # --- reading -----------------------------------------------------------------------------

    def linked(self, *, after: int, limit: int) -> list[LinkedTurn]:
        """Main turns with something after them, in order of linking, beyond cursor `after`."""
        event_columns = [column.label(f"next_{column.name}") for column in next_states.c]
        kind = turns.c.kind.concat("")  # SQLite would go by its index, through all main turns
        query = (
            sa.select(turns, *event_columns)
            .join(next_states, next_states.c.turn_id == turns.c.turn_id)
            .where(next_states.c.seq > after, kind == TurnKind.MAIN)
            .order_by(next_states.c.seq)
            .limit(limit)
        )
        return [
            LinkedTurn(
                found["next_seq"],
                codec.decode_turn(found),
                codec.decode_next_state({c.name: found[f"next_{c.name}"] for c in next_states.c}),
            )
            for found in self.select(query)
        ]

    def judged(self, *, limit: int) -> list[JudgedTurn]:
        """Turns with a verdict and without outcome or claim, oldest first, of all scopes alike.

        Those that people are to judge are held back for a while (`clawjax.log.holding`).
        """
        return self._with_events(self.select(undecided(limit, now=self._clock())))

    def get(self, turn_id: str) -> JudgedTurn | None:
        """One turn with all that is known about it."""
        return next(iter(self.among([turn_id])), None)

    def among(self, turn_ids: Sequence[str]) -> list[JudgedTurn]:
        """Those of these turns that are there, with all that is known about them."""
        found = self._events(turns, turn_ids, turns.c.seq).values()
        return self._with_events([entry for (entry,) in found])

    def turns(self, *, after: int = 0, limit: int = 1000) -> list[JudgedTurn]:
        """All turns in order of logging, beyond `after`, with all that is known about them."""
        query = sa.select(turns).where(turns.c.seq > after).order_by(turns.c.seq).limit(limit)
        return self._with_events(self.select(query))

    def leaves(self, *, limit: int) -> list[tuple[str, int]]:
        """Ids and tokens of the newest main turns that no other goes on from, newest first."""
        return [(entry["turn_id"], entry["tokens"]) for entry in self.select(newest_leaves(limit))]

    def waiting(self) -> list[str]:
        """Main turns that nothing has come after and that have not ended, oldest first."""
        return [entry["turn_id"] for entry in self.select(waiting_turns())]

    def links(self, turn_ids: Sequence[str]) -> dict[str, Link]:
        """How turns were placed, by turn id; nothing of those logged before there were links."""
        found = self._events(links, turn_ids, links.c.turn_id)
        return {turn_id: codec.decode_link(entries[0]) for turn_id, entries in found.items()}

    def undecided_choices(self, response_ids: Sequence[str]) -> dict[str, str]:
        """Main turns, of these answers, that are neither settled nor claimed: answers by turn."""
        parts = chunks(response_ids)
        found = (entry for part in parts for entry in self.select(undecided_choices(part)))
        return {entry["turn_id"]: entry["response_id"] for entry in found}

    def find_response(self, response_id: str, choice: int = 0) -> str | None:
        """The turn behind a response id that a client was given."""
        is_it = (turns.c.response_id == response_id) & (turns.c.choice == choice)
        found = self.select(sa.select(turns.c.turn_id).where(is_it))
        return cast(str, found[0]["turn_id"]) if found else None

    def outcome(self, turn_id: str) -> Outcome | None:
        """How a turn ended; None while it is pending."""
        found = self.select(sa.select(outcomes).where(outcomes.c.turn_id == turn_id))
        return codec.decode_outcome(found[0]) if found else None

    def outcomes(self) -> dict[str, Outcome]:
        """Every turn that has ended, by turn id."""
        found = self.select(sa.select(outcomes))
        return {entry["turn_id"]: codec.decode_outcome(entry) for entry in found}

    def forgotten(self, *, after: int) -> list[tuple[int, str]]:
        """Turns not here any more, beyond `after`: the next numbers, which grow, and ids."""
        query = sa.select(forgotten).where(forgotten.c.seq > after).order_by(forgotten.c.seq)
        return [(e["seq"], e["turn_id"]) for e in self.select(query.limit(_MOST_FORGOTTEN))]

    def last_arrival(self) -> float | None:
        """Unix seconds at which the newest main request arrived."""
        newest = sa.select(sa.func.max(turns.c.arrived_at).label("newest"))
        return self.select(newest.where(turns.c.kind == TurnKind.MAIN))[0]["newest"]

    def cursor(self, name: str) -> int:
        """Where a reader stands; 0 at first."""
        found = self.select(sa.select(cursors.c.position).where(cursors.c.name == name))
        return found[0]["position"] if found else 0

    def counters(self) -> dict[str, int]:
        """All persistent counters."""
        return {entry["name"]: entry["value"] for entry in self.select(sa.select(counters))}

    def counts(self) -> Counts:
        """The balance, read in one transaction."""
        with self._reading() as connection:
            return balance(connection)

    # --- exactly-once training ---------------------------------------------------------------

    def claim(self, step: int, turn_ids: Sequence[str], *, seen: Sequence[JudgedTurn] = ()) -> bool:
        """Reserve turns for a step; False where more is known of one by now than was `seen`.

        Raises:
            ForgottenError: a turn is not there any more; nothing was claimed.
            LogError: a turn is already claimed or settled.
        """
        with self.writing() as connection:
            return ledger.claim(connection, step, turn_ids, seen)

    def begin(self, step: int, turn_ids: Sequence[str], *, recalls: Sequence[str] = ()) -> None:
        """Note what a step learns from, right before it does; all of it has to be there still.

        Args:
            step: that has claimed its turns.
            turn_ids: those of its turns that it learns from.
            recalls: turns of which it may read what was said, or learn from again.

        Raises:
            ForgottenError: a turn is not there any more; nothing was noted.
        """
        with self.writing() as connection:
            ledger.begin(connection, step, turn_ids, recalls)

    def write_off(self, ends: Sequence[Outcome], *, seen: Sequence[JudgedTurn] = ()) -> None:
        """Write how turns end that no step takes; those claimed are so no longer.

        One of which more is known by now than was `seen` does not end.
        """
        with self.writing() as connection:
            ledger.write_off(connection, ends, seen)

    def settle(self, step: int, version: int) -> None:
        """Write `trained@version` for the step's turns, atomically; a second call does nothing."""
        with self.writing() as connection:
            ledger.settle(connection, step, version, now=self._clock())

    def claimed(self) -> int:
        """Turns that a step under way has reserved."""
        return self.select(sa.select(sa.func.count().label("n")).select_from(claims))[0]["n"]

    def claimed_by(self, turn_id: str) -> int | None:
        """The step under way that has reserved a turn."""
        found = self.select(sa.select(claims.c.step).where(claims.c.turn_id == turn_id))
        return found[0]["step"] if found else None

    def recover(self, step: int) -> list[str]:
        """Settle claims up to `step`, release later ones; returns the released turn ids."""
        with self.writing() as connection:
            return ledger.recover(connection, step, now=self._clock())

    def overwrite(self) -> bool:
        """Leave nothing of deleted rows in the database's files; whether that was possible now."""
        return overwrite(self._engine)

    # --- helpers -----------------------------------------------------------------------------

    def _with_events(self, found: Sequence[RowMapping]) -> list[JudgedTurn]:
        """With the verdicts on all that the judges have got to by then."""
        turn_ids = [entry["turn_id"] for entry in found]
        events = self._events(next_states, turn_ids, next_states.c.seq)
        place = self.select(judges_place())  # before the verdicts up to it, after the events
        judgements = self._events(verdicts, turn_ids, verdicts.c.judged_at)
        return [
            known_turn(
                entry,
                events.get(entry["turn_id"], ()),
                judgements.get(entry["turn_id"], ()),
                place,
            )
            for entry in found
        ]

    def _events(
        self, table: sa.Table, turn_ids: Sequence[str], order: sa.Column[Any]
    ) -> dict[str, list[RowMapping]]:
        by_turn: dict[str, list[RowMapping]] = {}
        for chunk in chunks(turn_ids):
            query = sa.select(table).where(table.c.turn_id.in_(chunk)).order_by(order)
            for entry in self.select(query):
                by_turn.setdefault(entry["turn_id"], []).append(entry)
        return by_turn

    def select(self, query: sa.Select[Any]) -> Sequence[RowMapping]:
        """Rows of a query, for the readers of this package."""
        with self._reading() as connection:
            return connection.execute(query).mappings().all()

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        try:
            with self._readers.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            msg = f"cannot read the turn log: {reason_of(error)}"
            raise LogError(msg) from error

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction, for the writers of this package."""
        try:
            queue = queued(self._one_writer, self._busy_timeout_s)
            with queue, self._engine.connect() as connection:
                connection.info["writes"] = True
                try:
                    with connection.begin():
                        yield connection
                finally:
                    connection.info["writes"] = False
        except SQLAlchemyError as error:
            msg = f"cannot write the turn log: {reason_of(error)}"
            raise LogError(msg) from error
