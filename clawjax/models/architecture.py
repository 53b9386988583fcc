"""What distinguishes one decoder of the Llama family from another: plain numbers, no arrays.

Imports no jax, so that the request path can read a model's limits in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Architecture", "RopeScaling"]


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the context the model was pre-trained on."""

    kind: str
    """`linear`, `llama3` or `yarn`."""
    factor: float
    original_max_positions: int = 8192
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of a decoder: RMSNorm, RoPE, grouped-query attention, SwiGLU."""

    family: str
    """`llama`, `qwen2` or `qwen3`, as in Hugging Face's `model_type`."""
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    is_tied: bool = True
    """Whether the output head is the embedding table, transposed."""
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_qk_norm: bool = False
