"""Causal attention within packed sequences, by the kernel that suits the platform.

`splash` is Pallas' block-sparse flash attention on TPU, `cudnn` the fused kernel on NVIDIA GPUs,
`xla` plain products in blocks of queries, anywhere. Invariant: at tokens that are no padding all of
them give the same numbers, to the rounding of their precision; padding is finite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as Spec

from clawjax.config import AttentionKernel, ComputeDtype
from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.sharding import ROWS, Placement
from clawjax.models.transformer import Attend, causal_mask, grouped_attention

__all__ = ["choose_kernel", "packed_attention", "splash_attention"]

_BLOCKS = 4
"""Parts of the queries; more of them save little and take longer to compile."""
_LANES = 128
"""Splash attention's blocks are multiples of so many tokens."""
_LARGEST_BLOCK = 512
_CUDNN_HEAD_DIMS = range(8, 129, 8)


def choose_kernel(
    asked: AttentionKernel, dtype: ComputeDtype, architecture: Architecture, platform: str
) -> AttentionKernel:
    """The kernel to use on `platform`, as jax names it: `cpu`, `gpu`, `tpu`.

    Raises:
        ConfigError: it was named and cannot run there.
    """
    obstacles = {
        AttentionKernel.splash: _not_on(platform, "tpu"),
        AttentionKernel.cudnn: _not_on(platform, "gpu") or _unfit_for_cudnn(dtype, architecture),
    }
    if asked is AttentionKernel.auto:
        fits = (kernel for kernel, obstacle in obstacles.items() if obstacle is None)
        return next(fits, AttentionKernel.xla)
    if (obstacle := obstacles.get(asked)) is not None:
        msg = f"learner.attention={asked.value} {obstacle}: use auto or xla"
        raise ConfigError(msg)
    return asked


def packed_attention(kernel: AttentionKernel, segment_ids: Array, placement: Placement) -> Attend:
    """Attention within the segments `[B, T]` of packed rows; 0 is padding."""
    match kernel:
        case AttentionKernel.splash:
            return splash_attention(segment_ids, placement)
        case AttentionKernel.cudnn:
            return fused_attention(segment_ids, implementation="cudnn")
        case _:
            return _in_blocks(segment_ids)


def splash_attention(
    segment_ids: Array, placement: Placement, *, interpret: bool = False
) -> Attend:
    """Every device attends with its own rows and heads.

    Args:
        segment_ids: `[B, T]`.
        placement: how rows and heads are divided.
        interpret: run the kernel without a TPU, slowly; for tests.
    """

    def attend(q: Array, k: Array, v: Array, cache: Any) -> tuple[Array, Any]:
        local = partial(_splash, interpret=interpret)
        if placement.mesh is None:
            return local(q, k, v, segment_ids), cache
        rows = ROWS if q.shape[0] % placement.shards == 0 else None
        heads = "tensor" if k.shape[2] % placement.size("tensor") == 0 else None
        by_head, by_row = Spec(rows, None, heads, None), Spec(rows, None)
        divided = jax.shard_map(
            local,
            mesh=placement.mesh,
            in_specs=(by_head, by_head, by_head, by_row),
            out_specs=by_head,
            check_vma=False,
        )
        return divided(q, k, v, segment_ids), cache

    return attend


def fused_attention(segment_ids: Array, *, implementation: str | None) -> Attend:
    """`jax.nn.dot_product_attention`; the mask says which tokens share a segment."""
    # Padding sees padding: a row of the mask without a token would be no distribution.
    mask = (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]

    def attend(q: Array, k: Array, v: Array, cache: Any) -> tuple[Array, Any]:
        mixed = jax.nn.dot_product_attention(
            q,
            k,
            v,
            mask=mask,
            is_causal=True,
            implementation=implementation,  # pyright: ignore[reportArgumentType]
        )
        return mixed, cache

    return attend


def _in_blocks(segment_ids: Array) -> Attend:
    """Each block of queries over the keys up to its end.

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


def _splash(q: Array, k: Array, v: Array, segment_ids: Array, *, interpret: bool) -> Array:
    """`[B, T, H, D]` of one device; T is filled up with padding to whole blocks."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash

    length, heads, dim = q.shape[1:]
    missing = -length % _LANES
    fill = [(0, 0), (0, missing), (0, 0), (0, 0)]
    q, k, v = (jnp.pad(x, fill).transpose(0, 2, 1, 3) for x in (q * dim**-0.5, k, v))
    segments = jnp.pad(segment_ids, fill[:2])
    kernel = _splash_kernel(length + missing, heads, interpret)

    def one(q: Array, k: Array, v: Array, segments: Array) -> Array:
        return kernel(q, k, v, segment_ids=splash.SegmentIds(segments, segments))

    mixed = jax.vmap(one)(q, k, v, segments)
    return mixed.transpose(0, 2, 1, 3)[:, :length].astype(v.dtype)


@cache
def _splash_kernel(length: int, heads: int, interpret: bool) -> Callable[..., Array]:
    """The kernel for rows of one length; its tables, of the causal mask, are made once."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    block = max(b for b in range(_LANES, _LARGEST_BLOCK + 1, _LANES) if length % b == 0)
    mask = masks.MultiHeadMask([masks.CausalMask((length, length))] * heads)
    blocks = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
    )
    with jax.ensure_compile_time_eval():
        return splash.make_splash_mha_single_device(
            mask=mask, block_sizes=blocks, interpret=interpret
        )


def _not_on(platform: str, wanted: str) -> str | None:
    return None if platform == wanted else f"needs a {wanted.upper()}, this is a {platform}"


def _unfit_for_cudnn(dtype: ComputeDtype, architecture: Architecture) -> str | None:
    if dtype is not ComputeDtype.bfloat16:
        return f"computes in 16 bits, not in learner.compute_dtype={dtype.value}"
    if architecture.head_dim not in _CUDNN_HEAD_DIMS:
        return f"does not know heads of {architecture.head_dim} dimensions"
    return None
