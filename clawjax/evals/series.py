"""A run as series over its turns: what the plot shows and the report sums up.

Read from the turn log, `metrics.jsonl` and `user.jsonl`; nothing is written. Invariant: entry `i`
of every per-turn series is main turn `i` in order of arrival, and an unknown value is None.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from clawjax.records import JudgedTurn, TurnKind
from clawjax.verdicts import combine

__all__ = [
    "Agreement",
    "RunSeries",
    "collect_series",
    "judge_agreement",
    "lost_replies",
    "rolling",
]

_SIGNS = {"praise": 1, "complaint": -1}


@dataclass(frozen=True, slots=True)
class RunSeries:
    """One entry per main turn, except for `kl`, which has one per training step."""

    style: tuple[float | None, ...]
    reward: tuple[float | None, ...]
    version: tuple[int | None, ...]
    kl: tuple[tuple[int, float], ...]
    """KL to the base per training step, at the number of turns begun until then."""


class Agreement(NamedTuple):
    """The judges against the mood that a simulated user kept to itself."""

    agreement: float | None
    """Of the scored reactions with a mood, the share judged with its sign."""
    wrong_sign: float | None
    """The share judged with the opposite sign."""
    n: int
    abstained: int
    """Reactions with a mood, other than neutral, that no judge scored."""
    neutral_scored: int
    """Neutral reactions that were scored nevertheless."""


def collect_series(
    turns: Iterable[JudgedTurn],
    metrics: Sequence[Mapping[str, Any]],
    user: Sequence[Mapping[str, Any]],
    weights: Mapping[str, float],
) -> RunSeries:
    """Line up what the log, the learner and the simulated user know of each main turn.

    Args:
        turns: with their verdicts.
        metrics: of the run.
        user: what the simulated user remembers of the turns.
        weights: per reward module, as the learner combines their scores.
    """
    main = sorted(
        (judged for judged in turns if judged.turn.kind is TurnKind.MAIN),
        key=lambda judged: judged.turn.arrived_at,
    )
    arrivals = [judged.turn.arrived_at for judged in main]
    styles = {entry["response_id"]: entry.get("style") for entry in user}
    return RunSeries(
        style=tuple(styles.get(judged.turn.response_id) for judged in main),
        reward=tuple(combine(judged.verdicts, weights) for judged in main),
        version=tuple(_first_version(judged) for judged in main),
        kl=tuple(
            (bisect_right(arrivals, entry["t"]), entry["train/kl"])
            for entry in metrics
            if entry.get("train/kl") is not None
        ),
    )


def judge_agreement(
    turns: Iterable[JudgedTurn],
    user: Sequence[Mapping[str, Any]],
    weights: Mapping[str, float],
) -> Agreement | None:
    """Compare verdicts with moods; None where no simulated user told its moods.

    Args:
        turns: with their verdicts.
        user: what the simulated user remembers of them.
        weights: per reward module, as the learner combines their scores.
    """
    moods = {entry["response_id"]: entry.get("mood") for entry in user}
    if not moods:
        return None
    right = wrong = scored = abstained = neutral_scored = 0
    for judged in turns:
        mood = moods.get(judged.turn.response_id)
        found = combine(judged.verdicts, weights)
        if mood == "neutral":
            neutral_scored += found is not None
        elif mood in _SIGNS and found is None:
            abstained += 1
        elif mood in _SIGNS and found is not None:
            scored += 1
            right += found * _SIGNS[mood] > 0
            wrong += found * _SIGNS[mood] < 0
    return Agreement(
        agreement=right / scored if scored else None,
        wrong_sign=wrong / scored if scored else None,
        n=scored,
        abstained=abstained,
        neutral_scored=neutral_scored,
    )


def lost_replies(turns: Iterable[JudgedTurn], user: Sequence[Mapping[str, Any]]) -> int:
    """Replies that the user had and the log does not hold."""
    logged = {judged.turn.response_id for judged in turns}
    return sum(entry["response_id"] not in logged for entry in user)


def rolling(values: Sequence[float | None], window: int) -> list[float | None]:
    """Mean of the known values among the last `window`; None where there is none."""
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if value is not None]
        means.append(fmean(known) if known else None)
    return means


def _first_version(judged: JudgedTurn) -> int | None:
    runs = judged.turn.token_versions
    return runs[0].version if runs else None
