"""Our learner's step as benchmarks drive it: `make_batch`, then `TrainStep.run`, as shipped.

Every token has the same advantage, so that the first step's gradient is that of supervised
fine-tuning, which peers can be asked for too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from _training import Turn

from clawjax.config import LearnerConfig, Normalisation, ObjectiveConfig
from clawjax.learner.batching import make_batch
from clawjax.learner.scoring import Scorer
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel
from clawjax.records import Sample

__all__ = ["Learning", "Step", "as_sample", "with_layers"]

_OBJECTIVE = ObjectiveConfig(kl_coef=0.0, normalisation=Normalisation.token_mean)
_ADVANTAGE = 1.0


class Step(NamedTuple):
    """One optimiser step."""

    seconds: float
    gradient_norm: float
    """Before clipping."""
    computed_tokens: float
    """With padding."""


class Learning:
    """A model in training."""

    def __init__(self, model: LoadedModel, config: LearnerConfig) -> None:
        """Start at the model itself; nothing is compiled yet."""
        self._config = config
        self._train_step = TrainStep(
            model,
            objective=_OBJECTIVE,
            learner=config,
            failed_dir=Path(tempfile.gettempdir()) / "clawjax_failed_batches",
        )
        self._state = self._train_step.init(0)
        self._scorer = Scorer(config)
        self._samples: list[Sample] = []

    def prepare(self, turns: Sequence[Turn]) -> float:
        """Take these turns as just sampled; their mean negative log-likelihood per reply token."""
        samples = [
            as_sample(index, turn, version=self._version) for index, turn in enumerate(turns)
        ]
        scored = self._scorer.score(self._train_step.policy(self._state), samples)
        self._samples = [
            replace(sample, sampler_logprobs=tuple(says.logprobs.tolist()))
            for sample, says in zip(samples, scored, strict=True)
        ]
        total = sum(float(says.logprobs.sum()) for says in scored)
        return -total / sum(len(sample.response_ids) for sample in samples)

    def train(self) -> Step:
        """One optimiser step on what was prepared."""
        started = time.perf_counter()
        batch = make_batch(
            self._samples,
            version=self._version,
            length_buckets=self._config.length_buckets,
            micro_batch_tokens=self._config.micro_batch_tokens,
            is_packed=self._config.is_packed,
            normalisation=_OBJECTIVE.normalisation,
        )
        self._state, metrics = self._train_step.run(self._state, [batch])
        seconds = time.perf_counter() - started
        return Step(seconds, metrics["train/grad_norm"], metrics["train/computed_tokens"])

    @property
    def _version(self) -> int:
        return int(self._state.step)


def with_layers(model: LoadedModel, count: int) -> LoadedModel:
    """The model's first layers alone: as fast as a model of so many, and no longer a good one."""
    dropped = {f"layers_{index}" for index in range(count, model.architecture.num_layers)}
    return replace(
        model,
        architecture=replace(model.architecture, num_layers=count),
        params={name: value for name, value in model.params.items() if name not in dropped},
    )


def as_sample(index: int, turn: Turn, *, version: int) -> Sample:
    """A turn that `version` sampled, with log-probs still to be filled in."""
    prompt, response = turn
    count = len(response)
    return Sample(
        turn_id=f"turn{index}",
        prompt_ids=tuple(prompt),
        response_ids=tuple(response),
        sampler_logprobs=(0.0,) * count,
        token_versions=(version,) * count,
        temperature=1.0,
        credit=(_ADVANTAGE,) * count,
    )
