"""Advantages of groups against plain numpy, and what each makes of groups of one mind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.learner.credit.group import (
    Filtered,
    dr_grpo,
    dynamic_filter,
    grpo,
    most_varied,
    reinforce_pp,
    rloo,
    tilted,
    whiten,
)

GROUPED = st.lists(st.tuples(st.floats(-1, 1), st.sampled_from("abc")), min_size=1, max_size=12)
METHODS = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "reinforce_pp": lambda scores, groups: reinforce_pp(scores, groups=groups),
}


def split(grouped: list[tuple[float, str]]) -> tuple[list[float], list[str]]:
    return [score for score, _ in grouped], [key for _, key in grouped]


def deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


@given(GROUPED)
def test_values_against_numpy(grouped: list[tuple[float, str]]) -> None:
    scores, groups = split(grouped)
    s, keys = np.array(scores), np.array(groups)
    own = [s[keys == key] for key in groups]
    centred = np.array([x - group.mean() for x, group in zip(s, own, strict=True)])
    floors = np.array([max(deviation(group), 0.1) for group in own])
    np.testing.assert_allclose(grpo(scores, groups, floor=0.1), centred / floors, atol=1e-9)
    np.testing.assert_allclose(dr_grpo(scores, groups), centred, atol=1e-12)
    others = [
        np.delete(s[keys == key], (keys[:i] == key).sum()).mean() if group.size > 1 else s[i]
        for i, (key, group) in enumerate(zip(groups, own, strict=True))
    ]
    np.testing.assert_allclose(rloo(scores, groups), s - others, atol=1e-12)
    for values, actual in (
        (s, reinforce_pp(scores, floor=0.1)),
        (centred, reinforce_pp(scores, groups=groups, floor=0.1)),
    ):
        expected = (values - values.mean()) / max(deviation(values), 0.1)
        np.testing.assert_allclose(actual, expected, atol=1e-9)


@given(GROUPED, st.lists(st.integers(1, 9), min_size=12, max_size=12))
def test_token_counts_whiten_over_tokens(
    grouped: list[tuple[float, str]], lengths: list[int]
) -> None:
    scores, _ = split(grouped)
    counts = lengths[: len(scores)]
    tokens = np.repeat(scores, counts)
    expected = (np.array(scores) - tokens.mean()) / max(deviation(tokens), 0.1)
    actual = reinforce_pp(scores, token_counts=counts, floor=0.1)
    np.testing.assert_allclose(actual, expected, atol=1e-9)
    ones = [1] * len(scores)
    np.testing.assert_allclose(whiten(scores, weights=ones), whiten(scores), atol=1e-9)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@given(GROUPED, st.randoms(use_true_random=False))
def test_order_does_not_matter(method, grouped: list[tuple[float, str]], random) -> None:
    order = list(range(len(grouped)))
    random.shuffle(order)
    straight = method(*split(grouped))
    shuffled = method(*split([grouped[i] for i in order]))
    np.testing.assert_allclose(shuffled, [straight[i] for i in order], atol=1e-6)


@pytest.mark.parametrize("method", [grpo, dr_grpo, rloo])
@given(GROUPED, GROUPED)
def test_a_group_knows_nothing_of_the_others(
    method, here: list[tuple[float, str]], elsewhere: list[tuple[float, str]]
) -> None:
    there = [(score, key.upper()) for score, key in elsewhere]
    together = method(*split(here + there))
    np.testing.assert_array_equal(together[: len(here)], method(*split(here)))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("score", [0.1, -1.0, 0.0])
def test_a_group_of_one_mind_gets_exactly_nothing(method, score: float) -> None:
    assert method([score] * 7, ["a"] * 7) == (0.0,) * 7
    assert method([score, 0.5], ["a", "b"]) == (0.0, 0.0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_praise_is_above_and_complaint_below_nothing(method) -> None:
    praised, criticised = method([1.0, -1.0], ["a", "a"])
    assert criticised < 0 < praised


def test_the_floor_bounds_what_a_rounding_can_weigh() -> None:
    scores, groups = [0.5, 0.5 + 1e-9, 1.0, -1.0], ["a", "a", "b", "b"]
    assert max(map(abs, grpo(scores, groups)[:2])) < 1e-5
    np.testing.assert_allclose(grpo(scores, groups)[2:], [2**-0.5, -(2**-0.5)])
    assert max(map(abs, whiten(scores[:2]))) < 1e-5


def test_the_filter_drops_whole_groups_and_says_why() -> None:
    scores = [1.0, 1.0, 1.0, -1.0, 0.3]
    groups = ["same", "same", "torn", "torn", "alone"]
    equal, alone = Filtered.EQUAL_SCORES, Filtered.NOTHING_TO_COMPARE
    assert dynamic_filter(scores, groups) == (equal, equal, None, None, alone)
    assert dynamic_filter([0.5, 0.6], ["a", "a"], tolerance=0.2) == (equal, equal)


@given(GROUPED)
def test_the_filter_drops_what_has_no_advantage(grouped: list[tuple[float, str]]) -> None:
    scores, groups = split(grouped)
    reasons = dynamic_filter(scores, groups)
    for reason, advantage in zip(reasons, dr_grpo(scores, groups), strict=True):
        assert reason is None or advantage == 0.0
    kept = [pair for pair, reason in zip(grouped, reasons, strict=True) if reason is None]
    assert dynamic_filter(*split(kept)) == (None,) * len(kept)


def test_no_turns_no_advantages() -> None:
    for method in METHODS.values():
        assert method([], []) == ()
    assert dynamic_filter([], []) == ()


def test_every_turn_needs_a_group() -> None:
    with pytest.raises(ValueError, match="zip"):
        grpo([1.0, -1.0], ["a"])


def test_what_is_blamed_may_count_less_than_what_is_praised() -> None:
    assert tilted((0.5, -1.0, 0.0), 0.25) == (0.5, -0.25, 0.0)
    assert tilted((0.5, -1.0), 1.0) == (0.5, -1.0)


def test_most_varied_keeps_the_ends_of_each_group():
    assert most_varied([1, 2, 3, 4, 9, 0], [*"aaaabb"], kept=2) == (0, 3, 4, 5)
    assert most_varied([0, 1, 9, 10], [*"aaaa"], kept=3) == (0, 2, 3)
    assert most_varied([5, 5, 5], [*"aaa"], kept=2) == (0, 1)
    assert most_varied([], [], kept=2) == ()


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=7), st.integers(2, 5))
def test_no_subset_of_a_group_varies_more(scores, kept):
    places = most_varied(scores, ["a"] * len(scores), kept=kept)
    assert len(places) == min(kept, len(scores))
    found = np.var([scores[place] for place in places])
    others = itertools.combinations(scores, len(places))
    assert found == pytest.approx(max(np.var(other) for other in others))
