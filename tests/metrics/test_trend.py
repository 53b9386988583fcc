"""Whether a mean rose by more than chance does."""

import random

import pytest

from clawjax.metrics.trend import change_of_mean, pieces


def talk(rng: random.Random, count: int, praised: float, *, length: int) -> list[tuple[str, float]]:
    return [(f"s{i // length}", 1.0 if rng.random() < praised else -1.0) for i in range(count)]


def test_scores_in_a_row_of_a_conversation_are_one_piece_of_evidence():
    scores = [("a", 0.1), ("b", 1.0), *[("a", 0.2)] * 8]
    assert pieces(scores) == [(0.1, *[0.2] * 7), (0.2,), (1.0,)]


def test_the_interval_by_hand():
    found = change_of_mean([(1.0, -1.0)], [(1.0,), (1.0,)])
    assert found is not None
    # With a -1 and a 1 besides: means 0 and 1/2; variances 3/2 * 2 / 16 and 4/3 * 3 / 16.
    assert found.difference == pytest.approx(1.0)
    freedom = (3 / 16 + 4 / 16) ** 2 / ((3 / 16) ** 2 / 2 + (4 / 16) ** 2 / 3)
    assert freedom == pytest.approx(4.989, abs=0.01)
    assert found.low == pytest.approx(0.5 - 2.5725 * (7 / 16) ** 0.5, abs=0.01)
    assert found.high == 2.0, "means of scores in [-1, 1] are no further apart"


def test_the_interval_holds_what_can_be_and_what_was_found():
    for count in (1, 8, 48):
        found = change_of_mean(pieces([("a", 1.0)] * count), pieces([("b", -1.0)] * count))
        assert found is not None
        assert -2.0 == found.difference == found.low < found.high < 2.0


def test_without_either_side_nothing_is_known():
    assert change_of_mean([], [(1.0,)]) is None
    assert change_of_mean([(1.0,)], []) is None


@pytest.mark.parametrize(("before", "length"), [(5, 1), (17, 1), (17, 4), (48, 60)])
@pytest.mark.parametrize("praised", [0.1, 0.5])
def test_chance_is_seldom_taken_for_a_change(before, length, praised):
    rng = random.Random(0)
    false = 0
    for _ in range(400):
        first = pieces(talk(rng, before, praised, length=length))
        now = pieces(talk(rng, 48, praised, length=length))
        found = change_of_mean(first, now)
        assert found is not None
        false += found.is_beyond_chance
    assert false <= 0.08 * 400


def test_a_rise_as_of_the_demo_is_seen_after_one_batch_and_three():
    rng = random.Random(0)
    seen = 0
    for _ in range(200):
        found = change_of_mean(
            pieces(talk(rng, 17, 0.25, length=3)), pieces(talk(rng, 48, 0.85, length=3))
        )
        assert found is not None
        seen += found.low > 0
    assert seen >= 0.95 * 200
