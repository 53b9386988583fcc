"""Is the user content with the last reply? A small encoder's answer, in three probabilities.

The packaged sentence encoder, with the low-rank updates and the linear head that
`clawjax.rewards.train_reaction` learnt. Loaded at the first use, run in numpy on one text at a
time; safe to call from several threads.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clawjax.errors import ConfigError
from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path
from clawjax.rewards.language import detect_language

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEAD_PATH", "PROJECTIONS", "UNKNOWN", "Reaction", "ReactionModel", "write_head"]

HEAD_PATH = Path(__file__).parent / "data" / "reaction_model.safetensors"
PROJECTIONS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
"""The linear maps of a layer that have a low-rank update."""


class Reaction(NamedTuple):
    """Probabilities; they sum to one."""

    praise: float
    complaint: float
    neutral: float


UNKNOWN = Reaction(0.0, 0.0, 1.0)
"""What is made of a message in a language that the encoder was not trained on."""


class ReactionModel:
    """Classifies what a user says after a reply."""

    def __init__(self, encoder_path: Path, head_path: Path = HEAD_PATH) -> None:
        """Remember where the files are."""
        self._encoder_path = encoder_path
        self._head_path = head_path
        self.digest = hashlib.sha256(head_path.read_bytes()).hexdigest()
        # Held while the model is read, so that two threads do not read it twice.
        self._load_lock = threading.Lock()
        self._loaded: _Loaded | None = None

    @classmethod
    def packaged(cls) -> ReactionModel:
        """The model that ships with clawjax.

        Raises:
            ConfigError: the package with the encoder's weights is not installed.
        """
        return cls(packaged_encoder_path())

    def classify(self, text: str) -> Reaction:
        """Read one message; tens of milliseconds on a CPU."""
        if detect_language(text) not in (None, "en"):
            return UNKNOWN
        with self._load_lock:
            if self._loaded is None:
                self._loaded = _Loaded.read(self._encoder_path, self._head_path)
        praise, complaint, neutral = (float(p) for p in self._loaded.probabilities(text))
        return Reaction(praise, complaint, neutral)


class _Loaded(NamedTuple):
    """The encoder with its updates merged in, and the head with the temperature divided out."""

    encoder: BertEncoder
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @classmethod
    def read(cls, encoder_path: Path, head_path: Path) -> _Loaded:
        from safetensors.numpy import load_file

        tensors = {name: t.astype(np.float32) for name, t in load_file(head_path).items()}
        temperature = tensors.pop("temperature")
        weight = tensors.pop("head.weight") / temperature
        bias = tensors.pop("head.bias") / temperature
        updates = {
            name.removesuffix("a") + "weight": tensors[name] @ tensors[name.removesuffix("a") + "b"]
            for name in tensors
            if name.endswith(".a")
        }
        return cls(BertEncoder(encoder_path, updates=updates), weight, bias)

    def probabilities(self, text: str) -> NDArray[np.float32]:
        """Softmax of the head over the mean of the last states, `[3]`."""
        scores = self.encoder.states(text).mean(0) @ self.weight + self.bias
        exponents = np.exp(scores - scores.max())
        return exponents / exponents.sum()


def write_head(path: Path, params: Mapping[str, NDArray[np.float32]], temperature: float) -> None:
    """Write updates, head and temperature, in half precision where that is harmless.

    Raises:
        ConfigError: an update lacks its other half.
    """
    from safetensors.numpy import save_file

    for name in params:
        if name.endswith(".a") and name.removesuffix("a") + "b" not in params:
            msg = f"{name} has no second factor: train again"
            raise ConfigError(msg)
    tensors = {
        name: np.ascontiguousarray(value, np.float16 if name.endswith((".a", ".b")) else np.float32)
        for name, value in params.items()
    }
    tensors["temperature"] = np.asarray([temperature], np.float32)
    save_file(tensors, path)
