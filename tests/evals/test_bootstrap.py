"""Intervals of means over samples that are alike in groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.evals.bootstrap import bootstrap_crossed, bootstrap_nested, interval_of_replies


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=3), min_size=1, max_size=5))
def test_the_nested_interval_holds_the_values_and_is_repeatable(groups: list[list[float]]) -> None:
    bounds = bootstrap_nested(groups, samples=100)
    assert (bounds is None) == (len(groups) == len(groups[0]) == 1)
    if bounds is None:
        return
    low, high = bounds
    values = [value for group in groups for value in group]
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap_nested(groups, samples=100) == (low, high)


def test_personas_that_differ_make_the_interval_wide_however_many_seeds_there_are() -> None:
    assert bootstrap_nested([[0.0] * 20, [1.0] * 20]) == (0.0, 1.0)


@pytest.mark.parametrize("groups", [[], [[]], [[0.5]]])
def test_what_does_not_vary_has_no_interval(groups: list[list[float]]) -> None:
    assert bootstrap_nested(groups) is None


def test_prompts_that_are_easy_for_all_seeds_widen_the_interval() -> None:
    same = [[0.0, 1.0] * 10] * 3
    low, high = bootstrap_crossed(same)
    assert high - low > 0.35, "twenty prompts, however many seeds answer them"
    mixed = [np.random.default_rng(seed).permutation(same[0]) for seed in range(3)]
    narrow = bootstrap_crossed(mixed)
    assert narrow[1] - narrow[0] < high - low
    assert bootstrap_crossed([[0.3] * 5] * 2) == pytest.approx((0.3, 0.3))
    with pytest.raises(ValueError, match="no mean"):
        bootstrap_crossed([])


def test_seeds_that_answer_alike_tell_no_more_than_one() -> None:
    scores = [float(prompt % 3 == 0) for prompt in range(64)]
    (low, high), (alone_low, alone_high) = (
        interval_of_replies([scores] * seeds) or (0.0, 0.0) for seeds in (3, 1)
    )
    assert high - low == pytest.approx(alone_high - alone_low, abs=0.02)
    assert high - low > 0.2
    assert interval_of_replies([[0.5]]) is interval_of_replies([]) is None
    with pytest.raises(ValueError, match="inhomogeneous"):
        interval_of_replies([[0.0, 1.0], [0.0]])
