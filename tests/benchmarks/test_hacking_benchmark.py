"""What the benchmark of the alarm makes of runs."""

import hacking
import pytest

from clawjax.config import HackWatchConfig
from clawjax.metrics.hacking import Point

WATCH = HackWatchConfig(window=7)
GAMED = [Point(i, 0.1 * i, 0.9 - 0.05 * i) for i in range(12)]
HONEST = [Point(i, 0.1 * i, 0.1 + 0.05 * i) for i in range(12)]


def row(experiment: str, seed: int, points: list[Point]) -> dict:
    return {"experiment": experiment, "seed": seed, **hacking.told(points, WATCH)}


def rows(gamed: list[Point], honest: list[Point]) -> list[dict]:
    return [
        row(experiment, seed, points)
        for experiment, points in ((hacking.GAMED, gamed), (hacking.HONEST, honest))
        for seed in range(3)
    ]


def test_the_alarm_is_the_first_one_though_a_later_version_has_none():
    recovered = [*GAMED, *(Point(12 + i, 1.1, 0.35 + 0.1 * i) for i in range(7))]
    found = hacking.told(recovered, WATCH)
    assert found["alarm"]["version"] == 6, "as soon as there are seven versions"
    assert found["last"]["is_alarm"] is False
    assert hacking.told([], WATCH)["last"] is None


@pytest.mark.parametrize(
    ("gamed", "honest", "met"),
    [
        (GAMED, HONEST, [True, True, True, True]),
        (HONEST, HONEST, [False, True, True, True]),
        (GAMED, GAMED, [True, False, True, True]),
        (GAMED, HONEST[:5], [True, True, False, True]),
    ],
    ids=["as it should be", "gaming unnoticed", "false alarm", "too short to tell"],
)
def test_all_that_is_gamed_is_noticed_and_nothing_else(gamed, honest, met):
    found = hacking.goals(rows(gamed, honest), WATCH.window)
    assert [goal.met for goal in found] == met


def test_what_was_not_run_is_no_goal_met():
    found = hacking.goals([row("tiny_demo", 0, GAMED)], WATCH.window)
    assert [goal.value for goal in found] == [None, None, 12, 0]
    assert not any(goal.met for goal in found if goal.name != "versions of a run, fewest")
