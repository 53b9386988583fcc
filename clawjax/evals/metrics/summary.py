"""All that a report says of a suite's episodes, as JSON.

Invariant: means are over scored episodes, `scored` and `unscored` stand beside them, and what could
not be measured is null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from clawjax.evals.harness.outcome import AGENTBENCH, UNSCORED, Outcome
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode
from clawjax.evals.harness.tasks import Action, Task, ToolKind
from clawjax.evals.harness.trajectory import Parse, Trajectory, effective_outcome, rounds
from clawjax.evals.metrics.agreement import agreement
from clawjax.evals.metrics.calls import has_calls, match_calls
from clawjax.evals.metrics.coherence import coherence
from clawjax.evals.metrics.statistics import (
    clustered_bootstrap,
    pass_at_k,
    pass_hat_k,
    standard_error,
)

__all__ = ["Prices", "by_task", "episode_row", "is_success", "summarise"]

Prices = tuple[float, float]
"""Per million tokens of prompts and of replies."""

_ALMOST_ONE = 1 - 1e-6
_GROUPED = 12
"""Metadata with more values than this is not a way to group tasks."""


def is_success(value: float) -> bool:
    """Whether a score is full marks."""
    return value >= _ALMOST_ONE


def summarise(
    suite: Suite, episodes: Sequence[Episode], *, prices: Prices | None = None
) -> dict[str, Any]:
    """The whole summary.

    Args:
        suite: that was played.
        episodes: all of them, unscored ones included.
        prices: of tokens; None: cost is not known.
    """
    rows = [episode_row(suite, episode, prices) for episode in episodes]
    scored = [row for row in rows if row["value"] is not None]
    outcomes = Counter(row["outcome"] for row in rows)
    return {
        "suite": suite.name,
        "suite_version": suite.version,
        "agent": episodes[0].trajectory.agent if episodes else None,
        "tasks": len({row["task_id"] for row in rows}),
        "episodes": len(rows),
        "scored": len(scored),
        "unscored": len(rows) - len(scored),
        "error_share": _share(rows, lambda row: row["outcome"] in UNSCORED),
        "outcomes": {str(outcome): outcomes[outcome] for outcome in Outcome},
        "agentbench": _agentbench(outcomes),
        "main_metric": _main(suite, episodes),
        "success": _uncertain(scored, "success"),
        "score": _uncertain(scored, "value"),
        "by": _groups(episodes, rows),
        "pass": _repeated(scored),
        **{name: _means(scored, keys) for name, keys in _MEANS.items()},
        "judge": _judge(scored),
    }


def episode_row(suite: Suite, episode: Episode, prices: Prices | None = None) -> dict[str, Any]:
    """One episode in numbers; `value` is None where it is unscored."""
    task, trajectory, score = episode
    outcome = effective_outcome(trajectory, score)
    value = None if outcome in UNSCORED else score.value
    optimal = task.reference.steps
    steps = rounds(trajectory.steps)
    success = None if value is None else float(is_success(value))
    made, reference = trajectory.resolved_actions, task.reference.actions
    is_told = has_calls(reference)
    row: dict[str, Any] = {
        "task_id": task.task_id,
        "cluster": task.cluster,
        "trial": trajectory.trial,
        "outcome": outcome,
        "value": value,
        "success": success,
        "judged": score.judged,
        "progress": _progress(suite.progress(task, trajectory, score), success),
        "steps": float(steps),
        "steps_over_optimal": steps / optimal if optimal and success else None,
        "spl": None
        if success is None or optimal is None
        else success * optimal / max(optimal, steps),
        "calls": float(len(trajectory.actions)),
        "wall_s": trajectory.wall_s,
        "side_effects": _side_effects(suite, task, trajectory),
        **_usage(trajectory, prices),
        **_validity(trajectory),
        **coherence(trajectory)._asdict(),
    }
    for prefix, with_arguments in (("calls", True), ("names", False)):
        found = match_calls(made, reference, with_arguments=with_arguments)
        for name, each in found._asdict().items():
            row[f"{prefix}_{name}"] = each if is_told else None
    return row | _by_kind(suite.tool_kinds, made, reference)


def by_task(episodes: Iterable[Episode]) -> dict[str, list[float]]:
    """Scores by task, unscored ones left out."""
    found: dict[str, list[float]] = {}
    for task, trajectory, score in episodes:
        if score.value is not None and effective_outcome(trajectory, score) not in UNSCORED:
            found.setdefault(task.task_id, []).append(score.value)
    return found


_MATCH = ("exact", "in_order", "any_order", "precision", "recall")
_KINDS: tuple[ToolKind, ...] = ("read", "write")
_MEANS: Mapping[str, tuple[str, ...]] = {
    "progress": ("progress",),
    "efficiency": (
        "steps",
        "steps_over_optimal",
        "spl",
        "calls",
        "prompt_tokens",
        "completion_tokens",
        "wall_s",
        "cost",
    ),
    "validity": ("format_valid", "action_valid", "call_errors"),
    "tool_calls": (
        *(f"{kind}_{name}" for kind in ("calls", "names") for name in _MATCH),
        *(f"{kind}s_{name}" for kind in _KINDS for name in ("precision", "recall")),
    ),
    "coherence": ("repeated", "looping", "revisited", "precondition"),
    "side_effects": ("side_effects",),
}


def _by_kind(
    kinds: Mapping[str, ToolKind], called: Sequence[Action], reference: Sequence[Action]
) -> dict[str, float | None]:
    """Calls that read and calls that write, each kind on its own.

    Recall is what tau2 calls read and write accuracy.
    """
    row: dict[str, float | None] = {}
    for kind in _KINDS:
        made, wanted = (
            [each for each in calls if kinds.get(each.name) == kind]
            for calls in (called, reference)
        )
        found = match_calls(made, wanted, with_arguments=True)
        row[f"{kind}s_precision"] = found.precision if has_calls(reference) else None
        row[f"{kind}s_recall"] = found.recall
    return row


def _progress(reached: float | None, success: float | None) -> float | None:
    """AgentBoard's: the share of subgoals reached; 1 where the task was solved in another way."""
    return 1.0 if success and reached is not None else reached


def _side_effects(suite: Suite, task: Task, trajectory: Trajectory) -> float | None:
    found = suite.side_effects(task, trajectory)
    return None if found is None else float(len(found))


def _usage(trajectory: Trajectory, prices: Prices | None) -> dict[str, float | None]:
    used = [step.turn.usage for step in trajectory.steps]
    prompt = _total([each.prompt_tokens for each in used])
    completion = _total([each.completion_tokens for each in used])
    cost = None
    if prices is not None and prompt is not None and completion is not None:
        cost = (prompt * prices[0] + completion * prices[1]) / 1e6
    return {"prompt_tokens": prompt, "completion_tokens": completion, "cost": cost}


def _total(counts: Sequence[int | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return float(sum(known)) if known and len(known) == len(counts) else None


def _validity(trajectory: Trajectory) -> dict[str, float | None]:
    """Replies that could be read; actions that could be taken (grounding); calls that failed."""
    steps, executed = trajectory.steps, trajectory.executed
    refused = sum(step.parse is Parse.INVALID_ACTION for step in steps)
    attempted = len(executed) + refused
    taken = sum(each.result.is_valid for each in executed)
    failed = sum(each.result.error is not None for each in executed)
    malformed = sum(step.parse is Parse.FORMAT_ERROR for step in steps)
    return {
        "format_valid": 1 - malformed / len(steps) if steps else None,
        "action_valid": taken / attempted if attempted else None,
        "call_errors": (failed + refused) / attempted if attempted else None,
    }


def _uncertain(scored: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    clusters: dict[str, list[float]] = {}
    for row in scored:
        clusters.setdefault(row["cluster"], []).append(row[key])
    values = [row[key] for row in scored]
    return {
        "value": fmean(values) if values else None,
        "stderr": standard_error(values),
        "ci": clustered_bootstrap(clusters),
        "n": len(values),
    }


def _repeated(scored: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    trials: dict[str, list[float]] = {}
    for row in scored:
        trials.setdefault(row["task_id"], []).append(row["success"])
    counts = [(len(values), int(sum(values))) for values in trials.values()]
    most = max((n for n, _ in counts), default=0)
    ks = range(1, most + 1)
    return {
        "pass@k": {str(k): pass_at_k(counts, k) for k in ks},
        "pass^k": {str(k): pass_hat_k(counts, k) for k in ks},
    }


def _groups(
    episodes: Sequence[Episode], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    labels = [{"split": e.task.split, **e.task.metadata} for e in episodes]
    found: dict[str, dict[str, Any]] = {}
    for key in sorted({key for label in labels for key in label}):
        values = [label.get(key) for label in labels]
        if not all(isinstance(value, str | int | None) for value in values):
            continue
        distinct = sorted({str(value) for value in values})
        if 1 < len(distinct) <= _GROUPED:
            found[key] = {
                each: _uncertain(
                    [
                        row
                        for row, value in zip(rows, values, strict=True)
                        if str(value) == each and row["value"] is not None
                    ],
                    "value",
                )
                for each in distinct
            }
    return found


def _means(scored: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for key in keys:
        known = [row[key] for row in scored if row[key] is not None]
        means[key] = fmean(known) if known else None
    return means


def _agentbench(outcomes: Counter[Outcome]) -> dict[str, float]:
    total = sum(outcomes.values())
    classes = Counter[str]()
    for outcome, count in outcomes.items():
        classes[AGENTBENCH[outcome]] += count
    return {
        name: classes[name] / total if total else 0.0 for name in dict.fromkeys(AGENTBENCH.values())
    }


def _main(suite: Suite, episodes: Sequence[Episode]) -> float | None:
    if suite.main_metric is None:
        return None
    return suite.main_metric([(e.trajectory, e.score) for e in episodes])


def _judge(scored: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    pairs = [
        (row["judged"] >= 0.5, bool(row["success"])) for row in scored if row["judged"] is not None
    ]
    if not pairs:
        return None
    return {"score": fmean([float(judge) for judge, _ in pairs]), **agreement(pairs)._asdict()}


def _share(rows: Sequence[Mapping[str, Any]], is_so: Any) -> float:
    return sum(map(is_so, rows)) / len(rows) if rows else 0.0
