"""Write tunix's losses and gradients, as fixtures that the tests compare clawjax with.

Pins what clawjax does not, so it has an environment of its own:

    python -m venv /tmp/parity_tunix
    /tmp/parity_tunix/bin/pip install google-tunix==0.1.7
    /tmp/parity_tunix/bin/python benchmarks/parity/make_tunix_loss_fixtures.py \
        --out tests/learner/data

Written: `tunix_losses.npz`. tunix's own `grpo_loss_fn`, `dpo_loss_fn`, `_default_loss_fn` (SFT) and
advantage estimators run on a model whose parameters are its logits `[B, T, V]`, so a gradient is
that with respect to all logits. One thing is not tunix's: its weights against the sampler are
computed inside a learner, so the same lines stand in `sampler_weights` here.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tunix.rl import algo_core, common
from tunix.sft import peft_trainer
from tunix.sft.dpo import dpo_trainer

SEED = 13
VOCABULARY = 12
PROMPT = 2
LENGTHS = [5, 1, 3, 4, 5, 2]
"""Response tokens of each turn; the first half are the chosen replies of DPO's pairs."""
WIDTH = max(LENGTHS)
SETTINGS = {
    "clip_low": 0.2,
    "clip_high": 0.28,
    "gspo_clip_low": 0.05,
    "gspo_clip_high": 0.08,
    "dual_clip": 1.3,
    "kl_coef": 0.3,
    "weight_cap": 1.2,
    "dpo_beta": 0.2,
    "dpo_label_smoothing": 0.1,
}
KL_MODES = {"k1": "kl", "k2": "mse_kl", "k3": "low_var_kl"}


class Logits(nnx.Module):
    """A model that says the same to everything: what its parameter holds."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = nnx.Param(jnp.asarray(logits))

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[jax.Array, None]:
        """The logits, and no cache."""
        return self.logits[...], None


@dataclasses.dataclass
class Algorithm:
    """What `grpo_loss_fn` reads of a configuration."""

    beta: float = 0.0
    epsilon: float = SETTINGS["clip_low"]
    epsilon_high: float = SETTINGS["clip_high"]
    epsilon_c: float | None = None
    loss_algo: str = "grpo"
    loss_agg_mode: str = "sequence-mean-token-mean"
    temperature: float = 1.0
    kl_loss_mode: str = "low_var_kl"
    kl_clamp_value: float | None = None


def main() -> None:
    """Write the fixture."""
    parser = argparse.ArgumentParser(description="Write loss fixtures for the tests.")
    parser.add_argument("--out", type=Path, required=True, help="e.g. tests/learner/data")
    out = parser.parse_args().out
    batch = make_batch()
    fixture: dict[str, Any] = dict(batch)
    for name, changes in grpo_cases().items():
        record(fixture, name, grpo_loss(batch, **changes))
    record(fixture, "dpo", dpo_loss(batch, label_smoothing=0.0))
    smoothing = SETTINGS["dpo_label_smoothing"]
    record(fixture, "dpo_smoothed", dpo_loss(batch, label_smoothing=smoothing))
    record(fixture, "sft", sft_loss(batch))
    fixture |= advantages()
    fixture |= {name: np.float32(value) for name, value in SETTINGS.items()}
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "tunix_losses.npz", **fixture)
    for name in sorted(name for name in fixture if name.endswith("/loss")):
        print(f"{name:24} {fixture[name]: .6f}")


def make_batch() -> dict[str, np.ndarray]:
    """Random turns, padded on the right, with log-probs of other policies around the model's."""
    rng = np.random.default_rng(SEED)
    shape = (len(LENGTHS), PROMPT + WIDTH)
    token_ids = rng.integers(1, VOCABULARY, shape).astype(np.int32)
    mask = np.arange(WIDTH) < np.array(LENGTHS)[:, None]
    token_ids[:, PROMPT:][~mask] = 0
    logits = rng.normal(0, 2, (*shape, VOCABULARY)).astype(np.float32)
    logprobs = np.asarray(jax.nn.log_softmax(logits))
    new = np.take_along_axis(logprobs[:, PROMPT - 1 : -1], token_ids[:, PROMPT:, None], axis=-1)[
        ..., 0
    ]

    def nearby(center: np.ndarray, spread: float) -> np.ndarray:
        return np.where(mask, center + rng.normal(0, spread, new.shape), 0).astype(np.float32)

    old = nearby(new, 0.6)
    return {
        "token_ids": token_ids,
        "logits": logits,
        "mask": mask,
        "old": old,
        "base": nearby(new, 0.5),
        "sampler": nearby(old, 0.3),
        "advantages": np.array([1.2, -0.7, -1.1, 0.4, -1.5, 0.9], np.float32),
    }


def record(fixture: dict[str, Any], name: str, loss: Callable[[Logits], jax.Array]) -> None:
    """Keep a loss and its gradient."""
    value, gradient = nnx.value_and_grad(loss)(Logits(fixture["logits"]))
    fixture[f"{name}/loss"] = np.asarray(value)
    fixture[f"{name}/grad"] = np.asarray(gradient["logits"][...])


def grpo_cases() -> dict[str, dict[str, Any]]:
    """What each case changes."""
    gspo = {
        "loss_algo": "gspo-token",
        "epsilon": SETTINGS["gspo_clip_low"],
        "epsilon_high": SETTINGS["gspo_clip_high"],
    }
    kls = {
        name: {"beta": SETTINGS["kl_coef"], "kl_loss_mode": mode} for name, mode in KL_MODES.items()
    }
    return kls | {
        "grpo": {},
        "token_mean": {"loss_agg_mode": "token-mean"},
        "constant": {"loss_agg_mode": "sequence-mean-token-scale"},
        "dual_clip": {"epsilon_c": SETTINGS["dual_clip"]},
        "gspo": gspo,
        "on_policy": {"is_on_policy": True},
        "decoupled": {"is_weighted": True},
    }


def grpo_loss(
    batch: dict[str, np.ndarray],
    *,
    is_on_policy: bool = False,
    is_weighted: bool = False,
    **changes: Any,
) -> Callable[[Logits], jax.Array]:
    """`algo_core.grpo_loss_fn`."""
    example = common.TrainExample(
        prompt_ids=batch["token_ids"][:, :PROMPT],
        prompt_mask=np.ones((len(LENGTHS), PROMPT), bool),
        completion_ids=batch["token_ids"][:, PROMPT:],
        completion_mask=jnp.asarray(batch["mask"], jnp.int32),
        advantages=jnp.asarray(batch["advantages"]),
        ref_per_token_logps=jnp.asarray(batch["base"]),
        old_per_token_logps=None if is_on_policy else jnp.asarray(batch["old"]),
        sampler_is_weights=sampler_weights(batch) if is_weighted else None,
    )
    algorithm = Algorithm(**changes)
    return lambda model: algo_core.grpo_loss_fn(model, example, algorithm, pad_id=0, eos_id=1)[0]


def sampler_weights(batch: dict[str, np.ndarray]) -> jax.Array:
    """As in `tunix.rl.agentic.agentic_grpo_learner`."""
    log_ratio = jnp.clip(batch["old"] - batch["sampler"], min=-20.0, max=20.0)
    return jnp.minimum(jnp.exp(log_ratio), SETTINGS["weight_cap"]) * batch["mask"]


def dpo_loss(
    batch: dict[str, np.ndarray], *, label_smoothing: float
) -> Callable[[Logits], jax.Array]:
    """`dpo_trainer.dpo_loss_fn`: the first half of the turns chosen over the second."""
    chosen, rejected = np.split(batch["base"].sum(axis=1), 2)
    example = dpo_trainer.TrainExample(
        input_ids=jnp.asarray(batch["token_ids"]),
        positions=jnp.zeros_like(batch["token_ids"]),
        attention_mask=jnp.ones((1,)),
        ref_chosen_logps=jnp.asarray(chosen),
        ref_rejected_logps=jnp.asarray(rejected),
        completion_mask=jnp.asarray(batch["mask"], jnp.int32),
        logits_to_keep=WIDTH,
    )
    settings = {"beta": SETTINGS["dpo_beta"], "label_smoothing": label_smoothing}
    return lambda model: dpo_trainer.dpo_loss_fn(model, example, **settings)[0]


def sft_loss(batch: dict[str, np.ndarray]) -> Callable[[Logits], jax.Array]:
    """The default loss of `PeftTrainer`."""
    mask = np.concatenate([np.zeros((len(LENGTHS), PROMPT), bool), batch["mask"]], axis=1)
    token_ids = jnp.asarray(batch["token_ids"])
    return lambda model: peft_trainer._default_loss_fn(
        model, token_ids, jnp.asarray(mask), jnp.zeros_like(token_ids), jnp.ones((1,))
    )


def advantages() -> dict[str, np.ndarray]:
    """Of three groups of four scores."""
    scores = np.random.default_rng(SEED).normal(size=12).astype(np.float32)
    return {
        "scores": scores,
        "advantages/grpo": np.asarray(algo_core.compute_advantages(scores, 4)),
        "advantages/rloo": np.asarray(algo_core.compute_rloo_advantages(jnp.asarray(scores), 4)),
        "advantages/dr_grpo": np.asarray(algo_core.compute_drgrpo_advantages(scores, 4)),
    }


if __name__ == "__main__":
    main()
