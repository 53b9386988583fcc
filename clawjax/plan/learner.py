"""The learner's memory on each of its devices, as `clawjax.learner.step` keeps it."""

from __future__ import annotations

import dataclasses

from clawjax.config import ObjectiveConfig, RunConfig, Teacher
from clawjax.models.architecture import Architecture
from clawjax.plan.activations import (
    attention_bytes,
    is_fused,
    itemsize,
    kept_bytes,
    logits_bytes,
    rows_per_device,
)
from clawjax.plan.division import WHOLE, Division, adapter_size, model_size
from clawjax.plan.placement import learner_division
from clawjax.plan.practice import bound_parts, practice_parts
from clawjax.plan.records import Part, Share

__all__ = ["learner_share", "optimizer_bytes", "trained_size"]

_FLOAT = 4


def learner_share(arch: Architecture, config: RunConfig) -> Share:
    """Weights, optimiser, gradients and what a micro-batch takes, in bytes per device.

    - The base model, fp32: what a KL or a teacher is measured against, and what an adapter adds to.
    - What is trained: an adapter, or a second copy of all weights.
    - Adam's two moments of every trained parameter (Kingma & Ba 2014, arXiv:1412.6980), fp32.
    - Two gradients: the sum over micro-batches and the newest one; where all weights are trained,
      that of the output head once more, for it is summed over chunks of positions.
    - What a bound on updates and practice add (`clawjax.plan.practice`).
    - Where weights are divided over `fsdp`, one layer's and the tables', gathered for use.
    - Activations (`clawjax.plan.activations`) of the length bucket that takes the most.
    """
    learner, division = config.learner, learner_division(config)
    lora = learner.lora if learner.method == "lora" else None
    trained = trained_size(arch, config, division)
    head = 0 if lora else -(-arch.vocab_size // division.tensor) * arch.hidden_size
    parts = [
        Part("base weights", _FLOAT * model_size(arch, division), "model.path"),
        Part("trained weights", _FLOAT * trained, "learner.method"),
        Part("optimizer state", optimizer_bytes(trained, learner.warmup_steps), "learner.method"),
        Part("gradients", _FLOAT * (2 * trained + head), "learner.method"),
    ]
    if _keeps_average(config.objective):
        parts.append(Part("teacher's average", _FLOAT * trained, "objective.opd.teacher"))
    parts += bound_parts(config, trained)
    parts += practice_parts(arch, config)
    if division.fsdp > 1:
        gathered = _FLOAT * _gathered(arch, division)
        parts.append(Part("gathered weights", gathered, "model.path"))
    batch, bucket = "learner.micro_batch_tokens", "learner.length_buckets"
    kept, scores = _activations(arch, config, division)
    parts += [
        Part("activations kept", kept, batch),
        Part("attention scores", scores, bucket),
        Part("logits chunk", logits_bytes(arch, division), "model.path"),
    ]
    return Share("learner", division.devices, tuple(parts))


def trained_size(arch: Architecture, config: RunConfig, division: Division = WHOLE) -> int:
    """Parameters that a step changes, on one device."""
    if config.learner.method == "lora":
        return adapter_size(arch, config.learner.lora, division)
    return model_size(arch, division)


def optimizer_bytes(trained: int, warmup_steps: int) -> int:
    """AdamW's state as optax keeps it: two moments, a count, and the schedule's count if any."""
    return 2 * _FLOAT * trained + _FLOAT * (1 + (warmup_steps > 0))


def _gathered(arch: Architecture, division: Division) -> int:
    """Parameters of a layer and of the tables, divided over `tensor` alone."""
    one_layer = dataclasses.replace(arch, num_layers=1)
    return model_size(one_layer, Division(tensor=division.tensor))


def _activations(arch: Architecture, config: RunConfig, division: Division) -> tuple[int, int]:
    """What is kept, and attention's scores, of the bucket where both together are the most."""
    learner = config.learner
    lora = learner.lora if learner.method == "lora" else None
    found = []
    for length in learner.length_buckets:
        rows = rows_per_device(learner.micro_batch_tokens, length, division)
        kept = kept_bytes(
            arch,
            lora,
            rows * length,
            division,
            itemsize=itemsize(learner, config.hardware.kind),
            remat=learner.remat,
        )
        scores = 0
        if not is_fused(learner, arch, config.hardware.kind):
            scores = attention_bytes(arch, rows, length, division, remat=learner.remat)
        found.append((kept, scores))
    return max(found, key=sum)


def _keeps_average(objective: ObjectiveConfig) -> bool:
    return objective.uses_teacher and objective.opd.teacher is Teacher.ema
