"""Bradley-Terry heads: an ensemble of linear scores of a prompt and a reply, and how sure it is.

`P(a over b) = sigmoid((r(a) - r(b)) / T)` with `r` linear in the features (Bradley & Terry 1952;
as a reward model: Christiano et al. 2017, arXiv:1706.03741). Members were trained on resampled
pairs: where they disagree, the pairs seen do not say. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clawjax.errors import StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Opinion", "RewardHead"]

_NAMES = ("mean", "scale", "weights", "middles", "temperature")


class Opinion(NamedTuple):
    """What an ensemble thinks."""

    probability: float
    """Of being better: the mean of the members' logits, calibrated."""
    disagreement: float
    """Standard deviation of the members' probabilities."""


@dataclass(frozen=True, slots=True)
class RewardHead:
    """`K` members over `F` features."""

    mean: NDArray[np.float32]
    """Of the features in training, `[F]`."""
    scale: NDArray[np.float32]
    """Their standard deviations, `[F]`."""
    weights: NDArray[np.float32]
    """`[K, F]`, for standardised features."""
    middles: NDArray[np.float32]
    """Each member's median reward of the replies in training, `[K]`."""
    temperature: float
    """What differences of rewards are divided by."""

    def rewards(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Uncalibrated, `[..., K]`, for features `[..., F]`."""
        return np.asarray(((features - self.mean) / self.scale) @ self.weights.T, np.float32)

    def compare(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> Opinion:
        """Is a reply with features `a` better than one with `b`, `[F]` each, to the same prompt?"""
        return self._opinion(self.rewards(a) - self.rewards(b))

    def rate(self, features: NDArray[np.float32]) -> Opinion:
        """Is a reply, of features `[F]`, better than a middling one?"""
        return self._opinion(self.rewards(features) - self.middles)

    def _opinion(self, logits: NDArray[np.float32]) -> Opinion:
        scaled = logits / self.temperature
        return Opinion(float(_sigmoid(scaled.mean())), float(_sigmoid(scaled).std()))

    def save(self, file: Path) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save_file

        tensors = {
            name: np.ascontiguousarray(np.atleast_1d(getattr(self, name)), np.float32)
            for name in _NAMES
        }
        save_file(tensors, file)

    @classmethod
    def load(cls, file: Path) -> RewardHead:
        """Read what `save` wrote.

        Raises:
            StoreError: it cannot be read, or is something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(file)
            if not (
                tensors["weights"].shape == (len(tensors["middles"]), len(tensors["mean"]))
                and tensors["scale"].shape == tensors["mean"].shape
            ):
                msg = "its shapes do not fit together"
                raise ValueError(msg)
            return cls(
                **{name: tensors[name] for name in _NAMES[:-1]},
                temperature=float(tensors["temperature"][0]),
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            msg = f"the reward model {file} cannot be read ({error!r}): train it again"
            raise StoreError(msg) from error


def _sigmoid(x: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x))), np.float32)
