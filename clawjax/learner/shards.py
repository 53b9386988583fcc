"""Batches on a mesh: rows that divide evenly, and scores computed by every device of its own rows.

Invariant: rows added are padding, which no result can tell from rows that were never there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from clawjax.learner.batching import Batch, MicroBatch
from clawjax.learner.logprobs import chunks_of
from clawjax.models.sharding import ROWS

__all__ = ["by_shard", "even_rows"]


def even_rows(batch: Batch, shards: int) -> Batch:
    """The batch, with empty rows added until `shards` divides the rows of every micro-batch."""
    return batch._replace(
        micro_batches=tuple(_even(micro, shards) for micro in batch.micro_batches)
    )


def _even(micro: MicroBatch, shards: int) -> MicroBatch:
    missing = -len(micro.token_ids) % shards
    if not missing:
        return micro
    padding = {name: 1 if name == "temperature" else 0 for name in MicroBatch._fields}
    return MicroBatch(
        **{
            name: np.pad(
                getattr(micro, name),
                [(0, missing)] + [(0, 0)] * (getattr(micro, name).ndim - 1),
                constant_values=value,
            )
            for name, value in padding.items()
        }
    )


def by_shard(function: Callable[..., Any], shards: int, response_mask: Array, *rows: Array) -> Any:
    """`function(chunks, response_mask, *rows)` of each shard's rows, the results joined.

    Response tokens are gathered into chunks before they are scored. Done for all rows at once,
    that would bring every token to every device.

    Args:
        function: maps arrays `[B / shards, T, ...]`, and how many chunks to compute, to a tree of
            arrays of the same leading axes.
        shards: into which B is divided.
        response_mask: `[B, T]`.
        rows: `[B, T, ...]`.
    """
    if shards == 1:
        return function(chunks_of(response_mask), response_mask, *rows)
    size = len(response_mask) // shards
    divided = [x.reshape(shards, size, *x.shape[1:]) for x in (response_mask, *rows)]
    # As many for all as the fullest one has: devices that share weights stay together.
    chunks = jnp.max(jax.vmap(chunks_of)(divided[0]))
    results = jax.vmap(lambda *parts: function(chunks, *parts), spmd_axis_name=ROWS)(*divided)
    return jax.tree.map(lambda x: x.reshape(shards * size, *x.shape[2:]), results)
