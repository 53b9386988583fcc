"""Trials of the personal suite made up for tests, in the shape that the suite writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clawjax.config import UNTRAINED


def trial(
    method: str,
    seed: int = 0,
    scores: Sequence[float] = (1.0, 0.0),
    *,
    persona: str = "brief",
    settings: str = "same",
    **training: Any,
) -> dict[str, Any]:
    """One trial; keywords replace what is known of its conversation."""
    conversation = {
        "logged": 40,
        "trained": 20,
        "dropped": {"abstained": 3, "side": 15},
        "pending": 2,
        "lost": 0,
        "turns_by_round": [16, 25],
        "style_by_round": [0.25, 0.75],
        "sessions_to_stable": None,
        "judge": {
            "agreement": 0.9, "wrong_sign": 0.1, "n": 20, "abstained": 3, "neutral_scored": 0,
        },
    } | training  # fmt: skip
    return {
        "settings": settings,
        "objective": f"Objective {method}",
        "persona": persona,
        "method": method,
        "seed": seed,
        "style": {
            "style_score": sum(scores) / len(scores),
            "ci": [0.0, 1.0],
            "mean_words": 50.0,
            "n": len(scores),
            "short_share": 0.0,
            "identical_share": 0.0,
            "distinct2": 0.8,
            "version": 0,
            "kl_per_token": None,
            "scores": list(scores),
            "samples": [
                {
                    "prompt": f"Question {number}?",
                    "text": f"{method} says | number {number}.",
                    "words": 3,
                    "score": 1.0,
                    "response_id": f"r{number}",
                    "finish_reason": "stop",
                }
                for number in range(3)
            ],
        },
        "retention": {
            "kl_per_token": 0.0 if method in UNTRAINED else 0.1,
            "nll_per_token": 2.0 if method in UNTRAINED else 2.25,
            "accuracy": {"value": 0.5 if method in UNTRAINED else 0.4375},
        },
        "training": None if method in UNTRAINED else conversation,
        "version": 0,
        "seconds": 120.0,
        "git_sha": "0123456789abcdef",
    }


def write_trials(folder: Path, *trials: dict[str, Any]) -> Path:
    """As the suite keeps them in a run's folder."""
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    for found in trials:
        name = f"{found['persona']}-{found['method']}-{found['seed']}"
        (folder / "trials" / f"{name}.json").write_text(json.dumps(found))
    return folder
