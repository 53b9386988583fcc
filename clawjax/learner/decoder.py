"""The decoder as training runs it: one compiled layer, scanned over stacked weights.

`Transformer` lists its layers one by one, which is what decoding wants. For training, layers of the
same shape are stacked along a new first axis: compilation takes one layer's time, and the
optimiser and the checkpoint handle tens of arrays instead of hundreds. Invariant: same
numbers as `Transformer`, and `unstack(stack(params)) == params`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import qwix
from jax import Array
from jax.extend.core import Primitive

from clawjax.config import LoraConfig
from clawjax.models.architecture import Architecture
from clawjax.models.lora import with_lora
from clawjax.models.transformer import (
    Attend,
    DecoderLayer,
    Params,
    RMSNorm,
    Transformer,
    causal_mask,
    grouped_attention,
)

__all__ = ["HEAD_KEYS", "Decoder", "stack", "unstack"]

HEAD_KEYS = frozenset({"embed_tokens", "lm_head"})
"""Parameters that the output head may read."""
_CHEAP_TERMS = 256
"""Products summing over no more than so many terms are computed again rather than kept."""
_BLOCKS = 4
"""Parts of the queries; more of them save little and take longer to compile."""
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


class Decoder:
    """Hidden states and logits of stacked parameters, with or without adapters in them."""

    def __init__(self, architecture: Architecture, lora: LoraConfig | None = None) -> None:
        """Describe the computation; with `lora`, apply it to `join(base, adapter)`."""
        adapters = None if lora is None else (lora.rank, lora.alpha, tuple(lora.targets))
        self._identity = (architecture, adapters)
        transformer, layer = Transformer(architecture), DecoderLayer(architecture)
        self._norm = RMSNorm(architecture.norm_eps)
        self._whole = transformer if lora is None else with_lora(transformer, lora)
        self._layer = layer if lora is None else _layer_with_lora(layer, lora)

    def __eq__(self, other: object) -> bool:
        """Equal decoders share compiled programs."""
        return isinstance(other, Decoder) and self._identity == other._identity

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

        What a layer keeps for its gradient are the results of its large matrix products; attention
        weights, `[B, H, T, T]`, and everything that is cheap are computed again.
        """
        layer = self._one(positions, segment_ids)
        layer = jax.checkpoint(layer, policy=_is_kept, prevent_cse=False)
        x, _ = jax.lax.scan(
            lambda x, weights: (layer(x, weights), None), _embed(params, token_ids), params[_STACK]
        )
        return cast(Array, self._norm.apply({"params": params["norm"]}, x))

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

        _, found = jax.lax.scan(keep, _embed(params, token_ids), params[_STACK])
        return jnp.moveaxis(found[jnp.asarray(after)], 0, 2)

    def _one(self, positions: Array, segment_ids: Array) -> Callable[[Array, Params], Array]:
        """A layer, as a function of what enters it and of its weights."""
        attend = _causal_in_blocks(segment_ids)

        def layer(x: Array, weights: Params) -> Array:
            y, _ = self._layer.apply({"params": weights}, x, positions, attend, None)
            return cast(Array, y)

        return layer

    def logits(self, head_params: Params, hidden: Array) -> Array:
        """Scores over the vocabulary, of the parameters under `HEAD_KEYS` alone."""
        return cast(Array, self._whole.apply({"params": head_params}, hidden, method="logits"))


def _embed(params: Params, token_ids: Array) -> Array:
    """The first states; an id beyond the vocabulary gives NaN, which stops the run."""
    return jnp.take(params["embed_tokens"]["embedding"], token_ids, axis=0)


def _causal_in_blocks(segment_ids: Array) -> Attend:
    """Attention within segments `[B, T]`, each block of queries over the keys up to its end.

    Exact; it leaves out three eighths of the products, which a mask would only throw away.
    """
    length = segment_ids.shape[1]
    width = -(-length // _BLOCKS)
    visible = causal_mask(segment_ids)

    def attend(q: Array, k: Array, v: Array, cache: Any) -> tuple[Array, Any]:
        blocks = []
        for start in range(0, length, width):
            stop = min(start + width, length)
            seen = visible[:, start:stop, :stop]
            blocks.append(grouped_attention(q[:, start:stop], k[:, :stop], v[:, :stop], seen))
        return jnp.concatenate(blocks, axis=1), cache

    return attend


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
