"""The review queue on a real log: leases, labels, second thoughts, and what training sees."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from review_records import label, reaction, reviewed_turn, said

from clawjax.config import HUMAN
from clawjax.errors import LogError, ReviewError
from clawjax.log.forgetting import forget
from clawjax.log.holding import ReviewRequest
from clawjax.log.schema import SCHEMA_VERSION, review_items, review_labels, review_leases
from clawjax.log.store import SqlTurnLog
from clawjax.records import Outcome
from clawjax.review.exchange import lines, read_lines
from clawjax.review.queue import ReviewQueue


@dataclass
class Desk:
    """A log, its queue, and the time."""

    log: SqlTurnLog
    queue: ReviewQueue
    now: float = 1000.0

    def ask(self, *turn_ids: str, people: int = 1, hold_s: float = 60.0) -> None:
        for turn_id in turn_ids:
            self.log.append(
                reviewed_turn(turn_id),
                reaction(turn_id),
                said(1.0, turn_id=turn_id),
                ReviewRequest(turn_id, ("audit",), self.now, self.now + hold_s, people),
            )
            self.now += 1

    def trainable(self) -> list[str]:
        return [judged.turn.turn_id for judged in self.log.judged(limit=10)]

    def human(self, turn_id: str) -> float | None:
        judged = self.log.get(turn_id)
        assert judged is not None
        return next((v.score for v in judged.verdicts if v.module == HUMAN), None)

    def next(self, reviewer: str) -> str | None:
        claimed = self.queue.claim(reviewer)
        return None if claimed is None else claimed.request.turn_id


@pytest.fixture
def desk(tmp_path) -> Desk:
    clock = [lambda: 0.0]
    log = SqlTurnLog.open(f"sqlite:///{tmp_path}/turns.db", clock=lambda: clock[0]())
    desk = Desk(log, ReviewQueue(log, lease_s=100.0, clock=lambda: clock[0]()))
    clock[0] = lambda: desk.now
    yield desk
    log.close()


def test_training_waits_for_people_but_not_for_ever(desk):
    desk.ask("t1", "t2", hold_s=60.0)
    assert desk.trainable() == []
    assert desk.next("anna") == "t2"  # the newest: it is held longest
    standing = desk.queue.label(label("t2", "anna", -1.0))
    assert (standing.is_settled, standing.score, standing.late) == (True, -1.0, None)
    assert desk.trainable() == ["t2"]
    assert desk.human("t2") == -1.0
    desk.now += 60.0
    assert desk.trainable() == ["t1", "t2"]


def test_a_lease_keeps_a_turn_for_its_time(desk):
    desk.ask("t1")
    assert desk.next("anna") == desk.next("anna") == "t1"
    assert desk.next("ben") is None
    desk.now += 101.0
    assert desk.next("ben") == "t1"
    with pytest.raises(ReviewError, match="not anna's to label"):
        desk.queue.label(label("t1", "anna", 1.0))
    assert desk.queue.label(label("t1", "ben", 1.0)).is_settled
    assert desk.queue.counts() == (0, 0, 0, 1, 1)


def test_two_people_are_two_and_a_third_decides(desk):
    desk.ask("t1", people=2)
    desk.ask("t0")
    assert (desk.next("anna"), desk.next("ben")) == ("t0", "t1")
    assert not desk.queue.label(label("t1", "ben", 1.0)).is_settled
    assert desk.queue.label(label("t0", "anna", 1.0)).is_settled
    assert desk.next("ben") is None
    assert desk.next("anna") == "t1"
    assert not desk.queue.label(label("t1", "anna", -1.0)).is_settled
    assert desk.human("t1") is None
    assert desk.next("anna") is None
    assert desk.next("carl") == "t1"
    assert desk.queue.label(label("t1", "carl", -1.0)).score == -1.0
    assert len(desk.queue.labels()) == 4


def test_a_skip_lets_training_go_on_and_shows_the_turn_to_others(desk):
    desk.ask("t1")
    desk.next("anna")
    desk.queue.skip("t1", "anna")
    assert desk.trainable() == ["t1"]
    assert desk.next("anna") is None
    assert desk.next("ben") == "t1"


def test_undoing_takes_the_verdict_back_and_gives_the_turn_back(desk):
    desk.ask("t1")
    desk.next("anna")
    desk.queue.label(label("t1", "anna", 1.0))
    standing = desk.queue.undo("anna")
    assert standing is not None
    assert (standing.turn_id, standing.is_settled) == ("t1", False)
    assert desk.human("t1") is None
    assert desk.trainable() == []
    assert desk.queue.label(label("t1", "anna", -1.0)).score == -1.0
    assert desk.human("t1") == -1.0
    assert desk.queue.undo("ben") is None
    kept = desk.log.select(sa.select(review_labels.c.score, review_labels.c.undone_at))
    assert [(row["score"], row["undone_at"] is None) for row in kept] == [
        (1.0, False),
        (-1.0, True),
    ]


def test_more_labels_than_were_asked_leave_no_turn_undecided(desk):
    desk.ask("t", people=1)
    assert desk.queue.give(label("t", "anna", 1.0)).is_settled
    assert not desk.queue.give(label("t", "ben", -1.0)).is_settled
    assert desk.next("carla") == "t"
    assert desk.queue.label(label("t", "carla", -1.0)).score == -1.0


def test_an_undone_skip_takes_no_turn_from_somebody_else(desk):
    desk.ask("t")
    assert desk.next("anna") == "t"
    desk.queue.skip("t", "anna")
    assert desk.next("ben") == "t"
    desk.queue.undo("anna")
    assert desk.queue.counts().leased == 1
    assert desk.next("anna") is None
    with pytest.raises(ReviewError, match="not anna's to label"):
        desk.queue.label(label("t", "anna", -1.0))
    assert desk.queue.label(label("t", "ben", 1.0)).is_settled


def test_two_who_agree_after_all_need_no_third(desk):
    desk.ask("t", people=2)
    for reviewer, score in (("anna", 1.0), ("ben", -1.0)):
        assert desk.next(reviewer) == "t"
        assert not desk.queue.label(label("t", reviewer, score)).is_settled
    desk.queue.undo("anna")
    assert desk.queue.label(label("t", "anna", -0.5)).score == -0.75
    assert desk.next("carla") is None


def test_a_label_of_a_trained_turn_is_kept_and_trains_nothing(desk):
    desk.ask("t1", hold_s=0.0)
    assert desk.trainable() == ["t1"]
    desk.log.append(Outcome("t1", 1001.0, trained_version=3))
    assert desk.next("anna") == "t1"
    late = desk.queue.label(label("t1", "anna", -1.0)).late
    assert late == ("the turn was trained on already, in version 3", True)
    assert desk.human("t1") == -1.0
    assert desk.trainable() == []
    outcome = desk.log.outcome("t1")
    assert outcome is not None
    assert outcome.trained_version == 3


def test_a_clock_that_goes_back_holds_nothing_for_longer(desk):
    desk.ask("t1", hold_s=60.0)
    assert desk.trainable() == []
    desk.now -= 86_400.0
    assert desk.trainable() == ["t1"]


def test_what_is_forgotten_leaves_the_queue(desk):
    desk.ask("t1")
    desk.next("anna")
    desk.queue.label(label("t1", "anna", 1.0, note="a secret"))
    forget(desk.log, now=desk.now, session_id="s1")
    for table in (review_items, review_leases, review_labels):
        assert not desk.log.select(sa.select(table))
    assert desk.next("ben") is None
    with pytest.raises(LogError, match="no turn 't1'"):
        desk.queue.ask("t1")


def test_labels_go_to_a_file_and_come_back(desk, tmp_path):
    desk.ask("t1", "t2")
    desk.next("anna")
    hints = ("Say it in one line.",)
    given = label("t2", "anna", -0.5, hints=hints, note="so", steps=(None,) * 5 + (1.0, -1.0))
    desk.queue.label(given)
    told = [json.dumps(line) for line in lines(desk.log, desk.queue, is_open_included=True)]
    first, second = map(json.loads, told)
    assert (first["turn_id"], second["turn_id"], second["label"]) == ("t2", "t1", None)
    assert first["label"]["steps"] == {"progress": 1.0, "safety": -1.0}
    assert first["messages"][-1] == {"role": "user", "content": "ask t2"}
    assert first["judges"] == {"next_state": 1.0, HUMAN: -0.5}
    assert list(read_lines(told, now=1.0)) == [given]

    second["label"] = {"reviewer": "ben", "score": 1}
    labels = list(read_lines([told[0], json.dumps(second)], now=5.0))
    given_before = [desk.queue.give(each) for each in labels]
    assert given_before[0] is None  # anna has labelled it already
    assert given_before[1] is not None
    assert desk.human("t1") == 1.0
    for wrong in ('"hints": "Ask first"', '"hints": ["\\ud83d"]', '"note": "\\ud83d"'):
        line = '{"turn_id": "t1", "label": {"reviewer": "ben", "score": 1, ' + wrong + "}}"
        with pytest.raises(LogError, match="line 1 is no review"):
            list(read_lines([line], now=0.0))
    for score in ("1" + "0" * 400, "[" * 100_000):
        line = f'{{"turn_id": "t1", "label": {{"reviewer": "ben", "score": {score}}}}}'
        with pytest.raises(LogError, match="line 1 is no review"):
            list(read_lines([line], now=0.0))
    with pytest.raises(LogError, match="line 2 is no review"):
        list(read_lines([told[0], '{"turn_id": "x"}'], now=0.0))


def test_a_log_without_a_queue_gets_one(tmp_path):
    url = f"sqlite:///{tmp_path}/turns.db"
    log = SqlTurnLog.open(url)
    with log.writing() as connection:
        for table in (review_items, review_leases, review_labels):
            table.drop(connection)
        connection.exec_driver_sql("UPDATE cursors SET position = 4 WHERE name = 'schema'")
    log.close()
    log = SqlTurnLog.open(url)
    assert log.cursor("schema") == SCHEMA_VERSION
    assert ReviewQueue(log, lease_s=1.0).claim("anna") is None
    log.close()
