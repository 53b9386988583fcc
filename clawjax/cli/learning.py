"""Is it learning? What a run's turn log, weights and metrics say of that, in a few lines.

Invariant: what chance alone may have done is not told as learning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from clawjax.config import RunConfig
from clawjax.log.scores import ScoredReply, count_ready, scored_replies
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import newest_with
from clawjax.metrics.trend import change_of_mean, pieces
from clawjax.weights import DirectoryWeightStore

__all__ = ["describe_learning", "learning_lines"]

_WINDOW = 48
"""Replies that are compared: three of the default batches."""
_KL_KEYS = ("drift/kl", "train/kl")
"""The exact one is after the step, the other before it."""


def describe_learning(folder: Path, config: RunConfig, log: SqlTurnLog | None) -> dict[str, Any]:
    """How replies are liked at first, now and before that, and how far learning has come.

    Args:
        folder: the run's.
        config: what it was started with.
        log: its turn log; None where that is not at hand.
    """
    return {
        "replies": None if log is None else _compared(log, config.reward.weights),
        "step": None if log is None else _next_step(log, config),
        "newest": _newest(folder),
        "kl_to_base": _kl(folder),
    }


def learning_lines(found: Mapping[str, Any], *, now: float | None = None) -> Iterator[str]:
    """The same for people; times are told as of `now`, Unix seconds."""
    if newest := found["newest"]:
        age = _age(newest["made_at"], time.time() if now is None else now)
        kl = found["kl_to_base"]
        drift = "" if kl is None else f", KL to the base {kl:.3f} nats/token"
        yield f"  learnt   version {newest['version']} was made {age}{drift}"
    if step := found["step"]:
        yield f"  next     {_step_line(step)}"
    if replies := found["replies"]:
        yield from _reply_lines(replies)


def _compared(log: SqlTurnLog, weights: Mapping[str, float]) -> dict[str, Any]:
    oldest = scored_replies(log, weights, limit=_WINDOW, is_newest=False)
    if not oldest:
        return {"first": None, "now": None, "change": None, "lately": None}
    start = oldest[0].version
    first = [reply for reply in oldest if reply.version == start]
    newest = scored_replies(log, weights, limit=2 * _WINDOW, is_newest=True)
    trained = [reply for reply in newest if reply.version != start]
    now, earlier = trained[-_WINDOW:], trained[:-_WINDOW]
    return {
        "first": _stretch(first),
        "now": _stretch(now),
        "change": _change(first, now),
        "lately": _change(earlier, now),
    }


def _stretch(replies: Sequence[ScoredReply]) -> dict[str, Any] | None:
    if not replies:
        return None
    versions = [reply.version for reply in replies]
    return {
        "replies": len(replies),
        "mean": fmean(reply.score for reply in replies),
        "praised": sum(reply.score > 0 for reply in replies),
        "versions": [min(versions), max(versions)],
    }


def _change(before: Sequence[ScoredReply], after: Sequence[ScoredReply]) -> dict[str, Any] | None:
    found = change_of_mean(_pieces(before), _pieces(after))
    if found is None:
        return None
    return found._asdict() | {"is_beyond_chance": found.is_beyond_chance, "from": len(before)}


def _pieces(replies: Sequence[ScoredReply]) -> list[tuple[float, ...]]:
    return pieces((reply.conversation, reply.score) for reply in replies)


def _next_step(log: SqlTurnLog, config: RunConfig) -> dict[str, Any]:
    objective, learner = config.objective, config.learner
    ready = count_ready(
        log,
        by_score=objective.uses_scores or objective.uses_demonstrations,
        by_hint=objective.uses_hints,
    )
    return {
        "ready": ready,
        "batch_turns": learner.batch_turns,
        "min_turns": learner.min_turns,
        "idle_s": learner.idle_s,
        "max_wait_s": learner.max_wait_s,
    }


def _newest(folder: Path) -> dict[str, Any] | None:
    """The newest version, served or not."""
    if not (folder / "weights").is_dir():
        return None
    made = DirectoryWeightStore(folder / "weights").versions()
    return {"version": made[-1].version, "made_at": made[-1].created_at} if made else None


def _kl(folder: Path) -> float | None:
    entry = newest_with(folder / "metrics.jsonl", *_KL_KEYS) or {}
    known = [entry[key] for key in _KL_KEYS if entry.get(key) is not None]
    return known[0] if known else None


def _step_line(step: Mapping[str, Any]) -> str:
    batch, least = step["batch_turns"], min(step["min_turns"], step["batch_turns"])
    line = f"{step['ready']} of {batch} judged turns that a step begins with"
    if step["ready"] >= batch or least == batch:
        return line
    return (
        f"{line}; {least} are enough after {step['idle_s']:g} s without a request, "
        f"or when one has waited {step['max_wait_s']:g} s"
    )


def _reply_lines(replies: Mapping[str, Any]) -> Iterator[str]:
    first, now, change, lately = (replies[key] for key in ("first", "now", "change", "lately"))
    if first is None:
        yield "  liked    not known yet: no reply has a score"
        return
    yield f"  liked    at first {_stretch_line(first)}"
    if now is None:
        yield "           no reply of a later version has a score yet"
        return
    yield f"           now      {_stretch_line(now)}"
    yield f"           that is  {_change_line(change)}"
    if lately is not None:
        yield f"           of late  {_change_line(lately)}, against the {lately['from']} before"


def _stretch_line(stretch: Mapping[str, Any]) -> str:
    first, last = stretch["versions"]
    by = f"version {first}" if first == last else f"versions {first} to {last}"
    return (
        f"{stretch['mean']:+.2f} in the mean, {stretch['praised']} of {stretch['replies']} praised "
        f"({by})"
    )


def _change_line(change: Mapping[str, Any]) -> str:
    bounds = f"{change['difference']:+.2f} (95 %: {change['low']:+.2f} to {change['high']:+.2f})"
    if not change["is_beyond_chance"]:
        return f"{bounds}, which chance may do"
    return f"{bounds}, {'better' if change['low'] > 0 else 'worse'} than chance explains"


def _age(made_at: float | None, now: float) -> str:
    if made_at is None:
        return "at an unknown time"
    seconds = max(0.0, now - made_at)
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
