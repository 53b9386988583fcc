"""The harness of `reliability.py` and `soak.py`: what it adds up, and a short run of it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from _config import composed
from _result import RESULTS
from prometheus_client import generate_latest
from reliability.accounts import balance, turns_in_weights
from reliability.availability import IDLE, TRAINING, as_refused, overrides, row_of
from reliability.crash import OVERRIDES, crashes
from reliability.growth import Look, compiled, peak_ratio, sampled, session_counts, slope
from reliability.page import render_reliability
from reliability.parts import FULL, goals
from reliability.promises import PROMISES
from reliability.resume import Learnt, compare
from reliability.talking import Answer, Memory, ask, connected, messages_of
from render_results import RELIABILITY_PAGE, read_results
from turn_records import make_turn

from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.gateway.telemetry import Telemetry
from clawjax.metrics.prometheus import Report
from clawjax.protocols import EngineStatus
from clawjax.records import DropReason, JudgedTurn, NextState, NextStateKind, Outcome, Turn
from clawjax.runtime.loopback import serving

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.thorough  # shorter: tests/test_end_to_end.py
def test_a_run_that_is_killed_under_load_loses_nothing_and_stops_in_order(tmp_path: Path) -> None:
    found = crashes(tmp_path, kills=2, people=3, seed=1)
    books = found.books
    assert sum(found.kills.values()) == 2
    assert books.answered > 10
    assert (books.missing, books.missing_ratings, books.doubled) == (0, 0, 0)
    assert (books.trained_twice, books.trained_in_name_only, books.asked_twice) == (0, 0, 0)
    assert (books.unaccounted, books.claimed) == (0, 0)
    assert books.queued <= 1
    assert books.trained > 0
    assert not found.memory.refused
    assert found.stop_s < 120


def judged(turn: Turn, *, is_rated: bool = False) -> JudgedTurn:
    rating = NextState(turn.turn_id, NextStateKind.FEEDBACK, 2.0, score=1.0)
    return JudgedTurn(1, turn, (rating,) if is_rated else (), ())


def test_three_witnesses_are_compared() -> None:
    turns = [
        judged(make_turn(turn_id=f"t{n}", response_id=f"r{n}"), is_rated=n == 0) for n in range(4)
    ]
    outcomes = {
        "t0": Outcome("t0", 3.0, trained_version=1),
        "t1": Outcome("t1", 3.0, trained_version=2),
        "t2": Outcome("t2", 3.0, drop_reason=DropReason.STALE),
        "gone": Outcome("gone", 3.0, trained_version=1),
    }
    memory = Memory(answered=["r0", "r1", "r9"], rated=["r0", "r1"])
    books = balance(memory, turns, outcomes, claimed=0, in_weights=3)
    assert (books.answered, books.missing, books.missing_ratings) == (3, 1, 1)
    assert (books.logged, books.trained, books.dropped) == (4, 2, {"stale": 1})
    assert (books.queued, books.unaccounted) == (1, 0)
    assert (books.trained_twice, books.trained_in_name_only) == (1, 0)
    assert books.asked_twice == 1, "both turns answer the same messages"
    fewer = balance(memory, turns, outcomes, claimed=0, in_weights=1)
    assert (fewer.trained_twice, fewer.trained_in_name_only) == (0, 1)
    assert balance(memory, [*turns, turns[0]], outcomes, claimed=0, in_weights=3).doubled == 1


def test_the_newest_checkpoint_says_how_many_turns_are_in_the_weights(tmp_path: Path) -> None:
    assert turns_in_weights(tmp_path / "checkpoints") == 0
    for step, turns in ((9, 30), (10, 34)):
        meta = tmp_path / "checkpoints" / str(step) / "meta"
        meta.mkdir(parents=True)
        (meta / "metadata").write_text(json.dumps({"turns": turns}))
    (tmp_path / "checkpoints" / "11.orbax-checkpoint-tmp").mkdir()
    assert turns_in_weights(tmp_path / "checkpoints") == 34


def test_two_learners_are_compared_version_by_version() -> None:
    one = Learnt({1: "a", 2: "b"}, {"t0": 1, "t1": 2}, kills=0)
    other = Learnt({1: "a", 2: "c", 3: "d"}, {"t0": 1, "t1": 1}, kills=3)
    found = compare(one, other)
    assert (found.different_versions, found.different_turns, found.kills) == (2, 1, 3)
    assert compare(one, one).different_versions == 0


def test_an_answer_counts_once_its_last_byte_is_there() -> None:
    memory = Memory()
    for answer in (
        Answer(1.0, 200, is_whole=True, response_id="whole"),
        Answer(1.0, 200, is_whole=False, response_id="broken"),
        Answer(1.0, None, is_whole=False),
        Answer(1.0, 503, is_whole=True),
    ):
        memory.note(answer)
    assert memory.answered == ["whole"]
    assert (memory.attempts, memory.broken_off, memory.unreachable) == (4, 1, 1)
    assert memory.refused == [503]


def test_who_would_be_refused_waits_until_the_pause_is_over() -> None:
    def at(sent_at: float) -> Answer:
        return Answer(sent_at, 200, True, "r", "hi", first_s=0.5, gaps_s=(0.1,))

    found = as_refused([at(1.0), at(3.0), at(5.0), at(9.0)], [(8.0, 10.0), (2.0, 5.0)])
    assert [answer.first_s for answer in found] == [0.5, None, 2.5, 0.5, None, 1.5]
    row = row_of("reference", found)
    assert (row["replies"], row["non_2xx"], row["dropped"]) == (6, 2, 0)
    assert row["gap_s_p99"] == pytest.approx(0.1)
    dropped = row_of(IDLE, [at(1.0)._replace(is_whole=False)])
    assert (dropped["non_2xx"], dropped["dropped"]) == (0, 1)


def test_memory_that_stays_has_no_slope() -> None:
    def looks(*rss: float) -> list[Look]:
        return [Look(500 * n, {"serve": mib}, 1.0, 1.0, 1) for n, mib in enumerate(rss)]

    assert slope(looks(90.0, 91.0, 90.0, 91.0, 90.0), "serve") == pytest.approx(0.0)
    assert slope(looks(90.0, 92.0, 94.0), "serve") == pytest.approx(4.0)
    with pytest.raises(ValueError, match="the same number of turns"):
        slope(looks(90.0), "serve")
    assert peak_ratio([1.0, 4.0, 2.0, 5.0]) == pytest.approx(1.25)


def test_a_look_sees_all_that_a_run_writes(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "weights" / "000001").mkdir(parents=True)
    for name, size in {
        "turns.db": 4, "metrics.jsonl": 2, "metrics.1.jsonl": 3, "logs/serve.log": 1,
        "logs/serve.1.log": 2, "weights/000001/model.safetensors": 5, "config.yaml": 1,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(bytes(size * 2**20))
    look = sampled(tmp_path, {"run": os.getpid()}, 7, sessions=3)
    assert (look.turns, look.sessions, look.versions) == (7, 3, 1)
    assert (look.log_mib, look.weights_mib, look.told_mib) == (4, 5, 8)
    assert look.folder_mib == 18
    assert look.rss["run"] > 1


def test_sessions_in_memory_are_read_from_what_the_gateway_measures() -> None:
    report = Report(EngineStatus(1, 0, 0, 1, 64, 0, 0.0), sessions={"remembered": 4, "open": 2})
    registry = Telemetry(lambda: report).registry
    assert session_counts(generate_latest(registry).decode()) == {"remembered": 4, "open": 2}
    with pytest.raises(ValueError, match="clawjax_sessions"):
        session_counts("clawjax_up 1.0\n")


def test_a_program_that_is_compiled_is_one_line() -> None:
    lines = [
        "2026 WARNING jax._src.interpreters.pxla: Compiling jit(step) with global shapes and types",
        "WARNING:2026:jax._src.interpreters.pxla:713: Compiling jit(step) with global shapes",
        "2026 WARNING jax._src.dispatch: Finished tracing + transforming step for pjit in 0.01 sec",
        "2026 WARNING jax._src.dispatch: Finished XLA compilation of jit(step) in 0.1 sec",
        "2026 INFO clawjax.learner.loop: version 1: 4 turns",
    ]
    assert compiled(lines) == lines[:1]


async def test_the_clients_tell_what_they_met(tmp_path: Path) -> None:
    from _gateway_server import MODEL, NullEngine

    from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
    from clawjax.models.load import load_tokenizer
    from clawjax.testing import temporary_log

    log = temporary_log(tmp_path)
    deps = GatewayDeps(
        engine=NullEngine(0.0),
        tokenizer=load_tokenizer(ModelConfig(path="random:llama"))[0],
        log=log,
        config=GatewayConfig(),
        sampling_defaults=EngineConfig(),
        model_name=MODEL,
    )
    body: dict[str, Any] = {"messages": messages_of(1), "max_tokens": 4}
    async with serving(create_app(deps)) as url, connected(url, 2) as client:
        whole = await ask(client, body)
        streamed = await ask(client, body | {"stream": True})
        refused = await ask(client, {"stream": True})
    gone = await ask(connected(url, 1), body)
    log.close()
    assert whole.is_whole
    assert whole.response_id
    assert whole.first_s is None
    assert streamed.is_whole
    assert streamed.first_s
    assert streamed.text == whole.text
    assert (refused.status, refused.is_refused) == (400, True)
    assert (gone.status, gone.is_dropped) == (None, True)


def test_goals_are_of_what_was_measured() -> None:
    assert not any(goal.met for goal in goals([]))
    rows = [
        {"case": "kill -9", "killed_serve": 20, "killed_learn": 20, "killed_run": 10}
        | dict.fromkeys(("missing", "missing_ratings", "trained_twice", "trained_in_name_only"), 0)
        | dict.fromkeys(("asked_twice", "unaccounted", "claimed", "queued"), 0)
        | {"stop_s": 2.0},
        {"case": "resume", "kills": 5, "different_versions": 0},
        {"case": "availability", "state": IDLE, "non_2xx": 0, "dropped": 0},
        {"case": "availability", "state": TRAINING, "non_2xx": 0, "dropped": 0, "versions": 11},
        {"case": "availability", "state": "reference, emulated", "non_2xx": 99, "dropped": 0},
    ]
    assert all(goal.met for goal in goals(rows))
    assert {goal.name for goal in goals([rows[0] | {"missing": 1}, *rows[1:]]) if not goal.met} == {
        "turns acknowledged and not in the log"
    }
    assert FULL.kills >= 50
    assert FULL.traffic.streams == 64
    assert FULL.traffic.training_s >= 300


def test_what_the_harness_runs_can_run(tmp_path: Path) -> None:
    composed(tmp_path, *OVERRIDES)
    assert composed(tmp_path, *overrides(FULL.traffic)).engine.slots == 64


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    page = render_reliability(read_results(RESULTS))
    written = RELIABILITY_PAGE.read_text(encoding="utf-8")
    assert written == page, "run python benchmarks/render_results.py"


def test_every_promise_names_tests_that_are_there() -> None:
    missing = {test for each in PROMISES for test in each.tests if not (ROOT / test).is_file()}
    assert not missing
    assert len({each.promise for each in PROMISES}) == len(PROMISES)


def result(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    goal = {"name": "turns lost", "op": "==", "target": 0, "value": 0, "unit": "", "met": True}
    return {
        "command": f"python benchmarks/{name}.py",
        "commit": "0123456789abcdef",
        "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8.0},
        "rows": rows,
        "goals": [goal],
    }


def test_the_page_shows_what_was_measured_and_says_what_was_not() -> None:
    empty = render_reliability({})
    for name in ("reliability", "soak", "fuzz", "injection"):
        assert f"Not measured yet: `python benchmarks/{name}.py`" in empty
    streams = {
        "case": "availability",
        "state": IDLE,
        "streams": 64,
        "replies": 9,
        "non_2xx": 0,
        "dropped": 0,
    } | {f"{m}_p{q}": q / 1000 for m in ("first_s", "gap_s") for q in (50, 95, 99)}
    soak = {"turns": 5000, "sessions": 500, "minutes": 8.0, "most_sessions": 40}
    soak |= {f"{what}_mib": 1.5 for what in ("log", "weights", "told", "folder")}
    for name in ("serve", "learn", "run"):
        soak |= {f"rss_{name}_mib": 300.0, f"slope_{name}": 0.25}
    soak |= {"compiled_serve": 0, "compiled_learn": 0, "objects_per_checkpoint": 480.0}
    page = render_reliability(
        {
            "reliability": result("reliability", [streams]),
            "soak": result("soak", [soak]),
            "fuzz": result("fuzz", [{"any": math.pi}]),
        }
    )
    assert "| idle | 9 | 0 | 0 |  | 50 / 95 / 99 | 50 / 95 / 99 |" in page
    assert "| serve | 300 MiB | +0.25 MiB per 1,000 turns | 0 |" in page
    assert "| run | 300 MiB | +0.25 MiB per 1,000 turns |  |" in page
    assert page.count("| turns lost | == 0 | 0 | met |") == 3
    assert page.count("Not measured yet") == 1
