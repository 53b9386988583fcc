"""AgentBench's own report: `overall.json` of each task, and the one number over all eight.

`overall.json` as `src/client/task.py` and each task's `calculate_overall` write it (branch v0.2);
the overall score as the paper defines it. Invariant: there is no overall score of fewer than eight
tasks. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from clawjax.errors import EvalError
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.trajectory import Score, Trajectory, messages_of
from clawjax.evals.suites.agentbench.dbbench.rules import published_accuracies

__all__ = ["COLUMNS", "WEIGHT_INVERSES", "Scored", "main_percent", "overall_json", "overall_score"]

WEIGHT_INVERSES = {
    "OS": 10.8,
    "DB": 13.0,
    "KG": 13.9,
    "DCG": 12.0,
    "LTP": 3.5,
    "HH": 13.0,
    "WS": 30.7,
    "WB": 11.6,
}
"""Table 2 of the paper: what the 27 models reached on average, in percent."""

COLUMNS = {"os": "OS", "dbbench": "DB", "household": "HH", "webshop": "WS", "mind2web": "WB"}
"""The paper's columns of our suites."""

_STATUS = {
    Outcome.COMPLETED: "completed",
    Outcome.CONTEXT_LIMIT: "agent context limit",
    Outcome.INVALID_FORMAT: "agent validation failed",
    Outcome.INVALID_ACTION: "agent invalid action",
    Outcome.TASK_LIMIT: "task limit reached",
    Outcome.SCORER_ERROR: "unknown",
    Outcome.ENVIRONMENT_ERROR: "task error",
    Outcome.BROKE_ENVIRONMENT: "task error",
}
"""What is not here is in upstream's `error.jsonl` and counted nowhere."""
_STATUSES = ("running", *dict.fromkeys(_STATUS.values()))


class Scored(NamedTuple):
    """An episode as far as it counts here."""

    trajectory: Trajectory
    score: Score


def overall_score(percents: Mapping[str, float]) -> float:
    """Mean over the eight tasks of score / average score: OA = 1/8 sum_i s_i / w_i.

    Args:
        percents: main metric of each task, by the paper's column.

    Raises:
        EvalError: a task is missing.
    """
    missing = [name for name in WEIGHT_INVERSES if name not in percents]
    if missing:
        msg = f"no overall score without {', '.join(missing)}: report the tasks one by one"
        raise EvalError(msg)
    return fmean(percents[name] / weight for name, weight in WEIGHT_INVERSES.items())


def overall_json(suite: str, episodes: Sequence[Scored]) -> dict[str, Any]:
    """The content of `overall.json`.

    Args:
        suite: one of `COLUMNS`.
        episodes: all that were played.

    Raises:
        EvalError: there is none that upstream would count.
    """
    held = [each for each in episodes if each.trajectory.outcome in _STATUS]
    if not held:
        msg = f"{suite} has no finished episode of {len(episodes)}: play it first"
        raise EvalError(msg)
    statuses = Counter(_STATUS[each.trajectory.outcome] for each in held)
    lengths = [_history_length(each.trajectory) for each in held]
    return {
        "total": len(held),
        "validation": {
            **{name: statuses[name] / len(held) for name in _STATUSES},
            "average_history_length": fmean(lengths),
            "max_history_length": max(lengths),
            "min_history_length": min(lengths),
        },
        "custom": _CUSTOM[suite](held),
    }


def main_percent(suite: str, overall: Mapping[str, Any]) -> float:
    """The number that the paper's table shows of a task (`src/analysis.py`), in percent."""
    custom = overall["custom"]
    match suite:
        case "dbbench":
            return 100 * custom["overall_cat_accuracy"]
        case "os":
            return 100 * custom["overall"]["acc"]
        case "household":
            return 100 * custom["overall"]["success_rate"]
        case "webshop":
            return 100 * custom["reward"]
    return custom["step_sr"]


def _passes(share: str) -> Callable[[Sequence[Scored]], dict[str, Any]]:
    def custom(episodes: Sequence[Scored]) -> dict[str, Any]:
        passed = sum(each.score.value == 1.0 for each in episodes)
        total = len(episodes)
        counts = {"total": total, "pass": passed, "wrong": total - passed, share: passed / total}
        return {"overall": counts}

    return custom


def _accuracies(episodes: Sequence[Scored]) -> dict[str, Any]:
    """Episodes without a result are left out, as upstream does."""
    return published_accuracies(
        (str(each.trajectory.metadata["type"]), each.score.value == 1.0)
        for each in episodes
        if each.score.value is not None
    )


def _reward(episodes: Sequence[Scored]) -> dict[str, Any]:
    known = [each.score.value for each in episodes if each.score.value is not None]
    return {"reward": fmean(known) if known else 0.0}


def _browsing(episodes: Sequence[Scored]) -> dict[str, Any]:
    """A step without a result counts 0 (`mind2web/task.py`, `metric`)."""
    return {
        name: 100 * fmean(each.score.parts.get(name) or 0.0 for each in episodes)
        for name in ("element_acc", "action_f1", "step_sr")
    }


def _history_length(trajectory: Trajectory) -> int:
    return len(messages_of(trajectory.instruction, trajectory.first_observation, trajectory.steps))


_CUSTOM: dict[str, Callable[[Sequence[Scored]], dict[str, Any]]] = {
    "os": _passes("acc"),
    "dbbench": _accuracies,
    "household": _passes("success_rate"),
    "webshop": _reward,
    "mind2web": _browsing,
}
