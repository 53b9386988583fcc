"""What the benchmarks of the running loops compute from times, by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import feedback_to_served
import latency_under_training
import overlap
import pytest
from _config import composed
from _intervals import Interval, length, shared, union
from _streams import Percentiles, Timed, _shows_text, percentiles, times_of
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.evals.latency import Wait
from clawjax.records import JudgedTurn, NextState, NextStateKind
from clawjax.runtime.paths import RunPaths

SECONDS = st.integers(0, 30)
INTERVALS = st.lists(st.builds(Interval, SECONDS, SECONDS), max_size=8)


def seconds_in(intervals: list[Interval]) -> set[int]:
    return {second for start, stop in intervals for second in range(int(start), int(stop))}


@given(INTERVALS, INTERVALS)
def test_intervals_are_sets_of_seconds(some: list[Interval], others: list[Interval]) -> None:
    assert length(some) == len(seconds_in(some))
    assert shared(some, others) == len(seconds_in(some) & seconds_in(others))
    merged = union(some)
    assert seconds_in(merged) == seconds_in(some)
    assert all(a.stop < b.start for a, b in pairwise(merged))


def test_times_are_counted_from_the_request_and_from_piece_to_piece() -> None:
    assert times_of(1.0, [1.5, 1.75, 2.75]) == Timed(False, 0.5, (0.25, 1.0))
    assert times_of(1.0, [1.5]) == Timed(False, 0.5, ())
    assert times_of(1.0, []) == Timed(False, None, ())


def test_percentiles_lie_between_values() -> None:
    assert percentiles([*map(float, range(101))]) == (50.0, 95.0, 99.0)
    assert Percentiles(1.0, 2.0, 3.0).as_row("gap_s") == {
        "gap_s_p50": 1.0,
        "gap_s_p95": 2.0,
        "gap_s_p99": 3.0,
    }


@pytest.mark.parametrize(
    ("delta", "is_shown"),
    [({"content": "Hi"}, True), ({"role": "assistant", "content": ""}, False), ({}, False)],
)
def test_only_visible_text_counts_as_a_piece(delta: dict[str, str], is_shown: bool) -> None:
    assert _shows_text("data: " + json.dumps({"choices": [{"delta": delta}]})) is is_shown
    assert not _shows_text("data: [DONE]")
    assert not _shows_text("data: " + json.dumps({"choices": [], "usage": {}}))
    assert not _shows_text("")


def test_a_copied_turn_is_a_new_one_with_the_same_feedback() -> None:
    judged = JudgedTurn(
        1,
        make_turn(parent_turn_id="t0"),
        (NextState("t1", NextStateKind.FEEDBACK, 5.0, score=1.0),),
        (),
    )
    first, second = (latency_under_training.copied(judged) for _ in range(2))
    turn, state = first
    assert turn.turn_id == state.turn_id != second[0].turn_id
    assert turn.parent_turn_id is None
    assert turn.response_ids == judged.turn.response_ids
    assert (state.kind, state.score) == (NextStateKind.FEEDBACK, 1.0)


def test_a_step_ends_where_it_was_logged(tmp_path: Path) -> None:
    entries = [
        {"t": 10.0, "train/seconds": 2.0},
        {"t": 14.0, "judge/scored": 1.0},
        {"t": 20.0, "train/seconds": 5.0},
    ]
    paths = RunPaths(tmp_path)
    paths.metrics.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert overlap.steps_since(paths, 0.0) == [(8.0, 10.0), (15.0, 20.0)]
    assert overlap.steps_since(paths, 10.5) == [(15.0, 20.0)]


def test_of_seconds_the_range_is_kept_and_of_the_rest_the_mean() -> None:
    measured = [{"seconds": 3.0, "tokens": 10.0}, {"seconds": 5.0, "tokens": 20.0}]
    assert overlap.summary(measured) == {
        "seconds": 4.0,
        "seconds_low": 3.0,
        "seconds_high": 5.0,
        "tokens": 15.0,
    }


def test_waits_are_summed_up_over_what_was_served() -> None:
    found = [Wait(8, 2.0), None, Wait(24, 6.0), Wait(16, 3.0)]
    assert feedback_to_served.summary(found, batch_turns=16) == {
        "turns": 16,
        "turns_high": 24,
        "batches": 1.0,
        "seconds": 3.0,
        "seconds_high": 6.0,
        "served": 3,
        "unserved": 1,
    }
    nothing = feedback_to_served.summary([None], batch_turns=16)
    assert (nothing["turns"], nothing["batches"], nothing["unserved"]) == (None, None, 1)


def test_the_worst_traffic_decides_and_what_was_not_served_meets_no_goal() -> None:
    def row(loop: str, batches: float | None) -> dict[str, object]:
        return {"loop": loop, "batches": batches}

    ours, theirs = feedback_to_served.OURS, feedback_to_served.REFERENCE
    rows = [row(ours, 0.5), row(ours, 1.0), row(theirs, 2.0), row(theirs, 3.0)]
    assert [(g.value, g.met) for g in feedback_to_served.goals(rows)] == [(1.0, True), (2.0, True)]
    missing = [*rows, row(ours, None), row(theirs, None)]
    assert [(g.value, g.met) for g in feedback_to_served.goals(missing)] == [(None, False)] * 2


@pytest.mark.parametrize(
    "overrides",
    [
        (*overlap.SAME_WORK, "experiment=personal_demo", *overlap.batches(overlap.REAL)),
        (*feedback_to_served.REAL.overrides, *feedback_to_served.ONE_LENGTH),
        (*feedback_to_served.TINY.overrides, *feedback_to_served.ONE_LENGTH),
        latency_under_training.SETTINGS,
    ],
)
def test_what_the_benchmarks_run_can_run(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config = composed(tmp_path, *overrides)
    assert config.run.dir == str(tmp_path)
    assert config.gateway.port == 0


def test_a_step_of_the_overlap_takes_one_batch_and_nothing_else_starts_it(tmp_path: Path) -> None:
    sizes = overlap.batches(overlap.SLEPT)
    learner = composed(tmp_path, *overlap.SAME_WORK, *sizes).learner
    assert learner.min_turns == learner.batch_turns == overlap.SLEPT.batch_turns
    assert min(learner.idle_s, learner.max_wait_s) > overlap.TIMEOUT_S
