"""Whether a goal is met is computed; what was not measured meets none."""

from __future__ import annotations

import math

import pytest
from _result import Goal, largest, smallest


@pytest.mark.parametrize(
    ("op", "value", "met"),
    [
        (">=", 1.0, True),
        ("<=", 1.0, True),
        ("==", 1.0, True),
        (">=", 0.9, False),
        ("<=", 1.1, False),
        ("==", 1.1, False),
        ("<=", math.nan, False),
        ("<=", None, False),
    ],
)
def test_goals(op: str, value: float | None, met: bool) -> None:
    assert Goal("g", op, 1.0, value, "units").met is met


def test_the_worst_of_values_is_unknown_where_one_is() -> None:
    assert (largest([1.0, 3.0]), smallest([1.0, 3.0])) == (3.0, 1.0)
    assert (largest([1.0, None]), smallest([1.0, None])) == (None, None)
    assert (largest([]), smallest([])) == (None, None)
