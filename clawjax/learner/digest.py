"""Tells whether arrays are bit for bit what they were, wherever they lie.

`sha256` is for what one device holds. `checksum` is computed by the devices of a mesh, each of its
own part, and added up: the same number on every mesh, and nothing is gathered for it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["checksum", "is_spread", "sha256"]

_SEEDS = (0x9E3779B9, 0x85EBCA6B)
_STRIDE = 0x01000193


def is_spread(tree: Any) -> bool:
    """Whether any array is on more than one device."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, Array)]
    return any(len(array.sharding.device_set) > 1 for array in arrays)


def sha256(tree: Any) -> str:
    """Over every array: its type, shape and bytes, in tree order; one of them at a time."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def checksum(tree: Any) -> str:
    """64 bits of every array's elements, each hashed with its place, and of types and shapes.

    Against damage, not against forgery: sums modulo 2^32, whose order does not matter.
    """
    parts = []
    for leaf in jax.tree.leaves(tree):
        sums = "".join(f"{int(value):08x}" for value in _sums(leaf))
        parts.append(f"{leaf.dtype}{leaf.shape}{sums}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@jax.jit
def _sums(leaf: Array) -> tuple[Array, ...]:
    width = leaf.dtype.itemsize
    bits = jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{8 * width}")).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis in range(leaf.ndim):
        index = jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        place = _mixed(place * jnp.uint32(_STRIDE) + index)
    return tuple(
        jnp.sum(_mixed(bits ^ _mixed(place + jnp.uint32(s))), dtype=jnp.uint32) for s in _SEEDS
    )


def _mixed(x: Array) -> Array:
    """A bijection of 32 bits in which every bit of the input reaches every one of the output.

    Reference: the finaliser of MurmurHash3, Appleby 2011.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
