"""A training step over shapes instead of arrays: what it would hold, without holding it."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from clawjax.config import LearnerConfig, ObjectiveConfig
from clawjax.learner import diagnostics
from clawjax.learner.batching import MicroBatch
from clawjax.learner.step import TrainStep, _Totals
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.models.load import LoadedModel


class AbstractStep(NamedTuple):
    step: TrainStep
    base: Any
    state: Any

    def temporary_bytes(self, rows: int, length: int) -> int:
        """What XLA says the gradient of a micro-batch takes besides arguments and results."""
        totals = jax.eval_shape(
            lambda weights: _Totals(jax.tree.map(jnp.zeros_like, weights), diagnostics.zeros()),
            self.state.trainable,
        )
        lowered = self.step._accumulate.lower(
            self.state.trainable,
            self.base,
            totals=totals,
            micro=micro_batch(rows, length),
            proximal=None,
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes


def abstract_step(arch: Architecture, learner: LearnerConfig) -> AbstractStep:
    made = []

    def build(params):
        model = LoadedModel("model", "base", "a/model", arch, params, None, 64)
        step = TrainStep(
            model, objective=ObjectiveConfig(), learner=learner, failed_dir=Path("unused")
        )
        made.append(step)
        return step._base_params, step.init(0)

    base, state = jax.eval_shape(build, shapes(arch))
    return AbstractStep(made[0], base, state)


def shapes(arch: Architecture) -> Any:
    tree: dict[str, Any] = {}
    for leaf in leaves(arch):
        node = tree
        for key in leaf.path[:-1]:
            node = node.setdefault(key, {})
        shape = leaf.shape[::-1] if leaf.is_kernel else leaf.shape
        node[leaf.path[-1]] = jax.ShapeDtypeStruct(shape, jnp.float32)
    return tree


def micro_batch(rows: int, length: int) -> MicroBatch:
    kinds = {"token_ids": np.int32, "segment_ids": np.int32, "positions": np.int32}
    kinds |= {"turn_ids": np.int32, "support_ids": np.int32, "staleness": np.int32}
    kinds |= {"response_mask": np.bool_, "is_comparable": np.bool_, "is_truncated": np.bool_}
    return MicroBatch(
        **{
            name: jax.ShapeDtypeStruct(
                (rows, length, 0) if name.startswith("support") else (rows, length),
                kinds.get(name, np.float32),
            )
            for name in MicroBatch._fields
        }
    )


def size_of(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
