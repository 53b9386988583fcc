"""Attention by whatever kernel gives the same numbers; which one, the platform decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from clawjax.config import AttentionKernel, ComputeDtype
from clawjax.errors import ConfigError
from clawjax.models.attention import (
    choose_kernel,
    fused_attention,
    packed_attention,
    splash_attention,
)
from clawjax.models.sharding import Placement
from clawjax.models.tiny import tiny_architecture
from clawjax.models.transformer import Attend, causal_mask, grouped_attention

ARCH = tiny_architecture("llama")
FP32, BF16 = ComputeDtype.float32, ComputeDtype.bfloat16
LENGTH, HEADS, KV_HEADS, DIM = 100, 4, 2, 16


@pytest.fixture(scope="module")
def segment_ids() -> Array:
    """Two sequences and padding."""
    ids = np.zeros((1, LENGTH), np.int32)
    ids[0, :40], ids[0, 40:90] = 1, 2
    return jnp.asarray(ids)


def outcome(attend: Attend, segment_ids: Array) -> tuple[Array, ...]:
    """What is mixed at real tokens, and the gradients of queries, keys and values."""
    rng = np.random.default_rng(0)
    shapes = [(1, LENGTH, heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    inputs = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]
    slope = jnp.asarray(rng.normal(size=shapes[0]), jnp.float32)

    def loss(*qkv: Array) -> tuple[Array, Array]:
        mixed, _ = attend(*qkv, None)
        real = jnp.where((segment_ids > 0)[..., None, None], mixed, 0.0)
        return jnp.sum(real * slope), real

    gradients, mixed = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*inputs)
    return (mixed, *gradients)


@pytest.fixture(scope="module")
def expected(segment_ids: Array) -> tuple[Array, ...]:
    """By a mask over all pairs of tokens."""

    def attend(q: Array, k: Array, v: Array, cache: None) -> tuple[Array, None]:
        return grouped_attention(q, k, v, causal_mask(segment_ids)), cache

    return outcome(attend, segment_ids)


@pytest.mark.parametrize(
    "attend",
    [
        lambda ids: packed_attention(AttentionKernel.xla, ids, Placement(ARCH)),
        lambda ids: fused_attention(ids, implementation="xla"),
        pytest.param(
            lambda ids: splash_attention(ids, Placement(ARCH), interpret=True),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["xla", "fused", "splash"],
)
def test_kernels_agree_on_packed_rows_of_grouped_heads(
    attend: Callable[[Array], Attend], segment_ids: Array, expected: tuple[Array, ...]
) -> None:
    for found, wanted in zip(outcome(attend(segment_ids), segment_ids), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("platform", "dtype", "kernel"),
    [
        ("cpu", BF16, AttentionKernel.xla),
        ("tpu", FP32, AttentionKernel.splash),
        ("gpu", BF16, AttentionKernel.cudnn),
        ("gpu", FP32, AttentionKernel.xla),
    ],
)
def test_the_platform_decides(platform: str, dtype: ComputeDtype, kernel: AttentionKernel) -> None:
    assert choose_kernel(AttentionKernel.auto, dtype, ARCH, platform) is kernel
    assert choose_kernel(AttentionKernel.xla, dtype, ARCH, platform) is AttentionKernel.xla


def test_heads_that_cudnn_does_not_know_are_left_to_xla() -> None:
    odd = dataclasses.replace(ARCH, head_dim=20)
    assert choose_kernel(AttentionKernel.auto, BF16, odd, "gpu") is AttentionKernel.xla
    with pytest.raises(ConfigError, match="heads of 20 dimensions"):
        choose_kernel(AttentionKernel.cudnn, BF16, odd, "gpu")


def test_a_kernel_that_does_not_run_here_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"attention=splash needs a TPU.*cpu: use auto or xla"):
        choose_kernel(AttentionKernel.splash, FP32, ARCH, "cpu")
    with pytest.raises(ConfigError, match=r"attention=cudnn .*compute_dtype=float32"):
        choose_kernel(AttentionKernel.cudnn, FP32, ARCH, "gpu")
