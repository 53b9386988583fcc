"""Tiny random models: real in every part, useful in nothing but tests and dry runs.

Two layers, a byte-level vocabulary with some whole words, ChatML. Equal seeds give equal weights.
The vocabulary has words that merging bytes would never produce, so what a model samples is not
always what encoding its text gives: as with real models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel

from clawjax.errors import ConfigError
from clawjax.models.architecture import Architecture
from clawjax.models.bpe import byte_level_bpe
from clawjax.models.layout import Leaf, leaves
from clawjax.models.template import CHATML, ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer

__all__ = ["RandomSource", "tiny_architecture", "tiny_tokenizer"]

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MARKUP = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_response>")
_WORDS = (
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "do", "for", "from", "good",
    "have", "hello", "help", "here", "how", "i", "in", "is", "it", "like", "list", "more", "no",
    "not", "of", "on", "or", "please", "short", "so", "sure", "text", "thanks", "that", "the",
    "this", "to", "two", "use", "we", "what", "when", "will", "with", "word", "yes", "you", "your",
)  # fmt: skip


class RandomSource:
    """A random model of a family; see `clawjax.models.load`."""

    def __init__(self, family: str, *, seed: int) -> None:
        """Name the family: llama, qwen2 or qwen3."""
        self._architecture = tiny_architecture(family)
        self._seed = seed

    def base_id(self) -> str:
        """Family and seed."""
        return f"random:{self._architecture.family}@seed{self._seed}"

    def architecture(self) -> Architecture:
        """The tiny shape."""
        return self._architecture

    def tokenizer(self) -> ChatTokenizer:
        """The same for all families."""
        return tiny_tokenizer()

    def tensors(self) -> Mapping[str, np.ndarray]:
        """Fresh weights, by Hugging Face's names."""
        rng = np.random.default_rng(self._seed)
        return {leaf.tensor: _draw(leaf, rng) for leaf in leaves(self._architecture)}


def tiny_architecture(family: str) -> Architecture:
    """Two layers of a family, with its particularities: biases, q/k norms, an untied head.

    Raises:
        ConfigError: unknown family.
    """
    if family not in ("llama", "qwen2", "qwen3"):
        msg = f"model.path=random:{family} names no known family: use llama, qwen2 or qwen3"
        raise ConfigError(msg)
    return Architecture(
        family=family,
        vocab_size=tiny_tokenizer().vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        max_positions=4096,
        is_tied=family != "qwen3",
        has_qkv_bias=family == "qwen2",
        has_qk_norm=family == "qwen3",
    )


def tiny_tokenizer() -> ChatTokenizer:
    """Bytes, some words, and ChatML's special tokens."""
    tokens = [*_SPECIAL, *_MARKUP, *_byte_characters()]
    tokens += [word for word in _WORDS if word not in tokens]
    tokens += [f"\u0120{word}" for word in _WORDS]
    added = [AddedToken(token, special=True, normalized=False) for token in _SPECIAL]
    added += [AddedToken(token, special=False, normalized=False) for token in _MARKUP]
    bpe = byte_level_bpe(tokens, [], pre="gpt2", added=added)
    template = ChatTemplate(CHATML, {"eos_token": "<|im_end|>"})
    ends = frozenset(tokens.index(token) for token in ("<|endoftext|>", "<|im_end|>"))
    return ChatTokenizer(bpe, template, eos_ids=ends)


def _byte_characters() -> list[str]:
    """All 256 byte stand-ins, in a fixed order."""
    return sorted(ByteLevel.alphabet())


def _draw(leaf: Leaf, rng: np.random.Generator) -> np.ndarray:
    """Norms at one; kernels keep the variance of their input; a table quiet beside the layers.

    The quiet table keeps a tied head from only repeating the token it has just read.
    """
    if len(leaf.shape) == 1:
        is_norm = leaf.path[-1] == "weight"
        noise = rng.normal(0.0, 0.1, leaf.shape)
        return (np.ones(leaf.shape) if is_norm else noise).astype(np.float32)
    deviation = 1 / math.sqrt(leaf.shape[1]) if leaf.is_kernel else 0.1
    return rng.normal(0.0, deviation, leaf.shape).astype(np.float32)
