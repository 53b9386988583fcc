"""What is forgotten is gone: from tables, files, queues and memories."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import event, update
from turn_records import make_turn

from clawjax.errors import ForgottenError, LogError
from clawjax.learner.replay_buffer import ReplayBuffer, ScoredTurn
from clawjax.log.forgetting import forget, lose_ids
from clawjax.log.schema import cursors
from clawjax.log.store import SqlTurnLog
from clawjax.records import (
    Component,
    DropReason,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    Turn,
    Verdict,
)
from clawjax.review.label import Label
from clawjax.review.queue import ReviewQueue
from clawjax.testing import temporary_log

LISTENED = DropReason.LISTENED
SECRET = "my mother's maiden name is Quetzalcoatl"


def turn(turn_id: str, *, scope="key", session="s1", at=100.0) -> Turn:
    return make_turn(
        turn_id,
        request=f"{SECRET} {turn_id}",
        reply=SECRET,
        scope=scope,
        session_id=session,
        arrived_at=at,
    )


def everything(turn_id: str, **options):
    return (
        turn(turn_id, **options),
        Link(turn_id, LinkKind.NEW, "new", "main", Origin()),
        NextState(turn_id, NextStateKind.USER, 110.0, (Message("user", SECRET),)),
        Verdict(turn_id, "module", 1.0, 111.0, hints=(SECRET,), explanation=SECRET),
    )


@pytest.fixture
def log(tmp_path) -> SqlTurnLog:
    log = temporary_log(tmp_path)
    yield log
    log.close()


def test_a_session_goes_and_its_neighbours_stay(log):
    log.append(*everything("t1"), *everything("t2", session="s2"), *everything("t3", scope="other"))
    gone = forget(log, now=1.0, scope="key", session_id="s1")
    assert gone.turn_ids == ("t1",)
    assert log.get("t1") is None
    assert log.links(["t1"]) == {}
    assert [judged.turn.turn_id for judged in log.turns()] == ["t2", "t3"]
    assert forget(log, now=1.0, scope="key").turn_ids == ("t2",)
    assert forget(log, now=1.0, scope="key").turn_ids == ()
    assert log.counts().logged == 1


def test_the_versions_that_had_trained_on_it_are_named_and_the_balance_holds(log):
    log.append(*everything("t1"), *everything("t2"), *everything("t3"), *everything("t4"))
    log.append(*everything("t5", session="s2"))
    log.append(
        Outcome("t1", 1.0, trained_version=3),
        Outcome("t2", 1.0, drop_reason=DropReason.STALE),
        Outcome("t5", 1.0, trained_version=3),
    )
    log.claim(7, ["t3"])
    gone = forget(log, now=1.0, session_id="s1")
    assert gone.trained == {3: 1, 7: 1}
    log.settle(7, 7)
    counts = log.counts()
    assert (counts.logged, counts.trained, counts.pending, counts.dropped) == (1, 1, 0, {})
    assert (counts.linked, counts.scored) == (1, 1)


def test_the_versions_that_recalled_it_are_named_too(log):
    log.append(*everything("t1"), *everything("t2"), *everything("t3", session="s2"))
    log.append(Outcome("t1", 1.0, trained_version=6), Outcome("t2", 1.0, drop_reason=LISTENED))
    for step in (7, 8, 9):
        log.begin(step, ["t3"], recalls=["t1", "t2"] if step == 7 else ["t1"])
    log.begin(7, ["t3"], recalls=["t1"])
    log.recover(8)
    assert forget(log, now=1.0, session_id="s1", is_dry=True).trained == {6: 1, 7: 2, 8: 1}
    assert forget(log, now=1.0, session_id="s1").trained == {6: 1, 7: 2, 8: 1}
    with pytest.raises(ForgottenError, match="1 turns of step 9"):
        log.begin(9, ["t3"], recalls=["t1"])
    with pytest.raises(ForgottenError, match="1 turns of step 9"):
        log.begin(9, ["t1"])
    assert forget(log, now=1.0, session_id="s2").trained == {}


def test_nothing_is_added_to_a_forgotten_turn_and_it_is_not_trained_on(log):
    log.append(*everything("t1"), *everything("t2", session="s2"))
    waiting = log.judged(limit=9)
    forget(log, now=1.0, session_id="s1")
    log.append(*everything("t1"), Outcome("t1", 1.0, trained_version=1))
    assert log.get("t1") is None
    assert log.outcome("t1") is None
    assert [judged.turn.turn_id for judged in log.judged(limit=9)] == ["t2"]
    with pytest.raises(ForgottenError, match="1 turns of step 1"):
        log.claim(1, [judged.turn.turn_id for judged in waiting])
    assert log.claimed() == 0
    log.claim(1, ["t2"])
    assert [turn_id for _, turn_id in log.forgotten(after=0)] == ["t1"]
    assert log.forgotten(after=log.forgotten(after=0)[0][0]) == []


def test_no_byte_of_it_is_left_in_the_files(log, tmp_path):
    long = everything("t1")
    long = (replace(long[0], messages=(Message("user", SECRET * 500),)), *long[1:])
    log.append(*long)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Quetzalcoatl" in stored
    assert forget(log, now=1.0, session_id="s1").is_overwritten
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Quetzalcoatl" not in stored


def answered(*, session: str = "s1") -> list:
    """A turn, and one whose request says something secret of it, with all that quotes that."""
    later = replace(turn("t2", session=session, at=110.0), response_id="r2", parent_turn_id="t1")
    return [
        make_turn("t1", scope="key", session_id="s1"),
        NextState("t1", NextStateKind.USER, 110.0, (Message("user", SECRET),)),
        Verdict(
            "t1",
            "module",
            -1.0,
            111.0,
            hints=(SECRET,),
            explanation=SECRET,
            components=(Component("part", -1.0, SECRET),),
            revision=SECRET,
        ),
        later,
    ]


@pytest.mark.parametrize("which", [{"response_id": "r2"}, {"session_id": "s2"}])
def test_what_it_said_of_the_turn_before_goes_with_it(log, tmp_path, which):
    log.append(*answered(session="s2"), NextState("t1", NextStateKind.USER, 105.0))
    queue = ReviewQueue(log, lease_s=60.0)
    queue.ask("t1")
    queue.give(Label("t1", "ann", 1.0, 120.0, hints=(SECRET,), note=SECRET))
    assert forget(log, now=1.0, scope="key", **which).turn_ids == ("t2",)
    known = log.get("t1")
    assert [state.kind for state in known.next_states] == ["session_closed", "user"]
    assert known.next_states[0].messages == ()
    assert {verdict.module: verdict.score for verdict in known.verdicts} == {
        "module": -1.0,
        "human": 1.0,
    }
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Quetzalcoatl" not in stored


def test_what_others_said_of_the_turn_before_stays(log):
    state = NextState("t1", NextStateKind.FEEDBACK, 110.0, (Message("user", "words"),))
    resampled = replace(turn("t3", at=120.0), response_id="r3", parent_turn_id="t1")
    log.append(*answered(), state, resampled)
    before = log.get("t1")
    assert forget(log, now=1.0, response_id="r3").turn_ids == ("t3",)
    assert log.get("t1") == before
    forget(log, now=1.0, response_id="r2")
    assert state in log.get("t1").next_states


def test_other_writers_come_in_while_many_turns_are_removed(log):
    log.append(*(record for n in range(250) for record in everything(f"t{n}")))
    gone: list[int] = []
    event.listen(log._engine, "commit", lambda _: gone.append(250 - log.counts().logged))
    forgotten = forget(log, now=1.0, session_id="s1")
    assert [n for n in gone if n < 250] == [0, 100, 200], "each is seen by who comes after it"
    assert len(set(forgotten.turn_ids)) == 250
    assert (log.counts().logged, forgotten.is_overwritten) == (0, True)


def test_nobody_waits_while_a_reader_keeps_bytes_from_being_overwritten(log, tmp_path):
    log.append(*everything("t1"), *everything("t2"))
    reader = sqlite3.connect(tmp_path / "turns.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM turns").fetchall()
    with ThreadPoolExecutor() as pool:
        forgetting = pool.submit(forget, log, now=1.0, session_id="s1")
        while log.get("t2") is not None:
            time.sleep(0.01)
        time.sleep(0.1)
        began = time.monotonic()
        log.count("seen")
        assert time.monotonic() - began < 5, "less than log.busy_timeout_s"
        assert not forgetting.result(timeout=20).is_overwritten
    reader.close()
    assert log.overwrite()


def test_what_is_old_goes_unless_it_is_in_training(log):
    log.append(*everything("old"), *everything("new", at=500.0), *everything("busy"))
    log.claim(1, ["busy"])
    assert forget(log, now=600.0, before=200.0, is_dry=True).left == 1
    gone = forget(log, now=600.0, before=200.0)
    assert (gone.turn_ids, gone.left) == (("old",), 1)
    log.recover(0)
    gone = forget(log, now=600.0, before=200.0)
    assert (gone.turn_ids, gone.left) == (("busy",), 0)


def test_ids_of_forgotten_turns_go_once_nobody_can_hold_them(log):
    log.append(*everything("t1"), *everything("t2", session="s2"))
    forget(log, now=100.0, session_id="s1")
    ((first, _),) = log.forgotten(after=0)
    assert lose_ids(log, before=100.0) == 0
    assert lose_ids(log, before=101.0) == 1
    assert log.forgotten(after=0) == []
    forget(log, now=200.0, session_id="s2")
    assert [turn_id for _, turn_id in log.forgotten(after=first)] == ["t2"], "numbers grow"


def test_a_dry_run_says_it_and_does_nothing(log):
    log.append(*everything("t1"), Outcome("t1", 1.0, trained_version=3))
    gone = forget(log, now=1.0, session_id="s1", is_dry=True)
    assert (gone.turn_ids, gone.trained) == (("t1",), {3: 1})
    assert log.get("t1") is not None


def test_everything_is_not_forgotten_by_accident(log):
    with pytest.raises(ValueError, match="needs a scope"):
        forget(log, now=1.0)


@pytest.mark.parametrize(
    ("version", "lacks"), [(3, ["forgotten", "recalled"]), (6, ["recalled"])], ids=["3", "6"]
)
def test_a_log_of_an_earlier_version_can_forget(tmp_path, version, lacks):
    log = temporary_log(tmp_path)
    with log.writing() as connection:
        for table in lacks:
            connection.exec_driver_sql(f"DROP TABLE {table}")
        is_schema = cursors.c.name == "schema"
        connection.execute(update(cursors).where(is_schema).values(position=version))
    log.close()
    log = temporary_log(tmp_path)
    log.append(*everything("t1"))
    assert forget(log, now=1.0, session_id="s1").turn_ids == ("t1",)
    log.close()


def test_memories_of_it_are_taken_back():
    replay_buffer = ReplayBuffer()
    replay_buffer.add([ScoredTurn(turn("t1"), 1.0), ScoredTurn(turn("t2"), 1.0)])
    replay_buffer.remove({"t1"})
    assert [one.turn.turn_id for one in replay_buffer.praised("key")] == ["t2"]


def test_a_forgotten_turn_is_a_failure_of_the_log():
    assert issubclass(ForgottenError, LogError)
