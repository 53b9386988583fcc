"""The committed fixtures of other libraries' losses, and what clawjax makes of the same arrays.

What the losses leave to the caller, how much a token counts, is written here as each of the two
libraries defines it. For the tests and for `objective_parity.py`; fixtures come from
`parity/make_loss_fixtures.py` and `parity/make_tunix_loss_fixtures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.learner import losses
from clawjax.learner.credit import group
from clawjax.learner.losses import PairLogprobs
from clawjax.learner.ratios import off_policy
from clawjax.learner.sequences import per_turn_sum

__all__ = [
    "TRL",
    "TRL_CASES",
    "TUNIX",
    "TUNIX_ADVANTAGES",
    "TUNIX_CASES",
    "Case",
    "Difference",
    "advantage_difference",
    "trl_difference",
    "tunix_difference",
]

DATA = Path(__file__).parents[1] / "tests" / "learner" / "data"


class Difference(NamedTuple):
    """Largest absolute differences from a fixture."""

    loss: float
    gradient: float


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
        named: dict[str, Any] = {name: case.setting(setting) for name, setting in bounds.items()}
        correction = off_policy(
            preset,
            new,
            case.sampler,
            case.turn_ids,
            max_turns=case.max_turns,
            proximal_logprobs=case.old,
            **named,
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


def trl_difference(name: str) -> Difference:
    """Of `TRL_CASES[name]`."""
    loss = total(*TRL_CASES[name])
    value, slopes = jax.value_and_grad(lambda new: loss(new, TRL))(TRL.new)
    return _difference(TRL, name, value, slopes)


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


def tunix_difference(name: str) -> Difference:
    """Of `TUNIX_CASES[name]`."""
    loss = total(*TUNIX_CASES[name])
    value, slopes = jax.value_and_grad(
        lambda logits: loss(response_logprobs(logits, TUNIX), TUNIX)
    )(TUNIX.logits)
    return _difference(TUNIX, name, value, slopes)


TUNIX_ADVANTAGES = {method.__name__: method for method in (group.grpo, group.rloo, group.dr_grpo)}


def advantage_difference(name: str) -> float:
    """Largest absolute difference from tunix, groups of four."""
    scores = TUNIX.fixture["scores"].tolist()
    groups = [index // 4 for index in range(len(scores))]
    expected = TUNIX.fixture[f"advantages/{name}"]
    return _largest(np.asarray(TUNIX_ADVANTAGES[name](scores, groups)), expected)


def _difference(case: Case, name: str, value: Array, slopes: Array) -> Difference:
    return Difference(
        loss=_largest(value, case.fixture[f"{name}/loss"]),
        gradient=_largest(slopes, case.fixture[f"{name}/grad"]),
    )


def _largest(actual: Any, expected: np.ndarray) -> float:
    """Of the same shape, else nothing was compared; NaN where either is."""
    found = np.asarray(actual, np.float64)
    if found.shape != expected.shape:
        msg = f"compared arrays of shapes {found.shape} and {expected.shape}"
        raise ValueError(msg)
    return float(np.abs(found - expected).max())
