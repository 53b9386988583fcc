"""What people's labels do for a judge: its calibration on turns that nobody labelled. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from clawjax.evals.judging.quality import Judged, calibration
from clawjax.review.calibration import Calibration, Pair, calibrate, fit

__all__ = ["LABELS", "after_labels"]

LABELS = (16, 32, 64)
"""Turns that people label."""
_CHOICES = 40
_LEAST_LEFT = 32
"""Turns to measure on."""


def after_labels(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """A row per number of labels: the mean over random choices of the turns that are labelled.

    A judge is corrected by a fit to the labelled turns alone, and measured on all others that it
    scored. None where too few are left.
    """
    scored = [each for each in judged if each.item.twin_of is None and each.item.label]
    scored = [each for each in scored if each.verdict.score]
    return [_row(scored, labels) for labels in LABELS if len(scored) >= labels + _LEAST_LEFT]


def _row(scored: Sequence[Judged], labels: int) -> dict[str, Any]:
    rng = random.Random(labels)
    found: list[tuple[float, float]] = []
    for _ in range(_CHOICES):
        order = rng.sample(scored, len(scored))
        known, others = order[:labels], order[labels:]
        learnt = fit([Pair(each.verdict.score or 0.0, each.item.label) for each in known])
        found.append((_ece(others), _ece([_corrected(each, learnt) for each in others])))
    befores, afters = zip(*found, strict=True)
    return {
        "labels": labels,
        "turns": len(scored) - labels,
        "ece_before": fmean(befores),
        "ece_after": fmean(afters),
        "better": fmean(after < before for before, after in found),
    }


def _corrected(judged: Judged, learnt: Calibration) -> Judged:
    score = calibrate(judged.verdict.score or 0.0, learnt)
    return judged._replace(verdict=replace(judged.verdict, score=score))


def _ece(judged: Sequence[Judged]) -> float:
    ece = calibration(judged)["ece"]
    return 0.0 if ece is None else float(ece)
