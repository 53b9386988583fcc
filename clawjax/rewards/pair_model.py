"""A small reward model: Bradley-Terry on what a sentence encoder and a ruler say of a reply.

Fitted in seconds on a few dozen pairs: L2-regularised logistic regression on the differences of
chosen and rejected replies. Owns features, fit and file. Invariant: features are standardised by
the replies it was fitted on, and so are scores, whose middle is their mean reward.

Reference: Bradley and Terry 1952; as a reward model, Christiano et al. 2017, arXiv:1706.03741.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clawjax.data.preferences import Preference
from clawjax.errors import ConfigError, DataError
from clawjax.prose import LIST_ITEM
from clawjax.records import Message
from clawjax.rewards.encoder import BertEncoder, packaged_encoder_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Featurise", "PairModel", "packaged_features"]

Featurise = Callable[[str], "Sequence[NDArray[np.float64]]"]
"""A reply's text from one or several points of view, each a vector. All count the same, however
many numbers they have; together they are `[D]`."""

_SENTENCE = re.compile(r"[.!?](?:\s|$)")


@dataclass(frozen=True, slots=True)
class PairModel:
    """`clawjax.data.scoring.ReplyScorer`, linear in the features of a reply."""

    weights: NDArray[np.float64]
    """`[D]`, of standardised features."""
    mean: NDArray[np.float64]
    """`[D]`, of the features of the replies that it was fitted on."""
    scale: NDArray[np.float64]
    """`[D]`, standard deviation of the same."""
    featurise: Featurise

    @classmethod
    def fit(
        cls, pairs: Sequence[Preference], featurise: Featurise, *, l2: float = 1.0
    ) -> PairModel:
        """Minimise `sum_pairs -log sigmoid(w (x_chosen - x_rejected)) + l2 |w|^2 / 2`.

        Raises:
            DataError: no pairs.
        """
        from scipy.optimize import minimize

        if not pairs:
            msg = "a reward model is fitted to pairs, and there are none: give pairs, or several "
            raise DataError(msg + "rated replies to the same prompts")
        chosen = np.stack([np.concatenate(featurise(pair.chosen.content)) for pair in pairs])
        rejected = np.stack([np.concatenate(featurise(pair.rejected.content)) for pair in pairs])
        both = np.concatenate([chosen, rejected])
        widths = [len(view) for view in featurise(pairs[0].chosen.content)]
        mean, scale = both.mean(0), np.maximum(both.std(0), 1e-6)
        scale = scale * np.sqrt(np.repeat(widths, widths))
        differences = (chosen - rejected) / scale

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            margins = differences @ weights
            value = np.logaddexp(0.0, -margins).sum() + 0.5 * l2 * weights @ weights
            pull = 1.0 / (1.0 + np.exp(np.minimum(margins, 500.0)))
            return float(value), l2 * weights - differences.T @ pull

        found = minimize(loss, np.zeros(both.shape[1]), jac=True, method="L-BFGS-B")
        return cls(np.asarray(found.x), mean, scale, featurise)

    def reward(self, reply: str) -> float:
        """In log-odds: of two replies, the better one wins with `sigmoid(r_1 - r_2)`."""
        features = np.concatenate(self.featurise(reply))
        return float((features - self.mean) / self.scale @ self.weights)

    def score(self, prompt: Sequence[Message], reply: str) -> float | None:
        """`2 sigmoid(r) - 1`: against the average of the replies it was fitted on; None if empty.

        The prompt is not read: what a user likes is taken to be a manner, whatever was asked.
        """
        return math.tanh(self.reward(reply) / 2) if reply.strip() else None

    def accuracy(self, pairs: Sequence[Preference]) -> float | None:
        """Share of pairs that it orders as they are; None where there are none."""
        if not pairs:
            return None
        rewards = [(self.reward(p.chosen.content), self.reward(p.rejected.content)) for p in pairs]
        return sum(0.5 * ((a > b) + (a >= b)) for a, b in rewards) / len(pairs)

    def save(self, path: Path) -> None:
        """Write what was fitted."""
        from safetensors.numpy import save_file

        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"weights": self.weights, "mean": self.mean, "scale": self.scale}, path)

    @classmethod
    def load(cls, path: Path, featurise: Featurise) -> PairModel:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file is missing or of another kind.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            tensors = load_file(path)
            return cls(tensors["weights"], tensors["mean"], tensors["scale"], featurise)
        except (OSError, KeyError, SafetensorError) as error:
            msg = f"{path} is no reward model ({error!r}): name a file that a run has written"
            raise ConfigError(msg) from error


def packaged_features() -> Featurise:
    """The mean state of the packaged encoder, as a unit vector, and the reply's shape.

    The encoder reads the first and last 64 tokens; lengths are those of the whole reply.

    Raises:
        ConfigError: the package with the encoder's weights is not installed.
    """
    encoder = BertEncoder(packaged_encoder_path())

    def featurise(text: str) -> Sequence[NDArray[np.float64]]:
        state = encoder.states(text).mean(0).astype(np.float64)
        return state / np.linalg.norm(state), _shape(text)

    return featurise


def _shape(text: str) -> NDArray[np.float64]:
    """Length, paragraphs, list items, sentences, questions; as logarithms of counts."""
    counts = (
        len(text.split()),
        text.strip().count("\n\n"),
        len(LIST_ITEM.findall(text)),
        len(_SENTENCE.findall(text)),
        text.count("?"),
    )
    return np.log1p(np.array(counts, np.float64))
