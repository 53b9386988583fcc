"""What the benchmarks of training share: the material, the settings, and taking turns at steps.

Invariant: all contestants train the same model on the same tokens with the same optimiser, at a
learning rate so small that the policy stays where it was: every step does all of its work, and
losses and gradients of any two steps can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from _compare import in_turn, load, ratios, spread

from clawjax.config import LearnerConfig, ModelConfig
from clawjax.evals.material import fixed_text
from clawjax.models.load import load_tokenizer

__all__ = [
    "LEARNING_RATE",
    "Contestant",
    "Turn",
    "duel",
    "memory_row",
    "optimiser_settings",
    "ragged_lengths",
    "ragged_turns",
    "text_ids",
]

LEARNING_RATE = 1e-9
Turn = tuple[list[int], list[int]]
"""Prompt and response token ids."""
_GIB = 2.0**30


class Contestant(Protocol):
    """Somebody in another process (`_peer.Peer`)."""

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something."""
        ...


def text_ids(count: int) -> list[int]:
    """So many tokens of English, from the beginning again where the text is shorter."""
    tokenizer, _, _ = load_tokenizer(ModelConfig())
    ids = list(tokenizer.encode(fixed_text()))
    return (ids * -(-count // len(ids)))[:count]


def ragged_lengths(
    count: int, *, median: float, sigma: float, low: int, high: int, seed: int
) -> list[int]:
    """Lengths of turns in tokens: log-normal, rounded and clipped to `low` ... `high`."""
    drawn = np.random.default_rng(seed).lognormal(np.log(median), sigma, count)
    return np.clip(np.rint(drawn), low, high).astype(int).tolist()


def ragged_turns(text: Sequence[int], lengths: Sequence[int], *, seed: int) -> list[Turn]:
    """Pieces of `text`, each beginning at another place; the first half of each is the prompt.

    A piece that reaches the end goes on at the beginning. No two begin alike, so that no learner
    can share what they have in common.
    """
    starts = np.random.default_rng(seed).permutation(len(text))[: len(lengths)]
    ring = [*text, *text]
    pieces = [
        ring[start : start + length] for start, length in zip(starts.tolist(), lengths, strict=True)
    ]
    return [(piece[: len(piece) // 2], piece[len(piece) // 2 :]) for piece in pieces]


def optimiser_settings() -> dict[str, float]:
    """What the peers have to be told of ours."""
    config = LearnerConfig()
    return {
        "learning_rate": LEARNING_RATE,
        "beta1": config.beta1,
        "beta2": config.beta2,
        "adam_eps": config.adam_eps,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "rank": config.lora.rank,
        "alpha": config.lora.alpha,
    }


def duel(
    contestants: Mapping[str, Contestant], turns: Sequence[Turn], *, rounds: int
) -> dict[str, float]:
    """Train on `turns` in turn: columns of a row, for `ours` and `theirs`.

    Tokens per second count prompts and responses. `nll` (nats per response token) and
    `gradient_norm` are those of the first step.
    """
    tokens = sum(len(prompt) + len(response) for prompt, response in turns)
    first: dict[str, dict[str, Any]] = {}

    def step(name: str) -> float:
        answer = contestants[name].call("train")
        first[name] = {**answer, **first[name]}
        return tokens / answer["seconds"]

    for name, contestant in contestants.items():
        first[name] = contestant.call("prepare", turns=turns)
    measured = in_turn({name: lambda name=name: step(name) for name in contestants}, rounds=rounds)
    row: dict[str, float] = {"tokens": tokens, "load": load()}
    for name, values in measured.items():
        row |= spread(values).as_row(f"{name}_tokens_per_s")
        row |= {f"{name}_{what}": first[name][what] for what in ("nll", "gradient_norm")}
    return row | ratios(measured["ours"], measured["theirs"]).as_row("ratio")


def memory_row(ours: Contestant, theirs: Contestant) -> dict[str, float]:
    """The most memory that each process has held so far."""
    peaks = {
        f"{name}_peak_gib": contestant.call("peak")["peak_bytes"] / _GIB
        for name, contestant in (("ours", ours), ("theirs", theirs))
    }
    return peaks | {"memory_ratio": peaks["ours_peak_gib"] / peaks["theirs_peak_gib"]}
