"""The learner's memory on each of its devices, as `clawjax.learner.step` keeps it."""

from __future__ import annotations

import dataclasses

from clawjax.config import ComputeDtype, ObjectiveConfig, RunConfig, Teacher
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.plan.activations import (
    attention_bytes,
    is_fused,
    itemsize,
    kept_bytes,
    logits_bytes,
    mask_bytes,
    rows_per_device,
    working_bytes,
)
from clawjax.plan.division import WHOLE, Division, adapter_size, model_size
from clawjax.plan.placement import learner_division
from clawjax.plan.practice import bound_parts, practice_parts
from clawjax.plan.records import Part, Share

__all__ = ["base_bytes", "learner_share", "optimizer_bytes", "trained_size"]

_FLOAT, _HALF = 4, 2


def learner_share(arch: Architecture, config: RunConfig) -> Share:
    """Weights, optimiser, gradients and what a micro-batch takes, in bytes per device.

    - The base model: what a KL or a teacher is measured against, and what an adapter adds to.
      It is in the precision of products where it is only read, else in fp32.
    - What is trained: an adapter, or a second copy of all weights.
    - Adam's two moments of every trained parameter (Kingma & Ba 2014, arXiv:1412.6980), fp32.
    - Two gradients: the sum over micro-batches and the newest one; where all weights are trained,
      that of the output head once more, for it is summed over chunks of positions.
    - What a bound on updates and practice add (`clawjax.plan.practice`).
    - Where products are in 16 bits, what is trained once more in these: XLA takes the cast of all
      layers out of the loop over them.
    - Where weights are divided over `fsdp`, two layers' and a table's, gathered for use, and of all
      weights that are trained, a layer's and a table's gradient before they are divided again.
    - Activations (`clawjax.plan.activations`) of the length bucket that takes the most.
    """
    learner, division = config.learner, learner_division(config)
    lora = learner.lora if learner.method == "lora" else None
    trained = trained_size(arch, config, division)
    head = 0 if lora else -(-arch.vocab_size // division.tensor) * arch.hidden_size
    parts = [
        Part("base weights", base_bytes(arch, config, division), "model.path"),
        Part("trained weights", _FLOAT * trained, "learner.method"),
        Part("optimizer state", optimizer_bytes(trained, learner.warmup_steps), "learner.method"),
        Part("gradients", _FLOAT * (2 * trained + head), "learner.method"),
    ]
    if _is_half(config):
        parts.append(Part("trained in 16 bits", _HALF * trained, "learner.compute_dtype"))
    if _keeps_average(config.objective):
        parts.append(Part("teacher's average", _FLOAT * trained, "objective.opd.teacher"))
    parts += bound_parts(config, trained)
    parts += practice_parts(arch, config)
    if division.fsdp > 1:
        parts.append(Part("gathered weights", _gathered(arch, config, division), "model.path"))
    batch, bucket = "learner.micro_batch_tokens", "learner.length_buckets"
    kept, scores, working = _activations(arch, config, division)
    parts += [
        Part("activations kept", kept, batch),
        Part("a layer at work", working, batch),
        Part("attention scores", scores, bucket),
        Part("logits chunk", logits_bytes(arch, division), "model.path"),
    ]
    return Share("learner", division.devices, tuple(parts))


def base_bytes(arch: Architecture, config: RunConfig, division: Division = WHOLE) -> int:
    """The base as `clawjax.learner.step` keeps it on one device; norms are in fp32 always."""
    if config.learner.method == "full" or not _is_half(config):
        return _FLOAT * model_size(arch, division)
    norms = sum(leaf.shape[0] for leaf in leaves(arch) if "norm" in leaf.path[-2])
    return _HALF * (model_size(arch, division) - norms) + _FLOAT * norms


def trained_size(arch: Architecture, config: RunConfig, division: Division = WHOLE) -> int:
    """Parameters that a step changes, on one device."""
    if config.learner.method == "lora":
        return adapter_size(arch, config.learner.lora, division)
    return model_size(arch, division)


def optimizer_bytes(trained: int, warmup_steps: int) -> int:
    """AdamW's state as optax keeps it: two moments, a count, and the schedule's count if any."""
    return 2 * _FLOAT * trained + _FLOAT * (1 + (warmup_steps > 0))


def _gathered(arch: Architecture, config: RunConfig, division: Division) -> int:
    """Bytes of layers and a table, divided over `tensor` alone; the next layer's come early."""
    whole = Division(tensor=division.tensor)
    empty = dataclasses.replace(arch, num_layers=0, is_tied=True)
    table = model_size(empty, whole)
    layer = model_size(dataclasses.replace(empty, num_layers=1), whole) - table
    weights = (2 * layer + table) * (_HALF if _is_half(config) else _FLOAT)
    if config.learner.method == "lora":
        return weights
    return weights + _FLOAT * (layer + (0 if arch.is_tied else table))  # the head's is counted


def _is_half(config: RunConfig) -> bool:
    return config.learner.compute_dtype is ComputeDtype.bfloat16


def _activations(arch: Architecture, config: RunConfig, division: Division) -> tuple[int, int, int]:
    """What is kept, attention's scores or mask, and the layer at work, where all are the most."""
    learner, kind = config.learner, config.hardware.kind
    lora = learner.lora if learner.method == "lora" else None
    found = []
    for length in learner.length_buckets:
        rows = rows_per_device(learner.micro_batch_tokens, length, division)
        size, tokens = itemsize(learner, kind), rows * length
        kept = kept_bytes(arch, lora, tokens, division, itemsize=size, remat=learner.remat)
        working = working_bytes(arch, lora, tokens, division, itemsize=size)
        scores = mask_bytes(rows, length) if kind == "gpu" else 0
        if not is_fused(learner, arch, kind):
            scores = attention_bytes(arch, rows, length, division, remat=learner.remat)
        found.append((kept, scores, working))
    return max(found, key=sum)


def _keeps_average(objective: ObjectiveConfig) -> bool:
    return objective.uses_teacher and objective.opd.teacher is Teacher.ema
