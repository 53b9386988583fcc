"""Rotary frequencies and how they are stretched; plain numpy, no jax."""

from __future__ import annotations

import math

import numpy as np

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture, RopeScaling

__all__ = ["attention_factor", "inverse_frequencies"]


def inverse_frequencies(arch: Architecture) -> np.ndarray:
    """Angular frequency of each rotated pair, `[head_dim / 2]`, scaled as the model asks.

    Reference: Su et al. 2021, arXiv:2104.09864, eq. 15; Llama 3 and YaRN (arXiv:2309.00071)
    scaling as in Hugging Face `modeling_rope_utils`.
    """
    exponent = np.arange(0, arch.head_dim, 2, dtype=np.float64) / arch.head_dim
    base = 1.0 / arch.rope_theta**exponent
    scaling = arch.rope_scaling
    if scaling is None:
        return base.astype(np.float32)
    if scaling.kind == "linear":
        return (base / scaling.factor).astype(np.float32)
    if scaling.kind == "llama3":
        return _llama3(base, scaling).astype(np.float32)
    if scaling.kind == "yarn":
        return _yarn(base, scaling, arch).astype(np.float32)
    msg = f"rope scaling {scaling.kind!r} is not supported; use linear, llama3 or yarn"
    raise ConfigError(msg)


def _llama3(base: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    wavelength = 2 * np.pi / base
    low = scaling.original_max_positions / scaling.low_freq_factor
    high = scaling.original_max_positions / scaling.high_freq_factor
    blend = (scaling.original_max_positions / wavelength - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    smooth = (1 - blend) * base / scaling.factor + blend * base
    stretched = np.where(wavelength > low, base / scaling.factor, base)
    return np.where((wavelength >= high) & (wavelength <= low), smooth, stretched)


def _yarn(base: np.ndarray, scaling: RopeScaling, arch: Architecture) -> np.ndarray:
    def dimension(rotations: float) -> float:
        positions = scaling.original_max_positions / (rotations * 2 * math.pi)
        return arch.head_dim * math.log(positions) / (2 * math.log(arch.rope_theta))

    low = max(math.floor(dimension(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(scaling.beta_slow)), arch.head_dim - 1)
    index = np.arange(arch.head_dim // 2, dtype=np.float64)
    ramp = np.clip((index - low) / max(high - low, 1e-3), 0, 1)
    return base / scaling.factor * ramp + base * (1 - ramp)


def attention_factor(arch: Architecture) -> float:
    """What YaRN multiplies the rotated vectors with; 1 otherwise (arXiv:2309.00071, eq. 22)."""
    scaling = arch.rope_scaling
    if scaling is None or scaling.kind != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
