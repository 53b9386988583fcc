"""The turn log's invariants, on real SQLite files, and on PostgreSQL where there is one."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from log_records import user_said
from turn_records import make_turn

from clawjax.errors import LogError
from clawjax.log.adding import add
from clawjax.log.replay import replay, to_sample
from clawjax.log.store import SqlTurnLog
from clawjax.records import (
    DropReason,
    FinishReason,
    NextState,
    NextStateKind,
    Outcome,
    SamplingParams,
    TurnKind,
    Verdict,
)


def test_what_the_judges_have_not_got_to_is_told_where_anybody_judges(log):
    log.append(make_turn(), user_said("t1"), user_said("t1", 120.0))
    assert log.get("t1").unjudged == ()
    log.move_cursor("judge", 0)
    assert log.get("t1").unjudged == (user_said("t1"), user_said("t1", 120.0))
    log.move_cursor("judge", 1)
    assert log.get("t1").unjudged == (user_said("t1", 120.0),)


def test_choices_of_an_answer_are_undecided_until_they_are_settled_or_claimed(log):
    for choice, name in enumerate(("t1", "t2", "t3", "t4")):
        log.append(make_turn(name, response_id="r", choice=choice))
    log.append(make_turn("t5", response_id="r", kind=TurnKind.SIDE), make_turn("t6"))
    log.append(Outcome("t3", 112.0, drop_reason=DropReason.STALE))
    log.claim(1, ["t4"])
    assert log.undecided_choices(["r"]) == {"t1": "r", "t2": "r"}


def test_judges_read_linked_turns_by_cursor_and_skip_side_turns(log):
    log.append(make_turn("t1"), make_turn("t2", kind=TurnKind.SIDE), make_turn("t3"))
    log.append(user_said("t3"), user_said("t2"), user_said("t1"))
    first = log.linked(after=0, limit=1)
    assert [entry.turn.turn_id for entry in first] == ["t3"]
    rest = log.linked(after=first[-1].seq, limit=10)
    assert [entry.turn.turn_id for entry in rest] == ["t1"]
    log.move_cursor("judges", rest[-1].seq)
    log.move_cursor("judges", 1)
    assert log.cursor("judges") == rest[-1].seq


def test_the_learner_sees_judged_turns_that_are_neither_claimed_nor_settled(log):
    for name in ("t1", "t2", "t3", "t4"):
        log.append(make_turn(name), user_said(name))
    log.append(*(Verdict(name, "next_state", 1.0, 111.0) for name in ("t2", "t3", "t4")))
    log.append(Outcome("t3", 112.0, drop_reason=DropReason.STALE))
    log.claim(1, ["t4"])
    assert [judged.turn.turn_id for judged in log.judged(limit=10)] == ["t2"]


def test_every_turn_is_trained_dropped_or_pending(log):
    log.append(*(make_turn(f"t{n}") for n in range(5)))
    log.claim(1, ["t0", "t1"])
    log.settle(1, version=1)
    log.append(Outcome("t2", 112.0, drop_reason=DropReason.SIDE))
    counts = log.counts()
    assert (counts.trained, counts.dropped, counts.pending) == (2, {"side": 1}, 2)
    assert counts.trained + sum(counts.dropped.values()) + counts.pending == counts.logged


def test_a_turn_is_claimed_once(log):
    log.append(make_turn("t1"), make_turn("t2"))
    log.claim(1, ["t1"])
    with pytest.raises(LogError, match="t1"):
        log.claim(2, ["t2", "t1"])
    log.settle(1, version=1)
    log.settle(1, version=1)
    with pytest.raises(LogError, match="t1"):
        log.claim(2, ["t1"])
    assert log.outcome("t1").trained_version == 1


def test_a_turn_of_which_more_is_known_than_was_seen_is_not_claimed_and_does_not_end(log):
    log.append(make_turn("t1"), user_said("t1"), make_turn("t2"), user_said("t2"))
    log.append(*(Verdict(name, "rules", None, 111.0) for name in ("t1", "t2")))
    label, second_thought = (Verdict("t1", name, -1.0, 112.0) for name in ("human", "rules"))
    for happens in (user_said("t1", at=109.0), label, second_thought):
        seen = log.judged(limit=9)
        log.append(happens)
        assert not log.claim(1, ["t2", "t1"], seen=seen)
        log.write_off([Outcome("t1", 113.0, drop_reason=DropReason.STALE)], seen=seen)
        assert (log.claimed(), log.outcome("t1")) == (0, None)
    seen = log.judged(limit=9)
    log.append(user_said("t2", at=111.0))
    assert log.claim(1, ["t1"], seen=seen), "what others say is another matter"


def test_what_a_step_does_not_take_ends_and_is_claimed_no_longer(log):
    log.append(make_turn("t1"), make_turn("t2"))
    assert log.claim(1, ["t1", "t2"])
    log.write_off([Outcome("t1", 112.0, drop_reason=DropReason.NO_SIGNAL)])
    log.settle(1, version=1)
    assert log.outcome("t1").drop_reason is DropReason.NO_SIGNAL
    assert log.outcome("t2").trained_version == 1
    assert log.claimed() == 0


def test_recovery_settles_what_the_checkpoint_holds_and_frees_the_rest(log):
    log.append(*(make_turn(f"t{n}") for n in range(3)))
    log.append(*(Verdict(f"t{n}", "rules", 1.0, 1.0) for n in range(3)))
    log.claim(1, ["t0"])
    log.claim(2, ["t1"])
    log.claim(3, ["t2"])
    assert log.recover(2) == ["t2"]
    assert log.outcome("t0").trained_version == 1
    assert log.outcome("t1").trained_version == 2
    assert [judged.turn.turn_id for judged in log.judged(limit=9)] == ["t2"]
    assert log.recover(2) == []


def test_counters_and_responses_survive_reopening(log, url):
    log.count("requests")
    log.count("requests", 2)
    log.append(make_turn("t1"))
    again = SqlTurnLog.open(url)
    assert again.counters() == {"requests": 3}
    assert again.find_response("chatcmplt1") == "t1"
    assert again.find_response("chatcmplt1", 1) is None
    assert again.last_arrival() == 100.0
    again.close()


def test_leaves_are_those_that_no_other_goes_on_from(log):
    log.append(*(make_turn(f"t{n}") for n in range(4)), make_turn("side", kind=TurnKind.SIDE))
    log.append(user_said("t1"), NextState("t2", NextStateKind.FEEDBACK, 9.0, score=1.0))
    log.append(user_said("t3"), make_turn("t4", parent_turn_id="t3"))
    log.append(make_turn("t5", parent_turn_id="t2", finish_reason=FinishReason.CANCELLED))
    log.append(make_turn("t6", parent_turn_id="t1", kind=TurnKind.SIDE))
    assert log.leaves(limit=4) == [("t5", 5), ("t4", 5), ("t2", 5), ("t1", 5)]
    assert log.leaves(limit=2) == [("t5", 5), ("t4", 5)]


def test_turns_wait_that_nothing_has_come_after_and_that_have_not_ended(log):
    log.append(*(make_turn(f"t{n}") for n in range(5)), make_turn("side", kind=TurnKind.SIDE))
    log.append(user_said("t1"), NextState("t2", NextStateKind.FEEDBACK, 9.0, score=1.0))
    log.append(NextState("t3", NextStateKind.SESSION_CLOSED, 9.0))
    log.append(Outcome("t4", 9.0, drop_reason=DropReason.CANCELLED))
    assert log.waiting() == ["t0", "t2"]


def test_replay_gives_the_same_turns_whatever_the_size_of_pages(log):
    log.append(*(make_turn(f"t{n}") for n in range(5)), Verdict("t1", "rules", 0.5, 1.0))
    first = list(replay(log, page=2))
    assert first == list(replay(log))
    assert [judged.turn.turn_id for judged in first] == [f"t{n}" for n in range(5)]
    assert [len(judged.verdicts) for judged in first] == [0, 1, 0, 0, 0]


def test_a_greedy_turn_is_scored_at_temperature_one():
    for temperature in (0.0, 1e-6):
        greedy = SamplingParams(max_response_tokens=8, temperature=temperature)
        assert to_sample(make_turn(sampling=greedy), (1.0, 1.0)).temperature == 1.0


def test_threads_write_at_once_without_loss(log):
    def write(worker: int) -> None:
        for n in range(20):
            log.append(make_turn(f"w{worker}-{n}"))
            log.count("requests")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert log.counts().logged == 80
    assert log.counters() == {"requests": 80}


def _append_until_killed(url: str, acknowledged) -> None:
    log = SqlTurnLog.open(url)
    for n in range(100_000):
        log.append(make_turn(f"t{n}"))
        acknowledged.value = n + 1


def test_what_was_acknowledged_survives_kill_9(url):
    context = multiprocessing.get_context("spawn")
    acknowledged = context.Value("i", 0)
    writer = context.Process(target=_append_until_killed, args=(url, acknowledged))
    writer.start()
    deadline = time.monotonic() + 60
    while acknowledged.value < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(timeout=30)
    log = SqlTurnLog.open(url)
    assert acknowledged.value >= 20
    assert log.counts().logged >= acknowledged.value
    log.close()


def test_what_is_linked_is_found_without_looking_at_every_turn(log):
    if log._engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL counts what its tables hold, and plans by that")
    plans = []

    @sa.event.listens_for(log._engine, "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, context, many):
        if "next_seq" in statement and not statement.startswith("EXPLAIN"):
            raw = connection.connection.dbapi_connection
            plans.extend(
                row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )

    assert log.linked(after=0, limit=10) == []
    assert plans
    assert not any("turns_by" in step or "TEMP B-TREE" in step for step in plans), plans


def test_a_reader_never_passes_what_is_still_being_written(log):
    """A cursor that moved past a later number would skip the earlier one for ever."""
    log.append(make_turn("t0"), make_turn("t1"))
    states = [NextState(f"t{n}", NextStateKind.USER, float(n)) for n in range(2)]
    with ThreadPoolExecutor(1) as pool:
        with log.writing() as connection:
            add(connection, states[0])
            other = pool.submit(log.append, states[1])
            time.sleep(0.3)
            assert log.linked(after=0, limit=10) == []
        other.result()
    assert [linked.turn.turn_id for linked in log.linked(after=0, limit=10)] == ["t0", "t1"]
