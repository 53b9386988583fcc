"""The review queue, in the turn log: claim, label, skip, undo.

Owns the tables `review_items`, `review_leases` and `review_labels`, and the verdicts of module
`human`. Invariants: a turn is with no more people than are asked about it, and with each for no
longer than a lease; a person has at most one label of a turn that counts; the verdict of module
`human` is always what `settle` makes of the labels that count, written in the same transaction. No
step is made of a turn by a label that comes after one has taken it; where reactions are recalled,
the label counts for that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from clawjax.config import HUMAN
from clawjax.errors import ReviewError
from clawjax.log import codec
from clawjax.log.holding import ReviewRequest
from clawjax.log.lateness import Late, why_late
from clawjax.log.schema import (
    claims,
    outcomes,
    review_items,
    review_labels,
    review_leases,
    verdicts,
)
from clawjax.log.store import SqlTurnLog
from clawjax.records import JudgedTurn
from clawjax.review.label import Label, settle

__all__ = ["Claimed", "QueueCounts", "ReviewQueue", "Standing"]

_SKIP = {"score": None, "steps": "[]", "hints": "[]", "note": ""}
_COUNTS = (review_labels.c.undone_at.is_(None), review_labels.c.is_skip.is_(False))


class Claimed(NamedTuple):
    """A turn for somebody to label."""

    request: ReviewRequest
    judged: JudgedTurn
    expires_at: float
    """Unix seconds: when somebody else may have it."""


class Standing(NamedTuple):
    """What a label led to."""

    turn_id: str
    is_settled: bool
    """Whether the people's verdict is reached."""
    score: float | None
    """Of that verdict."""
    late: Late | None
    """Why the label makes no step of the turn, where training is past it: it is kept for other
    uses: examples, practice, agreement and calibration."""


class QueueCounts(NamedTuple):
    """The queue's balance."""

    open: int
    held: int
    """Of these, how many training waits for."""
    leased: int
    settled: int
    labels: int


class ReviewQueue:
    """Thread-safe and synchronous, as the log is; several processes may share it."""

    def __init__(
        self, log: SqlTurnLog, *, lease_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Wrap a log; `lease_s` is how long a claim lasts."""
        self._log = log
        self._lease_s = lease_s
        self._clock = clock

    def ask(self, turn_id: str, *, reason: str = "asked for", people: int = 1) -> None:
        """Put a turn into the queue by hand; a turn that is in it stays as it is.

        Raises:
            ReviewError: there is no such turn.
        """
        if self._log.get(turn_id) is None:
            msg = f"there is no turn {turn_id!r} in the log: see `clawjax sessions`"
            raise ReviewError(msg)
        now = self._clock()
        self._log.append(ReviewRequest(turn_id, (reason,), now, now, people))

    def claim(self, reviewer: str) -> Claimed | None:
        """A turn for this person, for the time of a lease; None where there is none.

        What they hold already comes first, then what another has labelled and wants a second
        opinion, then the newest: of those that wait, training waits for the newest longest.
        """
        now = self._clock()
        with self._log.writing() as connection:
            found = connection.execute(_next_item(reviewer, now)).mappings().first()
            if found is None:
                return None
            _lease(connection, found["turn_id"], reviewer, now + self._lease_s)
        judged = self._log.get(found["turn_id"])
        if judged is None:  # forgotten at this moment
            return None
        return Claimed(_request(found), judged, now + self._lease_s)

    def label(self, label: Label) -> Standing:
        """Record what a person said of a turn that they have claimed.

        Raises:
            ReviewError: their claim has ended, or they have labelled it before.
        """
        now = self._clock()
        with self._log.writing() as connection:
            _require_lease(connection, label.turn_id, label.reviewer, now)
            return self._record(connection, label)

    def give(self, label: Label) -> Standing | None:
        """Record a label that was made elsewhere; None where this person has one of that turn.

        The turn is put into the queue if it is not in it.

        Raises:
            ReviewError: there is no such turn.
        """
        self.ask(label.turn_id, reason="imported")
        with self._log.writing() as connection:
            if any(each.reviewer == label.reviewer for each in _labels(connection, label.turn_id)):
                return None
            return self._record(connection, label)

    def skip(self, turn_id: str, reviewer: str) -> None:
        """Give a claimed turn back, not to be shown to this person again; training may go on.

        Raises:
            ReviewError: their claim has ended.
        """
        now = self._clock()
        with self._log.writing() as connection:
            _require_lease(connection, turn_id, reviewer, now)
            connection.execute(
                sa.insert(review_labels),
                [_SKIP | _who(turn_id, reviewer) | {"is_skip": True, "labelled_at": now}],
            )
            _release(connection, turn_id, reviewer)
            connection.execute(_of_item(turn_id).values(held_until=now))

    def undo(self, reviewer: str) -> Standing | None:
        """Take back this person's newest label or skip; None where there is nothing to take back.

        The turn is claimed for them again, unless others have it by now.
        """
        now = self._clock()
        query = (
            sa.select(review_labels.c.seq, review_labels.c.turn_id)
            .where(review_labels.c.reviewer == reviewer, review_labels.c.undone_at.is_(None))
            .order_by(review_labels.c.seq.desc())
        )
        with self._log.writing() as connection:
            newest = connection.execute(query.limit(1)).mappings().first()
            if newest is None:
                return None
            own = sa.update(review_labels).where(review_labels.c.seq == newest["seq"])
            connection.execute(own.values(undone_at=now))
            standing = self._settle(connection, newest["turn_id"])
            if connection.execute(_has_room(newest["turn_id"], reviewer, now)).first() is not None:
                _lease(connection, newest["turn_id"], reviewer, now + self._lease_s)
            return standing

    def labels(self, *, after: int = 0) -> list[Label]:
        """Every label that counts, oldest first, beyond `after` in number."""
        query = sa.select(review_labels).where(*_COUNTS, review_labels.c.seq > after)
        return [_label(row) for row in self._log.select(query.order_by(review_labels.c.seq))]

    def requests(self, *, is_open: bool | None = None) -> list[ReviewRequest]:
        """What people were asked, oldest first: all, or what is open, or what is settled."""
        query = sa.select(review_items).order_by(review_items.c.asked_at, review_items.c.turn_id)
        if is_open is not None:
            closed = review_items.c.closed_at
            query = query.where(closed.is_(None) if is_open else closed.is_not(None))
        return [_request(row) for row in self._log.select(query)]

    def counts(self) -> QueueCounts:
        """The balance."""
        now = self._clock()
        items, is_open = review_items.c, review_items.c.closed_at.is_(None)
        return QueueCounts(
            open=self._count(items.turn_id, is_open),
            held=self._count(items.turn_id, is_open, items.held_until > now),
            leased=self._count(review_leases.c.turn_id, review_leases.c.expires_at > now),
            settled=self._count(items.turn_id, ~is_open),
            labels=self._count(review_labels.c.seq, *_COUNTS),
        )

    def _count(self, column: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> int:
        query = sa.select(sa.func.count(column).label("n")).where(*conditions)
        return self._log.select(query)[0]["n"]

    def _record(self, connection: Connection, label: Label) -> Standing:
        if any(each.reviewer == label.reviewer for each in _labels(connection, label.turn_id)):
            msg = f"{label.reviewer} has labelled turn {label.turn_id} before: undo that first"
            raise ReviewError(msg)
        said = {
            "score": label.score,
            "steps": json.dumps(label.steps),
            "hints": json.dumps(label.hints, ensure_ascii=False),
            "note": label.note,
            "is_skip": False,
            "labelled_at": label.labelled_at,
        }
        connection.execute(sa.insert(review_labels), [_who(label.turn_id, label.reviewer) | said])
        _release(connection, label.turn_id, label.reviewer)
        return self._settle(connection, label.turn_id)

    def _settle(self, connection: Connection, turn_id: str) -> Standing:
        """Let item and verdict follow from the labels that count."""
        labels = _labels(connection, turn_id)
        asked = sa.select(review_items.c.people).where(review_items.c.turn_id == turn_id)
        people = connection.scalar(asked) or 1
        verdict, people = settle(labels, people=people)
        is_people_s = (verdicts.c.turn_id == turn_id) & (verdicts.c.module == HUMAN)
        connection.execute(sa.delete(verdicts).where(is_people_s))
        if verdict is not None:
            connection.execute(sa.insert(verdicts), [codec.row(verdict)[1]])
        closed_at = None if verdict is None else verdict.judged_at
        connection.execute(_of_item(turn_id).values(people=people, closed_at=closed_at))
        return Standing(
            turn_id=turn_id,
            is_settled=verdict is not None,
            score=None if verdict is None else verdict.score,
            late=_late(connection, turn_id),
        )


def _next_item(reviewer: str, now: float) -> sa.Select[Any]:
    """The open turn that this person is to have, as `claim` says."""
    item, lease, label = review_items.c, review_leases.c, review_labels.c
    is_mine = sa.exists().where(_is_live(now), lease.reviewer == reviewer)
    has_answered = sa.exists().where(
        label.turn_id == item.turn_id, label.reviewer == reviewer, label.undone_at.is_(None)
    )
    return (
        sa.select(review_items)
        .where(~has_answered, *_room(reviewer, now))
        .order_by(is_mine.desc(), (_given() > 0).desc(), item.asked_at.desc(), item.turn_id)
        .limit(1)
    )


def _has_room(turn_id: str, reviewer: str, now: float) -> sa.Select[Any]:
    """That turn, if one more person may have it beside those who do."""
    item = review_items.c
    return sa.select(item.turn_id).where(item.turn_id == turn_id, *_room(reviewer, now))


def _room(reviewer: str, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    """Of open turns, those that fewer others have labelled or hold than are asked."""
    held = sa.select(sa.func.count()).where(_is_live(now), review_leases.c.reviewer != reviewer)
    return review_items.c.closed_at.is_(None), _given() + _number(held) < review_items.c.people


def _is_live(now: float) -> sa.ColumnElement[bool]:
    lease = review_leases.c
    return (lease.turn_id == review_items.c.turn_id) & (lease.expires_at > now)


def _given() -> sa.ScalarSelect[Any]:
    is_of_it = review_labels.c.turn_id == review_items.c.turn_id
    return _number(sa.select(sa.func.count()).where(is_of_it, *_COUNTS))


def _number(query: sa.Select[Any]) -> sa.ScalarSelect[Any]:
    return query.correlate(review_items).scalar_subquery()


def _labels(connection: Connection, turn_id: str) -> list[Label]:
    query = sa.select(review_labels).where(review_labels.c.turn_id == turn_id, *_COUNTS)
    found = connection.execute(query.order_by(review_labels.c.seq)).mappings()
    return [_label(row) for row in found]


def _label(row: RowMapping) -> Label:
    return Label(
        turn_id=row["turn_id"],
        reviewer=row["reviewer"],
        score=row["score"],
        labelled_at=row["labelled_at"],
        steps=tuple(json.loads(row["steps"])),
        hints=tuple(json.loads(row["hints"])),
        note=row["note"],
    )


def _request(row: RowMapping) -> ReviewRequest:
    values = {name: row[name] for name in ("turn_id", "asked_at", "held_until", "people")}
    return ReviewRequest(reasons=tuple(json.loads(row["reasons"])), **values)


def _require_lease(connection: Connection, turn_id: str, reviewer: str, now: float) -> None:
    lease = review_leases.c
    query = sa.select(lease.expires_at).where(lease.turn_id == turn_id, lease.reviewer == reviewer)
    expires_at = connection.scalar(query)
    if expires_at is None or expires_at <= now:
        msg = (
            f"turn {turn_id} is not {reviewer}'s to label (its lease has ended or was never "
            "there): claim it again, or raise reward.human.lease_s"
        )
        raise ReviewError(msg)


def _lease(connection: Connection, turn_id: str, reviewer: str, expires_at: float) -> None:
    _release(connection, turn_id, reviewer)
    connection.execute(
        sa.insert(review_leases), [_who(turn_id, reviewer) | {"expires_at": expires_at}]
    )


def _release(connection: Connection, turn_id: str, reviewer: str) -> None:
    lease = review_leases.c
    connection.execute(
        sa.delete(review_leases).where(lease.turn_id == turn_id, lease.reviewer == reviewer)
    )


def _who(turn_id: str, reviewer: str) -> dict[str, Any]:
    return {"turn_id": turn_id, "reviewer": reviewer}


def _of_item(turn_id: str) -> sa.Update:
    return sa.update(review_items).where(review_items.c.turn_id == turn_id)


def _late(connection: Connection, turn_id: str) -> Late | None:
    step = connection.scalar(sa.select(claims.c.step).where(claims.c.turn_id == turn_id))
    query = sa.select(outcomes).where(outcomes.c.turn_id == turn_id)
    found = connection.execute(query).mappings().first()
    return why_late(step, None if found is None else codec.decode_outcome(found))
