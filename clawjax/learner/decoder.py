"""The decoder as training runs it: one compiled layer, scanned over stacked weights.

`Transformer` lists its layers one by one, which is what decoding wants. For training, layers of the
same shape are stacked along a new first axis: compilation takes one layer's time, and the
optimiser and the checkpoint handle tens of arrays instead of hundreds. Invariant: same
numbers as `Transformer`, and `unstack(stack(params)) == params`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import qwix
from jax import Array
from jax.extend.core import Primitive

from clawjax.config import AttentionKernel, ComputeDtype, LearnerConfig, LoraConfig, Remat
from clawjax.models.architecture import Architecture
from clawjax.models.attention import choose_kernel, packed_attention
from clawjax.models.lora import with_lora
from clawjax.models.sharding import Placement
from clawjax.models.transformer import (
    DecoderLayer,
    Params,
    RMSNorm,
    Transformer,
)

__all__ = ["HEAD_KEYS", "Compute", "StackedDecoder", "stack", "unstack"]

HEAD_KEYS = frozenset({"embed_tokens", "lm_head"})
"""Parameters that the output head may read."""
_CHEAP_TERMS = 256
"""Products summing over no more than so many terms are computed again rather than kept."""
_LAYER = "layers_"
_STACK = "layers"


def stack(params: Params) -> Params:
    """`layers_0 ... layers_n` become one tree under `layers`, leaves `[n, ...]`."""
    stacked = {key: value for key, value in params.items() if not key.startswith(_LAYER)}
    count = len(params) - len(stacked)
    if count:
        layers = [params[f"{_LAYER}{index}"] for index in range(count)]
        stacked[_STACK] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


def unstack(stacked: Params) -> Params:
    """Undo `stack`; leaves may be on the device or the host and stay there."""
    params = {key: value for key, value in stacked.items() if key != _STACK}
    leaves = jax.tree.leaves(stacked.get(_STACK, {}))
    for index in range(leaves[0].shape[0] if leaves else 0):
        params[f"{_LAYER}{index}"] = jax.tree.map(lambda leaf, i=index: leaf[i], stacked[_STACK])
    return params


class Compute(NamedTuple):
    """How a decoder computes; it changes no result beyond rounding."""

    attention: AttentionKernel = AttentionKernel.xla
    """Any but `auto`."""
    dtype: ComputeDtype = ComputeDtype.float32
    remat: Remat = Remat.dots

    @classmethod
    def of(cls, config: LearnerConfig, architecture: Architecture) -> Compute:
        """As configured, on the platform that jax runs on.

        Raises:
            ConfigError: a kernel that does not run there.
        """
        platform = jax.default_backend()
        kernel = choose_kernel(config.attention, config.compute_dtype, architecture, platform)
        return cls(kernel, config.compute_dtype, config.remat)


class StackedDecoder:
    """Hidden states and logits of stacked parameters, with or without adapters in them."""

    def __init__(
        self,
        architecture: Architecture,
        lora: LoraConfig | None = None,
        *,
        placement: Placement | None = None,
        compute: Compute | None = None,
    ) -> None:
        """Describe the computation; with `lora`, apply it to `join(base, adapter)`."""
        self.placement = placement or Placement(architecture)
        self._compute = compute or Compute()
        adapters = None if lora is None else (lora.rank, lora.alpha, tuple(lora.targets))
        self._identity = (architecture, adapters, self.placement, self._compute)
        transformer, layer = Transformer(architecture), DecoderLayer(architecture)
        self._norm = RMSNorm(architecture.norm_eps)
        self._whole = transformer if lora is None else with_lora(transformer, lora)
        self._layer = layer if lora is None else _layer_with_lora(layer, lora)

    def __eq__(self, other: object) -> bool:
        """Equal decoders share compiled programs."""
        return isinstance(other, StackedDecoder) and self._identity == other._identity

    def __hash__(self) -> int:
        """See `__eq__`."""
        return hash(self._identity)

    def hidden(
        self, params: Params, token_ids: Array, positions: Array, segment_ids: Array
    ) -> Array:
        """Hidden states after the final norm, `[B, T, D]`, of packed sequences.

        Args:
            params: stacked.
            token_ids: `[B, T]`.
            positions: `[B, T]`, counted from 0 within each sequence.
            segment_ids: `[B, T]`; a token sees its own segment only, 0 is padding.

        What a layer keeps for its gradient are, by default, the results of its large matrix
        products; attention weights, `[B, H, T, T]`, and what is cheap are computed again.
        """
        layer = self._one(positions, segment_ids)
        if self._compute.remat is not Remat.none:
            policy = _is_kept if self._compute.remat is Remat.dots else None
            layer = jax.checkpoint(layer, policy=policy, prevent_cse=False)
        x, _ = jax.lax.scan(
            lambda x, weights: (layer(x, weights), None),
            self._embed(params, token_ids),
            params[_STACK],
        )
        return cast(Array, self._norm.apply({"params": params["norm"]}, x.astype(jnp.float32)))

    def states(
        self,
        params: Params,
        token_ids: Array,
        positions: Array,
        segment_ids: Array,
        after: Sequence[int],
    ) -> Array:
        """The states that leave the layers `after`, counted from 0: `[B, T, len(after), D]`.

        Arguments as of `hidden`. Not to be differentiated: nothing is computed again.
        """
        layer = self._one(positions, segment_ids)

        def keep(x: Array, weights: Params) -> tuple[Array, Array]:
            y = layer(x, weights)
            return y, y

        _, found = jax.lax.scan(keep, self._embed(params, token_ids), params[_STACK])
        return jnp.moveaxis(found[jnp.asarray(after)], 0, 2).astype(jnp.float32)

    def _one(self, positions: Array, segment_ids: Array) -> Callable[[Array, Params], Array]:
        """A layer, as a function of what enters it and of its weights."""
        attend = packed_attention(self._compute.attention, segment_ids, self.placement)

        def layer(x: Array, weights: Params) -> Array:
            params = self.placement.gathered(self.rounded(weights))
            y, _ = self._layer.apply({"params": params}, x, positions, attend, None)
            return self.placement.by_rows(cast(Array, y))

        return layer

    def _embed(self, params: Params, token_ids: Array) -> Array:
        """The first states; an id beyond the vocabulary gives NaN, which stops the run."""
        table = self.head(params)["embed_tokens"]["embedding"]
        x = jnp.take(table, token_ids, axis=0).astype(self._compute.dtype.value)
        return self.placement.by_rows(x)

    def head(self, params: Params) -> Params:
        """The part of stacked parameters that `logits` reads, gathered for use."""
        return self.placement.gathered({name: params[name] for name in HEAD_KEYS & set(params)})

    def logits(self, head_params: Params, hidden: Array) -> Array:
        """Scores over the vocabulary, fp32: `hidden` `[..., D]` by `head(params)` to `[..., V]`."""
        rounded = self.rounded(head_params)
        return cast(Array, self._whole.apply({"params": rounded}, hidden, method="logits"))

    def rounded(self, params: Params) -> Params:
        """Weights, stacked or not, in the precision of products; norms compute in fp32 and keep it.

        Nothing that a decoder computes changes when it is given these, and they may be kept so.
        """
        dtype = jnp.dtype(self._compute.dtype.value)

        def cast_leaf(path: Any, leaf: Array) -> Array:
            return leaf if "norm" in path[-2].key else leaf.astype(dtype)

        return jax.tree_util.tree_map_with_path(cast_leaf, params)


def _is_kept(primitive: Primitive, *operands: Any, **parameters: Any) -> bool:
    """A checkpoint policy: products with weights, unless the sum is as short as an adapter's."""
    if primitive is not jax.lax.dot_general_p:
        return False
    (contracted, _), (batched, _) = parameters["dimension_numbers"]
    terms = math.prod(operands[0].shape[axis] for axis in contracted)
    return not batched and terms > _CHEAP_TERMS


def _layer_with_lora(layer: DecoderLayer, config: LoraConfig) -> DecoderLayer:
    pattern = rf"(.*/)?({'|'.join(config.targets)})"
    rule = qwix.LoraRule(module_path=pattern, rank=config.rank, alpha=config.alpha)
    provider = qwix.LoraProvider([rule])
    return cast(DecoderLayer, qwix.apply_lora_to_model(layer, provider, methods=("__call__",)))
