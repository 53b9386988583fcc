"""The engine's memory on each of its devices: the embedded one's, or SGLang servers'."""

from __future__ import annotations

from typing import NamedTuple

from clawjax.config import RunConfig
from clawjax.models.architecture import Architecture
from clawjax.models.layout import leaves
from clawjax.plan.division import Division, adapter_size, model_size
from clawjax.plan.placement import servers_of
from clawjax.plan.records import GIB, Part, Share

__all__ = [
    "EnginePlan",
    "cache_bytes",
    "cache_token_bytes",
    "delivered_bytes",
    "plan_engine",
    "served_bytes",
]

_FLOAT, _HALF = 4, 2
_ADAPTERS = 8
"""That a server has memory for: SGLang's `--max-loras-per-batch`."""
_LOGITS = 3
"""Arrays of the size of all slots' logits while tokens are drawn."""


class EnginePlan(NamedTuple):
    """What one device holds, and what all of them do with it."""

    share: Share
    cache_tokens: int
    """Over all servers."""


def plan_engine(arch: Architecture, config: RunConfig) -> EnginePlan:
    """Bytes per device and tokens in the cache, of the engine that is configured."""
    return _embedded(arch, config) if config.engine.kind == "embedded" else _sglang(arch, config)


def cache_token_bytes(arch: Architecture, itemsize: int) -> int:
    """Keys and values of one token in all layers: `2 layers kv_heads head_dim` numbers."""
    return 2 * arch.num_layers * arch.num_kv_heads * arch.head_dim * itemsize


def cache_bytes(arch: Architecture, config: RunConfig) -> int:
    """The embedded engine's keys and values, in rows of whole chunks."""
    itemsize = _itemsize(config.engine.cache_dtype)
    return config.engine.cache_rows * _capacity(config) * cache_token_bytes(arch, itemsize)


def delivered_bytes(arch: Architecture, config: RunConfig) -> int:
    """What a server reads per version, headers aside.

    An adapter as it is where the engine takes adapters. Merged into the base model, it becomes a
    model of the base's number type, taken to be bfloat16; full weights are fp32, as trained.
    """
    if config.learner.method == "full":
        return _FLOAT * model_size(arch)
    launch, transport = config.engine.sglang.launch, config.engine.sglang.delivery.transport
    is_merged = config.engine.kind == "sglang" and (
        transport == "disk" or (transport == "auto" and launch.lora_rank == 0)
    )
    if is_merged:
        return _HALF * model_size(arch)
    return _FLOAT * adapter_size(arch, config.learner.lora)


def served_bytes(arch: Architecture, dtype: str) -> int:
    """Weights as the embedded engine serves them: matrices in `dtype`, vectors in fp32."""
    itemsize = _itemsize(dtype)
    vectors = sum(leaf.shape[0] for leaf in leaves(arch) if len(leaf.shape) == 1)
    return itemsize * (model_size(arch) - vectors) + _FLOAT * vectors


def _embedded(arch: Architecture, config: RunConfig) -> EnginePlan:
    """One device holds everything.

    Base weights stay, for adapters are merged into them; while a version is adopted, the newest
    and the one before it are both there, and where they are cast, what they are cast from.
    """
    engine, dtype = config.engine, "engine.weights_dtype"
    served = served_bytes(arch, engine.weights_dtype)
    parts = [
        Part("base weights", _FLOAT * model_size(arch), "model.path"),
        Part("served weights", served, dtype),
        Part("incoming weights", served, dtype),
        Part("KV cache", cache_bytes(arch, config), "engine.slots"),
        Part("logits", _LOGITS * _FLOAT * engine.slots * arch.vocab_size, "engine.slots"),
    ]
    if engine.weights_dtype != "float32":
        parts.insert(3, Part("incoming weights in fp32", _FLOAT * model_size(arch), dtype))
    return EnginePlan(Share("engine", 1, tuple(parts)), engine.cache_rows * _capacity(config))


def _itemsize(dtype: str) -> int:
    return _HALF if dtype == "bfloat16" else _FLOAT


def _capacity(config: RunConfig) -> int:
    """Positions of a row."""
    chunk = min(config.engine.prefill_chunk, config.model.context_length)
    return -(-config.model.context_length // chunk) * chunk


def _sglang(arch: Architecture, config: RunConfig) -> EnginePlan:
    """A server takes its share of memory at its start: weights, and the rest for the cache.

    `--mem-fraction-static` is that share
    (https://docs.sglang.ai/advanced_features/server_arguments.html). Number type bfloat16.
    Where the devices' memory is not said, the cache is planned for the slots at full length.
    """
    launch, hardware = config.engine.sglang.launch, config.hardware
    servers = servers_of(config)
    division = Division(tensor=servers.tensor)
    weights = _HALF * model_size(arch, division)
    parts = [Part("served weights", weights, "model.path")]
    if any(word.endswith("sglang_jax.py") for word in launch.command):
        parts.append(Part("incoming weights", weights, "model.path"))
    if launch.lora_rank:
        size = _ADAPTERS * _HALF * adapter_size(arch, config.learner.lora, division)
        parts.append(Part("adapters", size, "engine.sglang.launch.lora_rank"))
    token = -(-cache_token_bytes(arch, _HALF) // min(servers.tensor, arch.num_kv_heads))
    slots = -(-config.engine.slots // servers.copies)
    cache, key = slots * config.model.context_length * token, "engine.slots"
    if hardware.memory_gib is not None:
        key = "engine.sglang.launch.memory_fraction"
        fraction = launch.memory_fraction or hardware.usable
        taken = sum(part.size for part in parts)
        room = int(fraction * hardware.memory_gib * GIB) - taken
        cache = max(room, config.model.context_length * token)  # one reply has to fit
    parts.append(Part("KV cache", cache, key))
    share = Share("engine", servers.devices, tuple(parts))
    return EnginePlan(share, servers.copies * (cache // token))
