"""The sampler of tunix. Runs in the environment `tunix`."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import _tunix_model
from _serve import serve
from tunix.generate.sampler import CacheConfig, Sampler

_NO_TOKEN = -1
"""Pads nothing and ends nothing: prompts are of equal length, replies of a given one."""
_loaded: dict[str, Any] = {}
_samplers: dict[int, Sampler] = {}
_seeds = itertools.count()


class Ids:
    """A tokenizer whose text is ids with spaces between them."""

    def encode(self, text: str, **_: Any) -> list[int]:
        """Ids."""
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int], **_: Any) -> str:
        """Text nobody reads."""
        return ""

    def bos_id(self) -> None:
        """Nothing is put before a prompt."""

    def eos_id(self) -> int:
        """Nothing ends a reply."""
        return _NO_TOKEN

    def pad_id(self) -> int:
        """Nothing is padding."""
        return _NO_TOKEN


def load(model: str) -> dict[str, Any]:
    """Read a model directory, in fp32."""
    folder = Path(model)
    _loaded["model"] = _tunix_model.load(folder=folder)
    _loaded["config"] = _tunix_model.configuration(folder)
    return {}


def generate(
    prompts: list[list[int]], new_tokens: int, temperature: float, capacity: int
) -> dict[str, Any]:
    """Replies to prompts of equal length; temperature 0 is greedy.

    The cache has room for `capacity` tokens of each.
    """
    width = len(prompts[0])
    sampler = _sampler(capacity)
    texts = [" ".join(map(str, ids)) for ids in prompts]
    began = time.perf_counter()
    out = sampler(
        texts,
        max_generation_steps=new_tokens,
        max_prompt_length=width,
        temperature=temperature,
        top_p=1.0 if temperature else None,
        seed=next(_seeds),
    )
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "ids": [tokens.tolist() for tokens in out.tokens]}


def _sampler(capacity: int) -> Sampler:
    """A sampler whose cache has room for so many tokens."""
    if capacity not in _samplers:
        config = _loaded["config"]
        cache = CacheConfig(capacity, config.num_layers, config.num_kv_heads, config.head_dim)
        _samplers[capacity] = Sampler(_loaded["model"], Ids(), cache)
    return _samplers[capacity]


if __name__ == "__main__":
    serve({"load": load, "generate": generate})
