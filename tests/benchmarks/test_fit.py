import math

import pytest
from _fit import fit_power_law
from hypothesis import given
from hypothesis import strategies as st


@given(
    exponent=st.floats(-3, 3),
    factor=st.floats(1e-3, 1e3),
    xs=st.lists(st.integers(1, 10_000), min_size=2, max_size=8, unique=True),
)
def test_a_power_law_is_found_again(exponent: float, factor: float, xs: list[int]) -> None:
    law = fit_power_law(xs, [factor * x**exponent for x in xs])
    assert law.exponent == pytest.approx(exponent, abs=1e-3)
    assert math.log(law.factor) == pytest.approx(math.log(factor), abs=1e-2)


def test_a_fixed_cost_flattens_the_fit_and_a_growing_one_steepens_it() -> None:
    xs = [256, 512, 1024, 2048]
    assert fit_power_law(xs, [x + 500 for x in xs]).exponent < 0.8
    assert fit_power_law(xs, [x + x**2 / 500 for x in xs]).exponent > 1.4


@pytest.mark.parametrize(("xs", "ys"), [([1], [1]), ([2, 2], [1, 3]), ([1, 2], [1, 0])])
def test_what_cannot_be_fitted_is_refused(xs: list[float], ys: list[float]) -> None:
    with pytest.raises(ValueError, match="two different xs, and all above 0"):
        fit_power_law(xs, ys)
