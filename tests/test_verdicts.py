"""Verdicts to one score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.records import Verdict
from clawjax.verdicts import combine

SCORES = st.none() | st.floats(-1, 1)


def verdict(module: str, score: float | None) -> Verdict:
    return Verdict("t1", module, score, judged_at=0.0)


def test_weights_are_relative_to_the_modules_that_spoke() -> None:
    verdicts = [verdict("a", 1.0), verdict("b", -0.5), verdict("c", None)]
    assert combine(verdicts, {"a": 3.0, "c": 10.0}) == pytest.approx((3 * 1.0 - 0.5) / 4)


def test_explicit_feedback_overrules() -> None:
    assert combine([verdict("a", 1.0), verdict("feedback", -0.25)], {"a": 100.0}) == -0.25


def test_feedback_that_abstains_overrules_nothing() -> None:
    assert combine([verdict("a", 1.0), verdict("feedback", None)], {}) == 1.0


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}])
def test_nobody_with_a_say_is_none(weights: dict[str, float]) -> None:
    score = 1.0 if weights else None
    assert combine([verdict("a", score)], weights) is None
    assert combine([], weights) is None


@given(
    st.lists(SCORES, max_size=5),
    st.lists(st.floats(0, 10, allow_subnormal=False), min_size=5, max_size=5),
)
def test_the_score_lies_between_the_verdicts(
    scores: list[float | None], weights: list[float]
) -> None:
    named = {f"m{i}": weight for i, weight in enumerate(weights)}
    combined = combine([verdict(f"m{i}", score) for i, score in enumerate(scores)], named)
    heard = [s for i, s in enumerate(scores) if s is not None and named[f"m{i}"] > 0]
    if not heard:
        assert combined is None
    else:
        assert combined is not None
        assert min(heard) - 1e-9 <= combined <= max(heard) + 1e-9
