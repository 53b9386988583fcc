"""Two demos are compared turn by turn."""

from __future__ import annotations

import numpy as np
import pytest
from demo_on_servers import QUICK, Ran, comparison, goals, run_row
from turn_records import make_turn

from clawjax.records import VersionRun

WEIGHTS = {"a": np.zeros(3, np.float32)}
BY_ONE = (VersionRun(1, 2),)


@pytest.fixture
def ran():
    def make(*, said=None, shift=0.0, ids=(4, 5), versions=BY_ONE, turns=2):
        turn = make_turn(
            response_ids=ids, sampler_logprobs_t1=(-1.0, -2.0 + shift), token_versions=versions
        )
        return Ran([turn] * turns, 2, 0, {"a": WEIGHTS["a"] + np.float32(shift)}, said)

    return make


def test_equal_runs_have_no_differences(ran):
    compared = comparison(ran(), ran(said="2"))
    assert (compared["turns"], compared["differ"]) == (2, 0)
    assert (compared["largest_difference"], compared["weights"]) == (0.0, 0.0)
    rows = [run_row("one", ran()), run_row("other", ran(said="2")), compared]
    assert all(goal.met for goal in goals(rows, QUICK))


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"ids": (4, 6)}, 0),
        ({"versions": (VersionRun(2, 2),)}, 0),
        ({"turns": 1}, 0),
        ({"shift": 0.01}, 1),
        ({"said": "1"}, 3),
        ({"said": "default"}, 3),
    ],
)
def test_what_is_not_the_same_is_a_goal_missed(ran, change, missed):
    other = ran(**{"said": "2"} | change)
    rows = [run_row("one", ran()), run_row("other", other), comparison(ran(), other)]
    met = [goal.met for goal in goals(rows, QUICK)]
    assert met[missed] is False
    assert all(met[n] for n in range(4) if n not in (missed, 1))
