"""From a step's samples to the batches that it consumes, one per optimiser step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from clawjax.config import LearnerConfig, ObjectiveConfig
from clawjax.learner.batching import Batch, evenly, make_batch
from clawjax.records import Sample

__all__ = ["mini_batches"]


def mini_batches(
    samples: Sequence[Sample],
    *,
    learner: LearnerConfig,
    objective: ObjectiveConfig,
    age: Callable[[int], int],
    version: int,
) -> list[Batch]:
    """As many as `learner.mini_batch_turns` says, in the order of the samples.

    Args:
        samples: with credit, a teacher, or both.
        learner: shapes and sizes.
        objective: what turns and tokens weigh.
        age: steps between a version and the policy now.
        version: of the policy now.

    Raises:
        LearnerError: a sample is longer than the longest of `learner.length_buckets`.
    """
    return [
        make_batch(
            [_aged(sample, age, version) for sample in part],
            version=version,
            length_buckets=learner.length_buckets,
            micro_batch_tokens=learner.micro_batch_tokens,
            is_packed=learner.is_packed,
            normalisation=objective.normalisation,
            constant_tokens=objective.constant_tokens,
            support=objective.opd.support_size if objective.uses_teacher else 0,
        )
        for part in evenly(samples, learner.mini_batch_turns or len(samples))
    ]


def _aged(sample: Sample, age: Callable[[int], int], version: int) -> Sample:
    """The sample as if no version had been given up: its versions are `age` below `version`."""
    versions = tuple(version - age(sampled) for sampled in sample.token_versions)
    return replace(sample, token_versions=versions)
