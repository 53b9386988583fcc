"""The same losses and gradients as TRL 1.16 and tunix 0.1.7, to 1e-5.

What the losses leave to the caller, how much a token counts, is written here as each of the two
defines it. Fixtures: `benchmarks/parity/make_loss_fixtures.py` and `make_tunix_loss_fixtures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from clawjax.learner import losses
from clawjax.learner.credit import group
from clawjax.learner.losses import PairLogprobs
from clawjax.learner.ratios import off_policy
from clawjax.learner.sequences import per_turn_sum

DATA = Path(__file__).parent / "data"
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}


class Case:
    """Arrays `[B, T]` of response tokens, one turn per row, and the settings of a fixture."""

    def __init__(self, fixture: Mapping[str, np.ndarray]) -> None:
        self.fixture = fixture

    def __getattr__(self, name: str) -> Array:
        if name not in self.fixture:
            raise AttributeError(name)
        return jnp.asarray(self.fixture[name])

    def setting(self, name: str) -> float:
        return float(self.fixture[name])

    @property
    def a(self) -> Array:
        return jnp.broadcast_to(self.advantages[:, None], self.mask.shape)

    @property
    def turn_ids(self) -> Array:
        numbers = jnp.arange(1, len(self.mask) + 1, dtype=jnp.int32)
        return jnp.where(self.mask, numbers[:, None], 0)

    @property
    def max_turns(self) -> int:
        return len(self.mask)


def load(name: str) -> Case:
    with np.load(DATA / f"{name}_losses.npz") as arrays:
        return Case(dict(arrays))


TRL, TUNIX = load("trl"), load("tunix")
Loss = Callable[[Array, Case], Array]
Weights = Callable[[Case], Array]


# --- what a token counts for --------------------------------------------------------------------


def turn_mean(case: Case) -> Array:
    lengths = case.mask.sum(axis=1, keepdims=True)
    return case.mask / lengths / len(lengths)


def token_mean(case: Case) -> Array:
    return case.mask / case.mask.sum()


def constant(case: Case) -> Array:
    return case.mask / (len(case.mask) * case.setting("constant_length"))


def constant_of_width(case: Case) -> Array:
    return case.mask / case.mask.size


def batch_tokens(case: Case) -> Array:
    """Of the whole batch, of which these turns are a part."""
    return case.mask / case.setting("items_in_batch")


# --- losses [B, T] ------------------------------------------------------------------------------


def clip(case: Case, prefix: str = "") -> dict[str, float]:
    return {side: case.setting(prefix + side) for side in ("clip_low", "clip_high")}


def surrogate(new: Array, case: Case) -> Array:
    return losses.clipped_surrogate(new, case.old, case.a, **clip(case))


def dual(new: Array, case: Case) -> Array:
    c = case.setting("dual_clip")
    return losses.clipped_surrogate(new, case.old, case.a, dual_clip=c, **clip(case))


def cispo(new: Array, case: Case) -> Array:
    high = case.setting("cispo_ratio_high")
    return losses.cispo(new, case.old, case.a, ratio_high=high)


def gspo(new: Array, case: Case) -> Array:
    return losses.gspo(
        new, case.old, case.a, case.turn_ids, max_turns=case.max_turns, **clip(case, "gspo_")
    )


def on_policy(new: Array, case: Case) -> Array:
    return losses.clipped_surrogate(new, jax.lax.stop_gradient(new), case.a, **clip(case))


def with_kl(estimate: Callable[[Array, Array], Array]) -> Loss:
    def loss(new: Array, case: Case) -> Array:
        return surrogate(new, case) + case.setting("kl_coef") * estimate(new, case.base)

    return loss


def corrected(preset: Any, bounds: Mapping[str, str]) -> Loss:
    def loss(new: Array, case: Case) -> Array:
        correction = off_policy(
            preset,
            new,
            case.sampler,
            case.turn_ids,
            max_turns=case.max_turns,
            proximal_logprobs=case.old,
            **{name: case.setting(setting) for name, setting in bounds.items()},
        )
        per_token = losses.clipped_surrogate(new, correction.ratio_logprobs, case.a, **clip(case))
        return correction.weights * per_token

    return loss


decoupled = corrected("decoupled", {"cap": "weight_cap"})
icepop = corrected("icepop", {"low": "mask_low", "high": "mask_high"})


def dpo(new: Array, case: Case, label_smoothing: float = 0.0) -> Array:
    """Mean over pairs: the first half of the turns over the second."""
    sums = (
        per_turn_sum(logprobs, case.turn_ids, max_turns=case.max_turns)
        for logprobs in (new, case.base)
    )
    pairs = (PairLogprobs(*jnp.split(each, 2)) for each in sums)
    beta = case.setting("dpo_beta")
    return jnp.mean(losses.dpo(*pairs, beta=beta, label_smoothing=label_smoothing))


def smoothed_dpo(new: Array, case: Case) -> Array:
    return dpo(new, case, case.setting("dpo_label_smoothing"))


def total(loss: Loss, weights: Weights | None) -> Loss:
    """The scalar that is minimised."""
    if weights is None:
        return loss
    return lambda new, case: jnp.sum(weights(case) * loss(new, case))


# --- TRL: gradients with respect to log-probs ---------------------------------------------------

TRL_CASES: dict[str, tuple[Loss, Weights | None]] = {
    "grpo": (surrogate, turn_mean),
    "bnpo": (surrogate, token_mean),
    "dr_grpo": (surrogate, constant),
    "dapo": (surrogate, batch_tokens),
    "cispo": (cispo, batch_tokens),
    "gspo": (gspo, turn_mean),
    "gspo_dapo": (gspo, batch_tokens),
    "kl": (with_kl(losses.k3_kl), turn_mean),
    "dual_clip": (dual, turn_mean),
    "on_policy": (on_policy, turn_mean),
    "decoupled": (decoupled, turn_mean),
    "icepop": (icepop, turn_mean),
    "dpo": (dpo, None),
    "sft": (lambda new, case: losses.sft(new), token_mean),
}


@pytest.mark.parametrize("name", TRL_CASES)
def test_trl(name: str) -> None:
    loss = total(*TRL_CASES[name])
    value, slopes = jax.value_and_grad(lambda new: loss(new, TRL))(TRL.new)
    np.testing.assert_allclose(value, TRL.fixture[f"{name}/loss"], **TOLERANCE)
    np.testing.assert_allclose(slopes, TRL.fixture[f"{name}/grad"], **TOLERANCE)


# --- tunix: gradients with respect to logits ----------------------------------------------------

TUNIX_CASES: dict[str, tuple[Loss, Weights | None]] = {
    "grpo": (surrogate, turn_mean),
    "token_mean": (surrogate, token_mean),
    "constant": (surrogate, constant_of_width),
    "dual_clip": (dual, turn_mean),
    "gspo": (gspo, turn_mean),
    "k1": (with_kl(losses.k1_kl), turn_mean),
    "k2": (with_kl(losses.k2_kl), turn_mean),
    "k3": (with_kl(losses.k3_kl), turn_mean),
    "on_policy": (on_policy, turn_mean),
    "decoupled": (decoupled, turn_mean),
    "dpo": (dpo, None),
    "dpo_smoothed": (smoothed_dpo, None),
    "sft": (lambda new, case: losses.sft(new), token_mean),
}


def response_logprobs(logits: Array, case: Case) -> Array:
    width = case.mask.shape[1]
    logprobs = jax.nn.log_softmax(logits)[:, -width - 1 : -1]
    targets = case.token_ids[:, -width:, None]
    return jnp.take_along_axis(logprobs, targets, axis=-1)[..., 0]


@pytest.mark.parametrize("name", TUNIX_CASES)
def test_tunix(name: str) -> None:
    loss = total(*TUNIX_CASES[name])
    value, slopes = jax.value_and_grad(
        lambda logits: loss(response_logprobs(logits, TUNIX), TUNIX)
    )(TUNIX.logits)
    np.testing.assert_allclose(value, TUNIX.fixture[f"{name}/loss"], **TOLERANCE)
    np.testing.assert_allclose(slopes, TUNIX.fixture[f"{name}/grad"], **TOLERANCE)


@pytest.mark.parametrize("method", [group.grpo, group.rloo, group.dr_grpo])
def test_advantages_of_tunix(method) -> None:
    scores = TUNIX.fixture["scores"].tolist()
    groups = [index // 4 for index in range(len(scores))]
    expected = TUNIX.fixture[f"advantages/{method.__name__}"]
    np.testing.assert_allclose(method(scores, groups), expected, **TOLERANCE)


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
