"""Rotary position embeddings: their application; `frequencies` says how fast each pair turns."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from clawjax.models.architecture import Architecture
from clawjax.models.frequencies import attention_factor, inverse_frequencies

__all__ = ["apply_rope", "attention_factor", "inverse_frequencies"]


def apply_rope(x: Array, positions: Array, arch: Architecture) -> Array:
    """Rotate `x` `[B, T, H, D]` by `positions` `[B, T]`; halves are paired, not neighbours."""
    angles = positions[..., None].astype(jnp.float32) * inverse_frequencies(arch)
    factor = attention_factor(arch)
    cos = (jnp.cos(angles) * factor)[:, :, None, :].astype(x.dtype)
    sin = (jnp.sin(angles) * factor)[:, :, None, :].astype(x.dtype)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
