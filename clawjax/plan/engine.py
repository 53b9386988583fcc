"""The engine's memory on each of its devices: the embedded one's, or SGLang servers'."""

from __future__ import annotations

from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.plan.division import model_size
from clawjax.plan.records import Part, Share

__all__ = ["EnginePlan", "cache_token_bytes", "plan_engine", "served_bytes"]

_FLOAT = 4
_LOGITS = 3
"""Arrays of the size of all slots' logits while tokens are drawn."""


class EnginePlan(NamedTuple):
    """What one device holds, and what all of them do with it."""

    share: Share
    cache_tokens: int
    """Over all servers."""


def plan_engine(arch: Architecture, config: RunConfig) -> EnginePlan:
    """Bytes per device and tokens in the cache, of the engine that is configured."""
    return _embedded(arch, config)


def cache_token_bytes(arch: Architecture, itemsize: int) -> int:
    """Keys and values of one token in all layers: `2 layers kv_heads head_dim` numbers."""
    return 2 * arch.num_layers * arch.num_kv_heads * arch.head_dim * itemsize


def served_bytes(arch: Architecture, dtype: str) -> int:
    """Weights as the embedded engine serves them: matrices in `dtype`, vectors in fp32."""
    itemsize = 2 if dtype == "bfloat16" else _FLOAT
    vectors = sum(leaf.shape[0] for leaf in leaves(arch) if len(leaf.shape) == 1)
    return itemsize * (model_size(arch) - vectors) + _FLOAT * vectors


def _embedded(arch: Architecture, config: RunConfig) -> EnginePlan:
    """One device holds everything.

    Base weights stay, for adapters are merged into them; while a version is adopted, the newest
    and the one before it are both there.
    """
    engine, dtype = config.engine, "engine.weights_dtype"
    served = served_bytes(arch, engine.weights_dtype)
    rows = engine.slots + engine.kept_prefixes
    chunk = min(engine.prefill_chunk, config.model.context_length)
    capacity = -(-config.model.context_length // chunk) * chunk
    cache = rows * capacity * cache_token_bytes(arch, _FLOAT)
    parts = (
        Part("base weights", _FLOAT * model_size(arch), "model.path"),
        Part("served weights", served, dtype),
        Part("incoming weights", served, dtype),
        Part("KV cache", cache, "engine.slots"),
        Part("logits", _LOGITS * _FLOAT * engine.slots * arch.vocab_size, "engine.slots"),
    )
    return EnginePlan(Share("engine", 1, parts), rows * capacity)
