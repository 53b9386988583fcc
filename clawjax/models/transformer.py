"""The decoder, once, for training and for serving.

What differs between the two is only how a layer attends, so that is an argument: `Attend` takes
this layer's queries, keys and values and its cache, and returns the mixed values and the new
cache. `causal_attention` (here) needs no cache; the engine brings one that reads and writes its
KV buffers. Parameter names mirror Hugging Face's, kernels are `[in, out]`. Kernels may be stored in
fewer bits than hidden states have, which are fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from clawjax.models.architecture import Architecture
from clawjax.models.rope import apply_rope

__all__ = [
    "Attend",
    "DecoderLayer",
    "Params",
    "RMSNorm",
    "Transformer",
    "causal_attention",
    "causal_mask",
    "grouped_attention",
    "project",
]

Params = Any
"""The parameter tree of a `Transformer` (nested dicts of arrays)."""

Attend = Callable[[Array, Array, Array, Any], tuple[Array, Any]]
"""`(q [B, T, H, D], k [B, T, K, D], v [B, T, K, D], cache) -> (mixed [B, T, H, D], cache)`."""


def grouped_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Softmax attention of `q [B, T, H, D]` over `k, v [B, S, K, D]`; H is a multiple of K.

    `mask [B, T, S]` is True where a query may look. A query that may look nowhere yields the
    plain mean of `v`, never NaN: padding rows stay finite.
    """
    batch, length, heads, dim = q.shape
    kv_heads, keys = k.shape[2], k.shape[1]
    rows = heads // kv_heads * length  # the queries that share a key head, as one matrix
    queries = q.reshape(batch, length, kv_heads, -1, dim).transpose(0, 2, 3, 1, 4)
    queries = queries.reshape(batch, kv_heads, rows, dim)
    scores = jnp.matmul(queries, k.transpose(0, 2, 3, 1), preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, kv_heads, -1, length, keys) * dim**-0.5
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    totals = weights.sum(axis=-1, keepdims=True)
    flat = weights.astype(v.dtype).reshape(batch, kv_heads, rows, keys)
    mixed = jnp.matmul(flat, v.transpose(0, 2, 1, 3)).reshape(batch, kv_heads, -1, length, dim)
    mixed = mixed / totals.astype(v.dtype)  # here, where there are fewer numbers to divide
    return mixed.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, dim)


def causal_mask(mask: Array) -> Array:
    """Where a token may look, `[B, T, T]` bool: at itself and what is before it in its segment.

    Args:
        mask: True at real tokens, `[B, T]`; or segment ids `[B, T]` of packed sequences, where
            0 is padding and tokens see only their own segment.
    """
    segments = mask.astype(jnp.int32)
    length = segments.shape[1]
    causal = jnp.tril(jnp.ones((length, length), dtype=bool))
    return causal & (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]


def causal_attention(mask: Array) -> Attend:
    """Attention within `[B, T]` sequences; `mask` as for `causal_mask`."""
    visible = causal_mask(mask)

    def attend(q: Array, k: Array, v: Array, cache: Any) -> tuple[Array, Any]:
        return grouped_attention(q, k, v, visible), cache

    return attend


def project(x: Array, kernel: Array, *, axis: int = 0) -> Array:
    """`x [..., in]` times a kernel whose `axis` is `in`: `[..., out]` in the precision of `x`.

    On a two-dimensional view, because XLA's CPU GEMM is faster on that. A kernel of fewer bits
    meets an `x` rounded to those, and products are summed in the precision of `x`.
    """
    flat = x.reshape(-1, x.shape[-1]).astype(kernel.dtype)
    rows = flat.shape[0]
    if rows == 1 and kernel.dtype != x.dtype:
        flat = jnp.pad(flat, ((0, 1), (0, 0)))  # one row takes XLA's CPU backend ten times as long
    contracted = (((1,), (axis,)), ((), ()))
    y = jax.lax.dot_general(flat, kernel, contracted, preferred_element_type=x.dtype)
    return y[:rows].reshape(*x.shape[:-1], kernel.shape[1 - axis])


class Linear(nn.Module):
    """`x @ kernel (+ bias)`."""

    features: int
    has_bias: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map `[..., in]` to `[..., features]`."""
        kernel = self.param(
            "kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features), jnp.float32
        )
        y = project(x, kernel)
        if self.has_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return y


class RMSNorm(nn.Module):
    """`x / rms(x) * weight`, in fp32 (arXiv:1910.07467, eq. 4)."""

    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalise the last axis."""
        weight = self.param("weight", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return (wide * scale * weight).astype(x.dtype)


class SelfAttention(nn.Module):
    """Grouped-query attention with RoPE, and q/k norms where the family has them."""

    arch: Architecture

    @nn.compact
    def __call__(self, x: Array, positions: Array, attend: Attend, cache: Any) -> tuple[Array, Any]:
        """Mix `x [B, T, D]`; `attend` decides over what."""
        arch = self.arch
        shape = (*x.shape[:2], -1, arch.head_dim)
        bias = arch.has_qkv_bias
        q = Linear(arch.num_heads * arch.head_dim, bias, name="q_proj")(x).reshape(shape)
        k = Linear(arch.num_kv_heads * arch.head_dim, bias, name="k_proj")(x).reshape(shape)
        v = Linear(arch.num_kv_heads * arch.head_dim, bias, name="v_proj")(x).reshape(shape)
        if arch.has_qk_norm:
            q = RMSNorm(arch.norm_eps, name="q_norm")(q)
            k = RMSNorm(arch.norm_eps, name="k_norm")(k)
        q = apply_rope(q, positions, arch)
        k = apply_rope(k, positions, arch)
        mixed, cache = attend(q, k, v, cache)
        mixed = mixed.reshape(*x.shape[:2], arch.num_heads * arch.head_dim)
        return Linear(arch.hidden_size, arch.has_output_bias, name="o_proj")(mixed), cache


class SwiGLU(nn.Module):
    """`down(silu(gate(x)) * up(x))` (arXiv:2002.05202)."""

    arch: Architecture

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map `[B, T, D]` to `[B, T, D]`."""
        gate = Linear(self.arch.intermediate_size, name="gate_proj")(x)
        up = Linear(self.arch.intermediate_size, name="up_proj")(x)
        return Linear(self.arch.hidden_size, name="down_proj")(jax.nn.silu(gate) * up)


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward with residuals."""

    arch: Architecture

    @nn.compact
    def __call__(self, x: Array, positions: Array, attend: Attend, cache: Any) -> tuple[Array, Any]:
        """Map `[B, T, D]` to `[B, T, D]`."""
        normed = RMSNorm(self.arch.norm_eps, name="input_layernorm")(x)
        mixed, cache = SelfAttention(self.arch, name="self_attn")(normed, positions, attend, cache)
        x = x + mixed
        normed = RMSNorm(self.arch.norm_eps, name="post_attention_layernorm")(x)
        return x + SwiGLU(self.arch, name="mlp")(normed), cache


class Transformer(nn.Module):
    """Token ids to final hidden states; `logits` turns those into scores over the vocabulary.

    The two are apart because scoring every position at once is what costs memory: callers score
    the positions they need, in chunks.
    """

    arch: Architecture

    def setup(self) -> None:
        """Name the parts as Hugging Face does."""
        arch = self.arch
        self.embed_tokens = nn.Embed(arch.vocab_size, arch.hidden_size)
        self.layers = [DecoderLayer(arch) for _ in range(arch.num_layers)]
        self.norm = RMSNorm(arch.norm_eps)
        if not arch.is_tied:
            self.lm_head = Linear(arch.vocab_size)

    def __call__(
        self,
        token_ids: Array,
        positions: Array,
        attend: Attend,
        caches: Sequence[Any] | None = None,
    ) -> tuple[Array, tuple[Any, ...]]:
        """Hidden states after the final norm, `[B, T, D]`, and one new cache per layer.

        Args:
            token_ids: `[B, T]` int32.
            positions: `[B, T]` int32, counted from 0 within each sequence.
            attend: how a layer attends.
            caches: one per layer, handed to `attend`.
        """
        x = self.embed(token_ids)
        new_caches = []
        for index, layer in enumerate(self.layers):
            x, cache = layer(x, positions, attend, None if caches is None else caches[index])
            new_caches.append(cache)
        return self.norm(x), tuple(new_caches)

    def embed(self, token_ids: Array) -> Array:
        """The first hidden states, `[..., D]` fp32."""
        return self.embed_tokens(token_ids).astype(jnp.float32)

    def logits(self, hidden: Array) -> Array:
        """Scores over the vocabulary, `[..., V]`, of hidden states `[..., D]`."""
        if not self.arch.is_tied:
            return self.lm_head(hidden)
        return project(hidden, self.embed_tokens.embedding, axis=1)

    def score(self, token_ids: Array, positions: Array, attend: Attend) -> Array:
        """Logits of whole sequences, `[B, T, V]`; for small models, tests and initialisation."""
        hidden, _ = self(token_ids, positions, attend)
        return self.logits(hidden)
