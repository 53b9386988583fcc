"""What practice and a bound on updates add to the learner's memory.

The formulas follow `clawjax.learner.build` and `clawjax.learner.sampler`: practice draws replies in
the learner's process, with the model as it was loaded, a cache of its own, and weights into which
the adapter is merged. Practice is on one device (`RunConfig` refuses it on a mesh).
"""

from __future__ import annotations

import dataclasses

from clawjax.config import ComputeDtype, RunConfig
from clawjax.models.architecture import Architecture
from clawjax.plan.division import model_size
from clawjax.plan.engine import cache_bytes
from clawjax.plan.records import Part

__all__ = ["MOST_AT_ONCE", "bound_parts", "practice_parts"]

_FLOAT = 4
MOST_AT_ONCE = 32
"""Answers that are written side by side (`clawjax.learner.build`)."""


def practice_parts(arch: Architecture, config: RunConfig) -> tuple[Part, ...]:
    """None without practice.

    - The layers as they were loaded, beside those that are stacked for training; tables are shared
      unless they are cast.
    - Keys and values of all answers at once, fp32, kept between rounds.
    - While a round draws, the policy's weights as an engine takes them.
    """
    if config.objective.practice.rounds == 0:
        return ()
    practice, engine = config.objective.practice, config.engine
    answers = min(practice.prompts * practice.samples, MOST_AT_ONCE)
    drawing = dataclasses.replace(engine, slots=max(engine.slots, answers), kept_prefixes=0)
    cache = cache_bytes(arch, dataclasses.replace(config, engine=drawing))
    key = "objective.practice.rounds"
    return (
        Part("loaded weights", _FLOAT * _unshared(arch, config), key),
        Part("KV cache", cache, "model.context_length"),
        Part("weights that draw", _FLOAT * model_size(arch), key),
    )


def bound_parts(config: RunConfig, trained: int) -> tuple[Part, ...]:
    """Trained weights as they were before a step, while the step may be shortened.

    Points between these and the step's end are tried when its gradients are gone, at most two at a
    time, in the room that these had.
    """
    is_bounded = config.learner.drift.max_step_reply_kl is not None
    if not is_bounded and config.objective.practice.rounds == 0:
        return ()
    key = "learner.drift.max_step_reply_kl" if is_bounded else "objective.practice.rounds"
    return (Part("former weights", _FLOAT * trained, key),)


def _unshared(arch: Architecture, config: RunConfig) -> int:
    """Parameters of the layers, and of tables where training has its own."""
    learner = config.learner
    if learner.method == "lora" and learner.compute_dtype is ComputeDtype.bfloat16:
        return model_size(arch) - arch.hidden_size  # the last norm is in fp32 for both
    return model_size(arch) - model_size(dataclasses.replace(arch, num_layers=0))
