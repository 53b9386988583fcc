"""The turn log's invariants, on real SQLite files, and on PostgreSQL where there is one."""

import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.errors import LogError
from clawjax.log import codec
from clawjax.log.adding import add
from clawjax.log.owner import Owner, own, owner_of
from clawjax.log.reading import open_to_read
from clawjax.log.replay import replay, to_sample
from clawjax.log.schema import SCHEMA_VERSION
from clawjax.log.store import SqlTurnLog
from clawjax.records import (
    Component,
    DropReason,
    FinishReason,
    Grammar,
    GrammarKind,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    SamplingParams,
    ToolCall,
    TurnKind,
    Verdict,
    expand_versions,
    run_lengths,
)
from clawjax.verdicts import first_said


def user_said(turn_id: str, at: float = 110.0) -> NextState:
    return NextState(turn_id, NextStateKind.USER, at, (Message("user", "thanks"),))


POSTGRES = os.environ.get("CLAWJAX_TEST_POSTGRES")
"""An empty database to test on as well, e.g. postgresql://postgres@127.0.0.1/test."""


@pytest.fixture(params=["sqlite", *(["postgres"] if POSTGRES else [])])
def url(request, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/turns.db"
        return
    engine = sa.create_engine(POSTGRES)
    schema = f"test_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield str(sa.make_url(POSTGRES).set(query={"options": f"-csearch_path={schema}"}))
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def log(url: str):
    log = SqlTurnLog.open(url)
    yield log
    log.close()


texts = st.text(max_size=20)
calls = st.builds(ToolCall, call_id=texts, name=texts, arguments=texts)
messages = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    content=texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.none() | texts,
    name=st.none() | texts,
    reasoning=st.none() | texts,
)
logprobs = st.floats(max_value=0.0, allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    history=st.lists(messages, max_size=3).map(tuple),
    reply=messages,
    tokens=st.lists(st.tuples(st.integers(0, 2**31 - 1), logprobs, st.integers(0, 3)), max_size=8),
    number=st.integers(0),
)
def test_a_turn_comes_back_as_it_was_written(log, history, reply, tokens, number):
    turn_id = f"turn{number}-{hash((history, reply, tuple(tokens)))}"
    turn = make_turn(
        turn_id,
        messages=history,
        reply=reply,
        response_ids=tuple(token for token, _, _ in tokens),
        sampler_logprobs=tuple(logprob for _, logprob, _ in tokens),
        sampler_logprobs_t1=tuple(logprob for _, logprob, _ in tokens),
        token_versions=run_lengths([version for _, _, version in tokens]),
    )
    log.append(turn)
    found = log.get(turn_id)
    assert found is not None
    assert found.turn == turn
    assert expand_versions(found.turn.token_versions) == tuple(v for _, _, v in tokens)


def test_a_turn_with_a_grammar_comes_back_and_so_does_an_older_one(log):
    grammar = Grammar(GrammarKind.JSON_SCHEMA, '{"type": "object"}')
    held = make_turn(
        sampling=SamplingParams(max_response_tokens=8, grammar=grammar),
        reply=Message("assistant", "<tool_call>", malformed="a call without a name"),
    )
    log.append(held)
    assert log.get("t1").turn == held
    table, columns = codec.row(make_turn())
    assert table.name == "turns"
    for name, added in (("sampling", "grammar"), ("reply", "malformed")):
        written = json.loads(columns[name])
        del written[added]
        columns[name] = json.dumps(written)
    assert codec.decode_turn(columns) == make_turn()


def test_all_events_of_a_turn_come_back_in_order(log):
    feedback = NextState("t1", NextStateKind.FEEDBACK, 120.0, score=-1.0)
    verdict = Verdict(
        "t1",
        "composite",
        1.0,
        111.0,
        hints=("be brief", "no lists"),
        votes=(1.0, None),
        components=(Component("rules", 1.0, "all passed"), Component("llm_judge", None)),
        revision="A better reply.",
    )
    log.append(make_turn(), user_said("t1"), feedback, verdict)
    found = log.get("t1")
    assert found is not None
    assert found.next_states == (user_said("t1"), feedback)
    assert found.verdicts == (verdict,)


def test_appending_again_changes_nothing(log):
    verdict = Verdict("t1", "rules", 1.0, 111.0)
    outcome = Outcome("t1", 112.0, trained_version=1)
    for _ in range(2):
        log.append(make_turn(), user_said("t1"), verdict, outcome)
    log.append(dataclasses.replace(verdict, score=-1.0))
    log.append(Outcome("t1", 113.0, drop_reason=DropReason.STALE))
    found = log.get("t1")
    assert found is not None
    assert found.next_states == (user_said("t1"),)
    assert found.verdicts == (verdict,)
    assert log.outcome("t1") == outcome
    assert log.counts().logged == 1


@pytest.mark.parametrize(
    "said",
    [
        Verdict("t1", "rules", -1.0, 112.0),
        Verdict("t1", "rules", None, 112.0, hints=("too long",)),
        Verdict("t1", "rules", None, 112.0, step_labels=(None, 0.5)),
        Verdict("t1", "rules", None, 112.0, revision="A better reply."),
    ],
)
def test_the_first_verdict_that_says_something_takes_an_abstentions_place_and_stays(log, said):
    nothing = Verdict("t1", "rules", None, 111.0, step_labels=(None, None), explanation="unsure")
    log.append(make_turn(), nothing, Verdict("t1", "own", 0.0, 111.0))
    log.append(Verdict("t1", "rules", None, 111.5))
    assert nothing in log.get("t1").verdicts
    for later in (said, Verdict("t1", "rules", 1.0, 113.0), nothing):
        log.append(later)
        assert set(log.get("t1").verdicts) == {Verdict("t1", "own", 0.0, 111.0), said}


said_or_not = st.builds(
    Verdict,
    st.just("t1"),
    st.sampled_from(["rules", "own"]),
    score=st.none() | st.floats(-1, 1),
    judged_at=st.floats(0, 1e9),
    hints=st.just(()) | st.just(("too long", "a, [null]")),
    step_labels=st.lists(st.none() | st.just(0.5), max_size=3).map(tuple),
    explanation=texts,
    revision=st.none() | st.just("") | st.just("A better reply."),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(verdicts=st.lists(said_or_not, max_size=6), at_once=st.booleans())
def test_the_log_keeps_the_verdicts_that_the_judges_say_it_keeps(log, verdicts, at_once):
    turn_id = f"turn-{uuid.uuid4()}"
    said = [dataclasses.replace(verdict, turn_id=turn_id) for verdict in verdicts]
    log.append(make_turn(turn_id))
    for some in [said] if at_once else ([each] for each in said):
        log.append(*some)
    assert set(log.get(turn_id).verdicts) == set(first_said(said))


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


def test_one_bad_record_commits_none_of_them(log):
    broken = dataclasses.replace(make_turn("t2"), session_id=None)
    with pytest.raises(LogError, match="session_id"):
        log.append(make_turn("t1"), broken)
    assert log.counts().logged == 0


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


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match=r"cannot open the turn log .*file/turns\.db"):
        SqlTurnLog.open(f"sqlite:///{tmp_path}/file/turns.db")


def test_how_turns_were_placed_comes_back(log):
    origin = Origin("x", key="k", key_source="session-id", said_kind=TurnKind.SIDE, retries=2)
    link = Link("t1", LinkKind.RETRY, "why", "why side", origin, of_turn_id="t0", at=3)
    log.append(make_turn("t0"), make_turn("t1"), link)
    assert log.links(["t0", "t1", "t2"]) == {"t1": link}


def test_a_log_from_before_there_were_links_is_opened_and_goes_on(log, url):
    log.append(make_turn("t1"), user_said("t1"))
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE links"))
        connection.execute(sa.text("UPDATE cursors SET position = 2 WHERE name = 'schema'"))
    again = SqlTurnLog.open(url)
    assert again.cursor("schema") == SCHEMA_VERSION
    assert again.get("t1").turn == make_turn("t1")
    assert again.links(["t1"]) == {}
    again.append(make_turn("t2"), Link("t2", LinkKind.NEW, "why", "why main", Origin()))
    assert again.links(["t1", "t2"]).keys() == {"t2"}
    again.close()
    SqlTurnLog.open(url).close()


def test_a_log_from_before_verdicts_had_parts_is_opened_and_goes_on(log, url):
    log.append(make_turn("t1"), Verdict("t1", "rules", 1.0, 111.0))
    with log.writing() as connection:
        for column in ("components", "revision"):
            connection.execute(sa.text(f"ALTER TABLE verdicts DROP COLUMN {column}"))
        connection.execute(sa.text("UPDATE cursors SET position = 4 WHERE name = 'schema'"))
    log.close()
    again = SqlTurnLog.open(url)
    composed = Verdict("t1", "composite", 1.0, 112.0, components=(Component("rules", 1.0),))
    again.append(composed)
    assert set(again.get("t1").verdicts) == {Verdict("t1", "rules", 1.0, 111.0), composed}
    assert again.cursor("schema") == SCHEMA_VERSION
    again.close()


def test_a_log_belongs_to_one_run_until_another_takes_it_over(log, url):
    first, second = Owner("1", "/runs/a"), Owner("2", "/runs/b")
    assert owner_of(log) is None
    assert own(log, first) == first
    again = SqlTurnLog.open(url)
    assert own(again, second) == owner_of(again) == first
    moved = Owner("1", "/runs/c")
    assert own(again, moved) == owner_of(log) == moved
    assert own(again, second, takes_over=True) == second
    assert own(log, moved) == owner_of(log) == second
    again.close()


def test_of_runs_that_start_on_a_new_log_together_one_owns_it(url):
    logs = [SqlTurnLog.open(url) for _ in range(8)]
    with ThreadPoolExecutor(len(logs)) as threads:
        wanted = [Owner(str(number), f"/runs/{number}") for number in range(len(logs))]
        found = set(threads.map(own, logs, wanted))
    assert found == {owner_of(logs[0])}
    for each in logs:
        each.close()


def test_a_log_from_before_there_were_owners_is_anybodys(log, url):
    log.append(make_turn("t1"))
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE owners"))
        connection.execute(sa.text("UPDATE cursors SET position = 5 WHERE name = 'schema'"))
    again = SqlTurnLog.open(url)
    assert again.cursor("schema") == SCHEMA_VERSION
    assert own(again, Owner("1", "/runs/a")) == owner_of(again) == Owner("1", "/runs/a")
    assert again.counts().logged == 1
    again.close()


def test_a_log_of_another_schema_is_refused(log, url):
    log.move_cursor("schema", 99)
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE owners"))
    with pytest.raises(LogError, match="schema 99"):
        SqlTurnLog.open(url)
    assert "owners" not in sa.inspect(log._engine).get_table_names(), "nothing was changed"


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


def test_who_only_reads_sees_what_is_written_and_changes_nothing(log, url):
    reader = open_to_read(url)
    log.append(make_turn("t1"))
    assert reader.get("t1").turn == make_turn("t1")
    assert reader.counts().logged == 1
    with pytest.raises(LogError, match=r"read-?only"):
        reader.append(make_turn("t2"))
    reader.close()


def test_to_read_a_log_of_an_earlier_schema_is_not_to_upgrade_it(log, url):
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE links"))
        connection.execute(sa.text("UPDATE cursors SET position = 2 WHERE name = 'schema'"))
    if url.startswith("sqlite"):
        reader = open_to_read(url)
        assert reader.links(["t1"]) == {}
        reader.close()
    else:
        with pytest.raises(LogError, match=r"schema 2.*, or start its run with this one"):
            open_to_read(url)
    assert log.cursor("schema") == 2


def test_passwords_stay_out_of_messages():
    with pytest.raises(LogError) as caught:
        SqlTurnLog.open("postgresql+psycopg://me:hunter2@127.0.0.1:1/x")  # made-up-secret
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://127.0.0.1/x", ""])
def test_other_databases_are_refused(url):
    with pytest.raises(LogError, match="write it as sqlite:///FILE or postgresql://"):
        SqlTurnLog.open(url)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LogError, match=r'pip install "psycopg\[binary\]"') as caught:
        SqlTurnLog.open("postgresql+psycopg://user:secret@127.0.0.1:1/turns")  # made-up-secret
    assert "secret" not in str(caught.value)


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
