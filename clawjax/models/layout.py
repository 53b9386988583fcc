"""Which tensors a decoder consists of: Hugging Face's names, the tree's paths, and the shapes.

Every reader and writer of weights goes through this one table, so a name, a shape or a
transposition is stated once. Hugging Face stores linear layers as `[out, in]`; the tree holds
them as kernels `[in, out]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from clawjax.models.architecture import Architecture

__all__ = ["ATTENTION_LINEARS", "LAYER_LINEARS", "MLP_LINEARS", "Leaf", "leaves"]

ATTENTION_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP_LINEARS = ("gate_proj", "up_proj", "down_proj")
LAYER_LINEARS = ATTENTION_LINEARS + MLP_LINEARS


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor of a checkpoint and its place in the parameter tree."""

    tensor: str
    """Hugging Face's name."""
    path: tuple[str, ...]
    """Keys from the root of the tree."""
    shape: tuple[int, ...]
    """As Hugging Face stores it."""
    is_kernel: bool = False
    """Whether the tree holds the transpose."""


def leaves(arch: Architecture) -> tuple[Leaf, ...]:
    """All tensors of a decoder, in the order of computation."""
    return tuple(_model(arch))


def _model(arch: Architecture) -> Iterator[Leaf]:
    table = (arch.vocab_size, arch.hidden_size)
    yield Leaf("model.embed_tokens.weight", ("embed_tokens", "embedding"), table)
    for index in range(arch.num_layers):
        yield from _layer(arch, index)
    yield Leaf("model.norm.weight", ("norm", "weight"), (arch.hidden_size,))
    if not arch.is_tied:
        yield Leaf("lm_head.weight", ("lm_head", "kernel"), table, is_kernel=True)


def _layer(arch: Architecture, index: int) -> Iterator[Leaf]:
    prefix, node = f"model.layers.{index}", f"layers_{index}"
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield Leaf(f"{prefix}.{norm}.weight", (node, norm, "weight"), (arch.hidden_size,))
    for name in ATTENTION_LINEARS:
        yield from _linear(arch, prefix, node, "self_attn", name)
    if arch.has_qk_norm:
        for norm in ("q_norm", "k_norm"):
            path = (node, "self_attn", norm, "weight")
            yield Leaf(f"{prefix}.self_attn.{norm}.weight", path, (arch.head_dim,))
    for name in MLP_LINEARS:
        yield from _linear(arch, prefix, node, "mlp", name)


def _linear(arch: Architecture, prefix: str, node: str, block: str, name: str) -> Iterator[Leaf]:
    tensor, path = f"{prefix}.{block}.{name}", (node, block, name)
    shape = _linear_shape(arch, name)
    yield Leaf(f"{tensor}.weight", (*path, "kernel"), shape, is_kernel=True)
    if _has_bias(arch, name):
        yield Leaf(f"{tensor}.bias", (*path, "bias"), shape[:1])


def _linear_shape(arch: Architecture, name: str) -> tuple[int, int]:
    """`(out, in)`."""
    queries, keys = arch.num_heads * arch.head_dim, arch.num_kv_heads * arch.head_dim
    hidden, wide = arch.hidden_size, arch.intermediate_size
    return {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (wide, hidden),
        "up_proj": (wide, hidden),
        "down_proj": (hidden, wide),
    }[name]


def _has_bias(arch: Architecture, name: str) -> bool:
    if name == "o_proj":
        return arch.has_output_bias
    return arch.has_qkv_bias and name in ATTENTION_LINEARS
