"""Models from GGUF files: the architecture and the weights, by GGUF's keys.

Tensors come out under Hugging Face's names and in its order: llama.cpp interleaves the halves of
Llama's query and key heads, and that is undone here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture, RopeScaling
from clawjax.models.fingerprint import fingerprint
from clawjax.models.gguf_file import GgufFile
from clawjax.models.gguf_tokenizer import tokenizer_from_gguf
from clawjax.models.layout import leaves
from clawjax.models.registry import FAMILIES, reach
from clawjax.models.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    import numpy as np

__all__ = ["GgufSource"]

_MODULES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Module names, Hugging Face's to GGUF's."""

_ATTENTION_FACTORS = {
    "rope.scaling.attn_factor": 1.0,
    "rope.scaling.yarn_attn_factor": 1.0,
    "rope.scaling.yarn_log_multiplier": 0.0,
}
"""Keys that are understood as long as they change nothing, and what they are then."""


class GgufSource:
    """A model in a GGUF file; see `clawjax.models.load`."""

    def __init__(self, path: Path) -> None:
        """Read the header of the file.

        Raises:
            ConfigError: unreadable, or not a decoder of a known family.
        """
        self._file = GgufFile(path)
        self._keys = _Keys(self._file)
        _reject_unsupported(self._keys)

    def base_id(self) -> str:
        """Family and fingerprint: what the file is called does not matter."""
        return f"{self._keys.family}@{fingerprint([self._file.path])}"

    def architecture(self) -> Architecture:
        """The shape that metadata and tensors describe."""
        return self._architecture

    def tokenizer(self) -> ChatTokenizer:
        """The vocabulary and template within the file."""
        return tokenizer_from_gguf(self._file)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Weights by Hugging Face's names, dequantised when asked for."""
        return _Tensors(self._file, self._architecture)

    @cached_property
    def _architecture(self) -> Architecture:
        arch = _architecture(self._keys)
        if "rope_freqs.weight" in self._file.tensors:
            return _with_rope_divisors(arch, self._file)
        return arch


class _Keys:
    """The metadata under a family's prefix."""

    def __init__(self, file: GgufFile) -> None:
        self.file = file
        family = file.metadata.get("general.architecture")
        if family not in FAMILIES:
            msg = (
                f"{file.path} holds a {family!r} model, which is not supported: "
                f"use one of {', '.join(FAMILIES)}"
            )
            raise ConfigError(msg)
        self.family: str = family

    def get(self, key: str, default: Any = None) -> Any:
        return self.file.metadata.get(f"{self.family}.{key}", default)

    def require(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            msg = f"{self.file.path} lacks the key {self.family}.{key}: download it again"
            raise ConfigError(msg)
        return value


class _Tensors(Mapping[str, "np.ndarray"]):
    """Hugging Face's view of a GGUF file; holds no tensor."""

    def __init__(self, file: GgufFile, arch: Architecture) -> None:
        self._file = file
        self._arch = arch
        self._names = dict.fromkeys(leaf.tensor for leaf in leaves(arch))

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        tensor = self._file.read(_gguf_name(name))
        if self._arch.family != "llama":
            return tensor
        if ".q_proj." in name:
            return _deinterleave(tensor, self._arch.num_heads)
        if ".k_proj." in name:
            return _deinterleave(tensor, self._arch.num_kv_heads)
        return tensor

    def __contains__(self, name: object) -> bool:
        """Without reading it, as a mapping's own would."""
        return name in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        """From the file's header."""
        return self._file.tensor(_gguf_name(name)).shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` to `blk.3.attn_q.weight`."""
    module, _, kind = name.rpartition(".")
    layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    if layer is None:
        return f"{_MODULES[module]}.{kind}"
    return f"blk.{layer[1]}.{_MODULES[layer[2]]}.{kind}"


def _deinterleave(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's order of a head's rows: pairs of neighbours back to two halves."""
    pairs = tensor.reshape(heads, -1, 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)


def _reject_unsupported(keys: _Keys) -> None:
    for key, feature in (
        ("expert_count", "a mixture of experts"),
        ("attention.sliding_window", "sliding-window attention"),
    ):
        if keys.get(key):
            msg = (
                f"{keys.file.path} uses {feature} ({keys.family}.{key}={keys.get(key)}), "
                "which is not supported: use a dense model with full attention"
            )
            raise ConfigError(msg)
    for key, neutral in _ATTENTION_FACTORS.items():
        if keys.get(key, neutral) != neutral:
            msg = (
                f"{keys.file.path} scales its attention by {keys.family}.{key}={keys.get(key):g}, "
                "which is not supported: load the model's Hugging Face directory instead"
            )
            raise ConfigError(msg)


def _architecture(keys: _Keys) -> Architecture:
    tensors = keys.file.tensors
    heads = keys.require("attention.head_count")
    scaling = _rope_scaling(keys)
    return Architecture(
        family=keys.family,
        vocab_size=_vocab_size(keys.file),
        hidden_size=keys.require("embedding_length"),
        intermediate_size=keys.require("feed_forward_length"),
        num_layers=keys.require("block_count"),
        num_heads=heads,
        num_kv_heads=keys.get("attention.head_count_kv", heads),
        head_dim=_head_dim(keys),
        max_positions=reach(keys.require("context_length"), scaling),
        rope_theta=float(keys.get("rope.freq_base", 10_000.0)),
        rope_scaling=scaling,
        norm_eps=float(keys.require("attention.layer_norm_rms_epsilon")),
        is_tied="output.weight" not in tensors,
        has_qkv_bias="blk.0.attn_q.bias" in tensors,
        has_output_bias="blk.0.attn_output.bias" in tensors,
        has_qk_norm="blk.0.attn_q_norm.weight" in tensors,
    )


def _vocab_size(file: GgufFile) -> int:
    table = file.tensors.get("token_embd.weight")
    if table is None:
        msg = f"{file.path} has no tensor 'token_embd.weight': it holds no complete model"
        raise ConfigError(msg)
    return table.shape[0]


def _head_dim(keys: _Keys) -> int:
    even = keys.require("embedding_length") // keys.require("attention.head_count")
    head_dim = keys.get("attention.key_length", even)
    rotated = keys.get("rope.dimension_count", head_dim)
    if rotated != head_dim:
        msg = (
            f"{keys.file.path} rotates {rotated} of {head_dim} dimensions of a head, which is "
            "not supported: use a model that rotates all"
        )
        raise ConfigError(msg)
    return head_dim


def _rope_scaling(keys: _Keys) -> RopeScaling | None:
    """As llama.cpp reads it: a factor without a type is linear, and had another name once."""
    factor = keys.get("rope.scaling.factor", keys.get("rope.scale_linear"))
    kind = keys.get("rope.scaling.type", "none" if factor in (None, 0.0, 1.0) else "linear")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        msg = (
            f"{keys.file.path}: {keys.family}.rope.scaling.type={kind!r} is not supported: "
            "use a model with none, linear or yarn"
        )
        raise ConfigError(msg)
    original = keys.get("rope.scaling.original_context_length", keys.require("context_length"))
    return RopeScaling(
        kind=kind,
        factor=float(keys.require("rope.scaling.factor") if factor is None else factor),
        original_max_positions=original,
        beta_fast=float(keys.get("rope.scaling.yarn_beta_fast", 32.0)),
        beta_slow=float(keys.get("rope.scaling.yarn_beta_slow", 1.0)),
    )


def _with_rope_divisors(arch: Architecture, file: GgufFile) -> Architecture:
    """Llama 3's scaling, of which a GGUF holds only what each frequency is divided by."""
    import numpy as np

    from clawjax.models.frequencies import inverse_frequencies

    divisors = file.read("rope_freqs.weight")
    scaled = dataclasses.replace(
        arch, rope_scaling=RopeScaling("llama3", factor=float(divisors.max()))
    )
    expected = inverse_frequencies(arch) / inverse_frequencies(scaled)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-4):
        msg = (
            f"{file.path} scales its rotary frequencies in another way than Llama 3: "
            "load the model's Hugging Face directory instead"
        )
        raise ConfigError(msg)
    return scaled
