"""Batches, steps and losses of few turns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from clawjax.config import (
    LearnerConfig,
    LoraConfig,
    Normalisation,
    ObjectiveConfig,
)
from clawjax.learner.batching import Batch, make_batch
from clawjax.learner.diagnostics import Sums
from clawjax.learner.logprobs import TokenScores
from clawjax.learner.step import TrainStep
from clawjax.learner.terms import micro_loss
from clawjax.models.load import LoadedModel
from clawjax.records import Sample, TeacherSays

LORA = LoraConfig(rank=4, alpha=8.0)
OPD = ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, kl_coef=0.0)
BINARY = ObjectiveConfig(kl_coef=0.0)


def step_for(
    model: LoadedModel, folder: Path, objective: ObjectiveConfig, method: str = "lora"
) -> TrainStep:
    learner = LearnerConfig(
        method=method,
        lora=LORA,
        learning_rate=3e-3,
        max_tokens=32,
        length_buckets=[32],
        max_mismatch=10.0,  # the same samples serve for a second step
    )
    return TrainStep(model, objective=objective, learner=learner, failed_dir=folder)


def batch(
    samples: list[Sample],
    normalisation: Normalisation = Normalisation.turn_mean,
    *,
    support: int = 0,
) -> Batch:
    return make_batch(
        samples,
        version=0,
        length_buckets=[32],
        micro_batch_tokens=64,
        normalisation=normalisation,
        support=support,
    )


def taught(sample: Sample, gap: np.ndarray | float) -> Sample:
    """A teacher who thinks `gap` nats more of each token than the policy does."""
    says = np.asarray(sample.sampler_logprobs) + gap
    return dataclasses.replace(sample, teacher=TeacherSays(tuple(says.tolist())))


def scored(sample: Sample, advantage: float) -> Sample:
    return dataclasses.replace(sample, credit=(advantage,) * len(sample.response_ids))


class Loss:
    """`micro_loss` as a function of the new log-probs alone."""

    def __init__(self, turns: list[Sample], objective: ObjectiveConfig) -> None:
        micros = batch(turns, objective.normalisation).micro_batches
        self.micro = jax.tree.map(jnp.asarray, micros[0])
        self.objective = objective
        self.sampled = self.micro.sampler_logprobs

    def __call__(
        self, logprobs: jax.Array, base: jax.Array | None = None
    ) -> tuple[jax.Array, Sums]:
        new = TokenScores(logprobs, jnp.zeros_like(logprobs), jnp.zeros((*logprobs.shape, 0)))
        total, (sums, _) = micro_loss(new, base, self.micro, self.objective)
        return total, sums
