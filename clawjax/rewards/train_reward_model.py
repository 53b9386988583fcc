"""Trains a reward model on preference pairs, calibrates it, and adopts it where it is better.

Run by hand or on a schedule, never while serving (`python experiments/train_reward_model.py`).
Owns the split and the rule of adoption. Invariants: a prompt is in training, validation or
held-out pairs, by its own hash, and so for every version: no version was trained on another's
held-out pairs. The same pairs and seed give the same model.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clawjax.errors import RewardError
from clawjax.rewards.preference_features import FeatureReader, PreferencePair
from clawjax.rewards.reward_head import RewardHead
from clawjax.rewards.reward_store import RewardModelStore, StoredModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Quality", "Settings", "Trained", "fit_head", "measure", "split_of", "train_version"]

logger = logging.getLogger(__name__)

_MIN_PAIRS = 8
"""In each part of the split; fewer say nothing."""
_BINS = 5


class Settings(NamedTuple):
    """What the result depends on, besides the pairs."""

    members: int = 8
    l2: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    """Weight decays tried; the one with the lowest loss on the validation pairs is taken."""
    iterations: int = 200
    seed: int = 0


class Quality(NamedTuple):
    """On pairs that nothing was trained or chosen on."""

    pairs: int
    accuracy: float
    """Share of pairs whose chosen reply is thought the better one."""
    loss: float
    """Mean `-log P(chosen over rejected)`, in nats; log 2 is a coin."""
    ece: float
    """Expected calibration error of `max(p, 1 - p)` over equal bins of [0.5, 1]."""
    curve: tuple[tuple[float, float, int], ...]
    """Reliability: mean confidence, share right and number of pairs of each bin that has any."""
    longer: float
    """Share of pairs whose longer reply is thought the better one."""


class Trained(NamedTuple):
    """A new version and what became of it."""

    stored: StoredModel
    quality: Quality
    rival: Quality | None
    """The version adopted before, on the same pairs; None where there was none."""
    is_adopted: bool


class _Pairs(NamedTuple):
    """Features of both sides, `[N, F]` each."""

    chosen: NDArray[np.float32]
    rejected: NDArray[np.float32]
    longer: NDArray[np.bool_]
    """Whether the chosen reply has more characters, `[N]`."""


def split_of(prompt: str) -> str:
    """`train` (60 %), `validation` (20 %) or `held_out` (20 %), by the prompt's hash alone."""
    place = int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16) % 10
    return "train" if place < 6 else "validation" if place < 8 else "held_out"


def train_version(
    pairs: Sequence[PreferencePair],
    store: RewardModelStore,
    reader: FeatureReader,
    settings: Settings | None = None,
) -> Trained:
    """Train, keep, and adopt where the held-out pairs say that it is better.

    Adopted is what has a lower mean loss than the version adopted before, and no lower accuracy;
    a first version has to beat a coin in both.

    Raises:
        RewardError: too few pairs for a split.
    """
    settings = settings or Settings()
    parts = _read(pairs, reader)
    head, l2 = fit_head(parts["train"], parts["validation"], settings)
    quality = measure(head, parts["held_out"])
    old = store.load() if store.adopted() is not None else None
    rival = None if old is None else measure(old.head, parts["held_out"])
    is_better = quality.loss < (np.log(2) if rival is None else rival.loss)
    is_adopted = bool(is_better and quality.accuracy >= (0.5 if rival is None else rival.accuracy))
    about: dict[str, Any] = {
        "created_at": time.time(),
        "parent": None if old is None else old.version,
        "settings": settings._asdict() | {"chosen_l2": l2},
        "pairs": {name: len(part.longer) for name, part in parts.items()},
        "provenance": dict(Counter(pair.provenance or "unknown" for pair in pairs)),
        "users": len({pair.user for pair in pairs}),
        "quality": quality._asdict(),
        "rival": None if rival is None else rival._asdict(),
        "is_adopted": is_adopted,
    }
    stored = store.write(head, about)
    if is_adopted:
        store.adopt(stored.version)
    return Trained(stored, quality, rival, is_adopted)


def fit_head(train: _Pairs, validation: _Pairs, settings: Settings) -> tuple[RewardHead, float]:
    """The ensemble with the weight decay and the temperature that suit the validation pairs."""
    both = np.concatenate([train.chosen, train.rejected])
    mean, scale = both.mean(0), np.maximum(both.std(0), 1e-3)
    differences = (train.chosen - train.rejected) / scale
    checked = (validation.chosen - validation.rejected) / scale
    rng = np.random.default_rng(settings.seed)
    resampled = [
        rng.integers(len(differences), size=len(differences)) for _ in range(settings.members)
    ]
    best: tuple[float, float, NDArray[np.float32], float] | None = None
    for l2 in settings.l2:
        weights = np.stack([_fit(differences[rows], l2, settings.iterations) for rows in resampled])
        logits = (checked @ weights.T).mean(1)
        temperature = _temperature(logits)
        loss = _loss(logits / temperature)
        if best is None or loss < best[0]:
            best = (loss, l2, weights, temperature)
    assert best is not None, "Settings.l2 is empty"
    _, l2, weights, temperature = best
    middles = np.median(((both - mean) / scale) @ weights.T, axis=0)
    return RewardHead(mean, scale, weights, middles.astype(np.float32), temperature), l2


def measure(head: RewardHead, pairs: _Pairs) -> Quality:
    """How good a model is on held-out pairs."""
    logits = (head.rewards(pairs.chosen) - head.rewards(pairs.rejected)).mean(1) / head.temperature
    right = logits > 0
    confidence = 1.0 / (1.0 + np.exp(-np.abs(logits)))
    bins = np.minimum((2 * _BINS * (confidence - 0.5)).astype(int), _BINS - 1)
    curve = []
    for number in range(_BINS):
        inside = bins == number
        if inside.any():
            curve.append(
                (
                    round(float(confidence[inside].mean()), 4),
                    round(float(right[inside].mean()), 4),
                    int(inside.sum()),
                )
            )
    total = len(logits)
    return Quality(
        pairs=total,
        accuracy=float(right.mean()),
        loss=_loss(logits),
        ece=sum(abs(said - was) * count for said, was, count in curve) / total,
        curve=tuple(curve),
        longer=float((right == pairs.longer).mean()),
    )


def _read(pairs: Sequence[PreferencePair], reader: FeatureReader) -> dict[str, _Pairs]:
    """Features by part of the split.

    Raises:
        RewardError: a part has too few pairs.
    """
    by_part: dict[str, list[PreferencePair]] = {"train": [], "validation": [], "held_out": []}
    for pair in pairs:
        by_part[split_of(pair.prompt)].append(pair)
    for name, members in by_part.items():
        if len(members) < _MIN_PAIRS:
            msg = (
                f"{len(members)} of {len(pairs)} pairs are for {name} (the split is by prompt), "
                f"and {_MIN_PAIRS} are needed: collect more prompts"
            )
            raise RewardError(msg)
    return {name: _features(members, reader) for name, members in by_part.items()}


def _features(pairs: Sequence[PreferencePair], reader: FeatureReader) -> _Pairs:
    prompts = {text: reader.vector(text) for text in {pair.prompt for pair in pairs}}
    return _Pairs(
        np.stack([reader.join(prompts[pair.prompt], pair.chosen) for pair in pairs]),
        np.stack([reader.join(prompts[pair.prompt], pair.rejected) for pair in pairs]),
        np.asarray([len(pair.chosen) > len(pair.rejected) for pair in pairs]),
    )


def _fit(differences: NDArray[np.float32], l2: float, iterations: int) -> NDArray[np.float32]:
    """Minimise `mean(log(1 + exp(-x w))) + l2 |w|^2 / 2` over `w [F]`, `x [N, F]`."""
    from scipy.optimize import minimize

    x = differences.astype(np.float64)

    def objective(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = x @ w
        pull = -1.0 / (1.0 + np.exp(np.clip(logits, -500, 500)))
        value = float(np.logaddexp(0.0, -logits).mean() + 0.5 * l2 * w @ w)
        return value, x.T @ pull / len(x) + l2 * w

    found = minimize(
        objective,
        np.zeros(x.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations},
    )
    return found.x.astype(np.float32)


def _temperature(logits: NDArray[np.float32]) -> float:
    """That of the lowest loss (Guo et al. 2017, arXiv:1706.04599), within a factor of 20.

    Targets are smoothed to (n + 1) / (n + 2) (Platt 1999): `n` pairs all told apart do not prove
    certainty.
    """
    smoothed = 1.0 / (len(logits) + 2.0)
    tried = np.geomspace(0.05, 20.0, 121)
    losses = [
        (1.0 - smoothed) * _loss(logits / each) + smoothed * _loss(-logits / each) for each in tried
    ]
    return float(tried[int(np.argmin(losses))])


def _loss(logits: NDArray[np.float32]) -> float:
    return float(np.logaddexp(0.0, -logits.astype(np.float64)).mean())
