"""Which Hugging Face configurations this decoder computes, and their translation both ways.

A feature that the decoder lacks is refused by name; nothing is silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture, RopeScaling

__all__ = ["FAMILIES", "architecture_from_config", "config_from_architecture", "reach"]

FAMILIES = ("llama", "qwen2", "qwen3")
"""Values of `model_type`."""

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_SCALINGS = ("linear", "llama3", "yarn")
_SCALING_KEYS = frozenset(
    {
        "type", "rope_type", "rope_theta", "factor", "original_max_position_embeddings",
        "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor",
    }
)  # fmt: skip

_NEUTRAL = {"partial_rotary_factor": 1.0, "truncate": True}
"""Rope parameters that are understood as long as they change nothing."""

_DEFAULT_NORM_EPS = 1e-6
_DEFAULT_ROPE_THETA = 10_000.0
"""What transformers assumes where a configuration is silent."""


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read a `config.json`.

    Raises:
        ConfigError: another family, a feature that is not supported, or a missing key.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        msg = f"model_type={family!r} is not supported: use one of {', '.join(FAMILIES)}"
        raise ConfigError(msg)
    _reject_unsupported(config)
    rope = _rope_parameters(config)
    heads = _require(config, "num_attention_heads")
    max_positions = _require(config, "max_position_embeddings")
    scaling = _rope_scaling(rope, max_positions)
    return Architecture(
        family=family,
        vocab_size=_require(config, "vocab_size"),
        hidden_size=_require(config, "hidden_size"),
        intermediate_size=_require(config, "intermediate_size"),
        num_layers=_require(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=_or(config.get("num_key_value_heads"), heads),
        head_dim=_or(config.get("head_dim"), _require(config, "hidden_size") // heads),
        max_positions=reach(max_positions, scaling),
        rope_theta=float(_or(rope.get("rope_theta"), _DEFAULT_ROPE_THETA)),
        rope_scaling=scaling,
        norm_eps=float(_or(config.get("rms_norm_eps"), _DEFAULT_NORM_EPS)),
        is_tied=bool(config.get("tie_word_embeddings", False)),
        has_qkv_bias=family == "qwen2" or bool(config.get("attention_bias")),
        has_output_bias=family != "qwen2" and bool(config.get("attention_bias")),
        has_qk_norm=family == "qwen3",
    )


def config_from_architecture(arch: Architecture) -> dict[str, Any]:
    """Write a `config.json` that transformers, old and new, reads as the same model."""
    config: dict[str, Any] = {
        "architectures": [_CLASSES[arch.family]],
        "model_type": arch.family,
        "torch_dtype": "float32",
        "dtype": "float32",
        "vocab_size": arch.vocab_size,
        "hidden_size": arch.hidden_size,
        "intermediate_size": arch.intermediate_size,
        "num_hidden_layers": arch.num_layers,
        "num_attention_heads": arch.num_heads,
        "num_key_value_heads": arch.num_kv_heads,
        "head_dim": arch.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": arch.max_positions,
        "rms_norm_eps": arch.norm_eps,
        "rope_theta": arch.rope_theta,
        "rope_scaling": _scaling_config(arch.rope_scaling),
        "tie_word_embeddings": arch.is_tied,
    }
    if arch.family != "qwen2":
        config["attention_bias"] = arch.has_qkv_bias
    return config


def _require(config: Mapping[str, Any], key: str) -> Any:
    if config.get(key) is None:
        msg = f"config.json lacks {key!r}: use a complete model directory"
        raise ConfigError(msg)
    return config[key]


def _or(value: Any, default: Any) -> Any:
    """`value` unless absent; configurations say absent with null."""
    return default if value is None else value


def _reject_unsupported(config: Mapping[str, Any]) -> None:
    """Name the first feature that would change the result and is not computed here."""
    quantization = config.get("quantization_config")
    activation = config.get("hidden_act", "silu")
    rotary = _rope_parameters(config).get("partial_rotary_factor") or 1.0
    for feature, is_active in (
        (f"quantization_config={quantization}", bool(quantization)),
        (f"hidden_act={activation!r}", activation != "silu"),
        ("mlp_bias=true", bool(config.get("mlp_bias"))),
        ("sliding-window attention", _has_sliding_window(config)),
        (f"partial_rotary_factor={rotary}", rotary != 1.0),
    ):
        if is_active:
            msg = f"{feature} in config.json is not supported: use a model without it"
            raise ConfigError(msg)


def _has_sliding_window(config: Mapping[str, Any]) -> bool:
    if not config.get("sliding_window") or not config.get("use_sliding_window", True):
        return False
    layer_types = config.get("layer_types")
    if layer_types is not None:
        return "sliding_attention" in layer_types
    if config["model_type"] == "llama":
        return False
    return _or(config.get("max_window_layers"), 28) < _require(config, "num_hidden_layers")


def _rope_parameters(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """New style holds all in `rope_parameters`; old style `rope_theta` and `rope_scaling`."""
    top_level = {key: config.get(key) for key in ("rope_theta", "partial_rotary_factor")}
    nested = (config.get("rope_scaling") or {}, config.get("rope_parameters") or {})
    return {**top_level, **nested[0], **nested[1]}


def _rope_scaling(rope: Mapping[str, Any], max_positions: int) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind not in _SCALINGS:
        msg = f"rope_type={kind!r} is not supported: use a model with {', '.join(_SCALINGS)}"
        raise ConfigError(msg)
    for key, value in rope.items():
        if key not in _SCALING_KEYS and value not in (None, _NEUTRAL.get(key)):
            msg = f"rope parameter {key}={value!r} is not supported: use a model without it"
            raise ConfigError(msg)
    return RopeScaling(
        kind=kind,
        factor=float(_require(rope, "factor")),
        original_max_positions=_or(rope.get("original_max_position_embeddings"), max_positions),
        low_freq_factor=float(_or(rope.get("low_freq_factor"), 1.0)),
        high_freq_factor=float(_or(rope.get("high_freq_factor"), 4.0)),
        beta_fast=float(_or(rope.get("beta_fast"), 32.0)),
        beta_slow=float(_or(rope.get("beta_slow"), 1.0)),
        attention_factor=rope.get("attention_factor"),
    )


def reach(max_positions: int, scaling: RopeScaling | None) -> int:
    """Positions the model can be used at: YaRN is often added without raising the limit."""
    if scaling is None or scaling.kind != "yarn":
        return max_positions
    return max(max_positions, int(scaling.factor * scaling.original_max_positions))


def _scaling_config(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    common: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    original = {"original_max_position_embeddings": scaling.original_max_positions}
    if scaling.kind == "linear":
        return common
    if scaling.kind == "llama3":
        bounds = {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
        }
        return common | original | bounds
    ramp = {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
    if scaling.attention_factor is not None:
        ramp["attention_factor"] = scaling.attention_factor
    return common | original | ramp
