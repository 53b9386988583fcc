"""A sweep's summary: table, which parameter mattered, the best command line.

Importance is PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): how unlike the values of the
best trials are to those of all, shares of 1. Few trials say little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from clawjax.sweeps.record import Row, SweepRecord, best, command_line

__all__ = ["importance", "plot", "render"]

_FEWEST = 4
"""Scored trials below which nothing is said about importance."""
_BLUE, _GREY = "#2563eb", "#9aa5b1"
_WORDS = 60
_LOG_FROM = 100.0
"""Positive values that are further apart than this factor are compared by their logarithms."""


def render(record: SweepRecord, weights: Mapping[str, float] | None) -> str:
    """The summary in Markdown."""
    keys = list(dict.fromkeys(key for row in record.rows for key in row.values))
    sign = 1 if record.is_minimised else -1
    ordered = sorted(
        record.rows,
        key=lambda row: (row.score is None, sign * (row.score or 0.0), row.state != "complete"),
    )
    lines = [_line("trial", "score", *keys, "state", "seconds")]
    lines.append("|" + "---|" * (len(keys) + 4))
    for row in ordered:
        given = [row.values.get(key, "") for key in keys]
        state = row.state.partition("\n")[0][:_WORDS]
        lines.append(_line(row.name, _number(row.score), *given, state, _number(row.seconds)))
    parts = ["# Sweep", "\n".join(lines), _importance_text(weights)]
    top = best(record)
    if top is None:
        parts.append("No trial has a score.")
    else:
        told = f"Best: trial {top.name}, score {_number(top.score)}"
        parts.append(f"{told}\n\n```bash\n{command_line(record, top)}\n```")
    return "\n\n".join(parts) + "\n"


def importance(record: SweepRecord) -> dict[str, float] | None:
    """Share of each parameter; None where too little is known.

    Raises:
        UnavailableError: Optuna is not installed.
    """
    scored = [row for row in record.rows if row.score is not None and row.state == "complete"]
    if len(scored) < _FEWEST or len({row.score for row in scored}) < 2:
        return None
    import optuna

    space = _distributions(scored)
    if not space:
        return None
    study = optuna.create_study(direction="minimize" if record.is_minimised else "maximize")
    for row in scored:
        params = {key: _typed(row.values[key], space[key]) for key in space}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=row.score))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(value) for key, value in found.items()}


def plot(record: SweepRecord, weights: Mapping[str, float] | None, path: Path) -> None:
    """Scores in order and importances, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    scored = [(index, row) for index, row in enumerate(record.rows) if row.score is not None]
    for state, colour in (("complete", _BLUE), ("pruned", _GREY)):
        points = [(index, row.score) for index, row in scored if row.state == state]
        if points:
            left.scatter(*zip(*points, strict=True), s=18, color=colour, label=state)
    complete = [(index, row.score or 0.0) for index, row in scored if row.state == "complete"]
    if complete:
        rule = min if record.is_minimised else max
        best_so_far = list(accumulate((score for _, score in complete), rule))
        left.step([index for index, _ in complete], best_so_far, where="post", color=_BLUE, lw=1)
        left.legend(frameon=False)
    left.set(title="score by trial; the line is the best so far", xlabel="trial", ylabel="score")
    shares = list((weights or {}).items())[::-1]
    right.barh([name for name, _ in shares], [share for _, share in shares], color=_BLUE)
    told = "importance (PED-ANOVA)" if weights else f"importance: under {_FEWEST} different trials"
    right.set(title=told, xlim=(0, 1))
    figure.savefig(path, dpi=120)


def _distributions(rows: Sequence[Row]) -> dict[str, Any]:
    """Of the keys that every row has, and that vary."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for key in rows[0].values:
        values = [row.values[key] for row in rows if key in row.values]
        if len(values) < len(rows) or len(set(values)) < 2:
            continue
        numbers = [number for value in values if (number := _as_number(value)) is not None]
        if len(numbers) == len(values):
            low, high = min(numbers), max(numbers)
            found[key] = FloatDistribution(low, high, log=low > 0 and high / low >= _LOG_FROM)
        else:
            found[key] = CategoricalDistribution(sorted(set(values)))
    return found


def _typed(value: str, distribution: Any) -> Any:
    return value if hasattr(distribution, "choices") else float(value)


def _as_number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _importance_text(weights: Mapping[str, float] | None) -> str:
    if weights is None:
        return f"Importance: not measured, that takes {_FEWEST} trials with different scores."
    listed = ", ".join(f"{key} {value:.2f}" for key, value in weights.items())
    return f"Importance (PED-ANOVA, shares of 1): {listed}"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
