"""The same losses and gradients as TRL 1.16 and tunix 0.1.7, to 1e-5."""

from __future__ import annotations

import numpy as np
import pytest
from _loss_parity import (
    TRL,
    TRL_CASES,
    TUNIX,
    TUNIX_ADVANTAGES,
    TUNIX_CASES,
    Case,
    advantage_difference,
    trl_difference,
    tunix_difference,
)

TOLERANCE = 1e-5


@pytest.mark.parametrize("name", TRL_CASES)
def test_trl(name: str) -> None:
    difference = trl_difference(name)
    assert difference.loss <= TOLERANCE
    assert difference.gradient <= TOLERANCE


@pytest.mark.parametrize("name", TUNIX_CASES)
def test_tunix(name: str) -> None:
    difference = tunix_difference(name)
    assert difference.loss <= TOLERANCE
    assert difference.gradient <= TOLERANCE


@pytest.mark.parametrize("name", TUNIX_ADVANTAGES)
def test_advantages_of_tunix(name: str) -> None:
    assert advantage_difference(name) <= TOLERANCE


# --- the fixtures put the losses to the test ----------------------------------------------------


@pytest.mark.parametrize(("case", "cases"), [(TRL, TRL_CASES), (TUNIX, TUNIX_CASES)])
def test_every_fixture_is_compared_and_no_two_are_the_same(case: Case, cases: dict) -> None:
    recorded = {name.removesuffix("/loss") for name in case.fixture if name.endswith("/loss")}
    assert recorded == set(cases)
    gradients = [case.fixture[f"{name}/grad"].ravel() for name in sorted(recorded)]
    for index, gradient in enumerate(gradients):
        assert all(np.abs(gradient - other).max() > 1e-3 for other in gradients[:index])


@pytest.mark.parametrize("case", [TRL, TUNIX])
def test_some_tokens_are_clipped_and_some_are_not(case: Case) -> None:
    slopes = case.fixture["grpo/grad"]
    per_token = (
        slopes if slopes.ndim == 2 else np.abs(slopes[:, -case.mask.shape[1] - 1 : -1]).sum(-1)
    )
    gone = np.asarray(case.mask) & (per_token == 0)
    assert 0 < gone.sum() < np.asarray(case.mask).sum()
