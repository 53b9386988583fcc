"""What a run achieved, in one JSON object and on one page.

Owns `report.json`, `report.md` and `report.png`. Invariant: everything is read again from the
run's durable files, so a report can be made at any time, also of a run that was interrupted, and
twice gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from clawjax.evals.bootstrap import bootstrap_mean
from clawjax.evals.latency import feedback_to_served
from clawjax.evals.page import render_page
from clawjax.evals.personal import StyleResult
from clawjax.evals.plot import plot_run
from clawjax.evals.series import collect_series, judge_agreement
from clawjax.files import replace_file
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import read_jsonl
from clawjax.weights import DirectoryWeightStore, Lineage, Rollback

__all__ = [
    "AFTER_FILE",
    "BEFORE_FILE",
    "LEARNED_MEANS",
    "RunFacts",
    "build_report",
    "judge_learning",
    "write_report",
]

BEFORE_FILE = "eval_before.json"
AFTER_FILE = "eval_after.json"
LEARNED_MEANS = (
    "the style score on held-out prompts rose, with a 95 % bootstrap interval of the paired "
    "difference above 0, by a policy that was updated and does not degenerate"
)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run's files do not tell."""

    seed: int
    seconds: float
    """Wall-clock time, all starts together."""
    peak_rss_bytes: int | None
    """Largest resident memory of all processes together."""
    git_sha: str | None
    policy_version: int
    """The version served at the end."""
    model: str = ""
    persona: str = ""
    wish: str = ""
    """What the persona wants; completes "the user ..."."""
    objective: str = ""
    """The effective objective, in words."""
    reward_weights: Mapping[str, float] = field(default_factory=dict)
    """Per reward module, as the learner combines their scores; 1 where absent."""
    versions: Mapping[str, str] = field(default_factory=dict)


def write_report(run_dir: Path, log: SqlTurnLog, facts: RunFacts) -> dict[str, Any]:
    """Write all three files into the run's folder and return the content of `report.json`."""
    report = build_report(run_dir, log, facts)
    before, after = _evaluations(run_dir)
    series = collect_series(replay(log), *_recorded(run_dir), facts.reward_weights)
    title = facts.model + (f": the user {facts.wish}" if facts.wish else "")
    plot_run(run_dir / "report.png", series, before=before, after=after, title=title)
    replace_file(run_dir / "report.json", json.dumps(report, indent=2) + "\n")
    replace_file(run_dir / "report.md", render_page(report, before, after))
    return report


def build_report(run_dir: Path, log: SqlTurnLog, facts: RunFacts) -> dict[str, Any]:
    """Sum a run up. A number that is not known is null."""
    metrics, user = _recorded(run_dir)
    before, after = _evaluations(run_dir)
    turns = list(replay(log))
    store = DirectoryWeightStore(run_dir / "weights")
    lineage = Lineage.of_store(store)
    counts, counters = log.counts(), log.counters()
    has_learned, because = judge_learning(before, after, facts.policy_version)
    agreement = judge_agreement(turns, user, facts.reward_weights)
    ended = counts.trained + sum(counts.dropped.values())
    return {
        "learned": has_learned,
        "learned_because": because,
        "learned_means": LEARNED_MEANS,
        "model": facts.model,
        "persona": facts.persona,
        "wish": facts.wish,
        "objective": facts.objective,
        "before": _evaluation(before),
        "after": _evaluation(after),
        "turns": {
            "logged": counts.logged,
            "trained": counts.trained,
            "dropped": counts.dropped,
            "pending": counts.pending,
            "is_balanced": ended + counts.pending == counts.logged == len(turns),
        },
        "policy_version": facts.policy_version,
        "requests": counters.get("requests"),
        "other_requests": counters.get("other_requests", 0 if "requests" in counters else None),
        "non_2xx": counters.get("non_2xx", 0 if "requests" in counters else None),
        "weights": _weights(lineage, store.rollbacks()),
        "feedback_to_served_turns": feedback_to_served(turns, log.outcomes(), lineage)._asdict(),
        "mean_abs_logprob_diff": _weighted_mean(
            metrics, "train/mean_abs_logprob_diff", "train/mismatch_tokens"
        ),
        "judge": {
            "scored": counts.scored,
            "abstained": counts.abstained,
            "against_mood": None if agreement is None else agreement._asdict(),
        },
        "user": _user_side(run_dir, user),
        "seconds": round(facts.seconds, 1),
        "peak_rss_bytes": facts.peak_rss_bytes,
        "seed": facts.seed,
        "git_sha": facts.git_sha,
        "versions": dict(facts.versions),
    }


def judge_learning(
    before: StyleResult | None, after: StyleResult | None, policy_version: int
) -> tuple[bool, str]:
    """Whether a run learned what its user wants (`LEARNED_MEANS`), and why that is said."""
    if before is None or after is None:
        return False, "held-out prompts were not scored both before and after"
    if policy_version < 1:
        return False, "the policy was never updated"
    was = {reply.prompt: reply.score for reply in before.replies}
    gains = [r.score - was[r.prompt] for r in after.replies if r.prompt in was]
    if not gains:
        return False, "no prompt was scored both before and after"
    low, high = bootstrap_mean(gains)
    change = (
        f"the style score changed by {fmean(gains):+.2f} (95 % interval {low:+.2f}, {high:+.2f})"
    )
    if after.is_degenerate:
        return False, f"{change}, but the replies degenerate"
    return low > 0, change


def _weights(lineage: Lineage, rollbacks: Sequence[Rollback]) -> dict[str, Any]:
    """What became of the versions that were made."""
    return {
        "made": lineage.newest,
        "refused": [
            {"version": version, "reason": reason} for version, reason in lineage.refused.items()
        ],
        "rollbacks": [
            {"at": rollback.at, "was": rollback.was, "to": rollback.to}
            for rollback in rollbacks
            if rollback.was != rollback.to
        ],
    }


def _evaluation(result: StyleResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "style_score": result.style_score,
        "ci": list(result.ci),
        "mean_words": result.mean_words,
        "n": result.n,
        "kl_per_token": result.kl_per_token,
        "short_share": result.short_share,
        "identical_share": result.identical_share,
        "distinct2": result.distinct2,
        "is_degenerate": result.is_degenerate,
        "version": result.version,
    }


def _user_side(run_dir: Path, user: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the simulated user saw of the server; None where there was none."""
    if not user:
        return None
    state_file = run_dir / "user_state.json"
    state = json.loads(state_file.read_text(encoding="utf-8")) if state_file.exists() else {}
    latencies = sorted(entry["latency_s"] for entry in user)
    first = sorted(entry["first_token_s"] for entry in user)
    return {
        "turns": len(user),
        "sessions": len({entry["session"] for entry in user}),
        "status_errors": state.get("status_errors"),
        "connection_errors": state.get("connection_errors"),
        "latency_s": {"median": _quantile(latencies, 0.5), "p90": _quantile(latencies, 0.9)},
        "first_token_s": {"median": _quantile(first, 0.5), "p90": _quantile(first, 0.9)},
    }


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)]


def _weighted_mean(
    metrics: Sequence[Mapping[str, Any]], value_key: str, weight_key: str
) -> float | None:
    found = [
        (entry[value_key], entry[weight_key])
        for entry in metrics
        if entry.get(value_key) is not None and entry.get(weight_key)
    ]
    weight = sum(weight for _, weight in found)
    return sum(value * part for value, part in found) / weight if weight else None


def _recorded(run_dir: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return read_jsonl(run_dir / "metrics.jsonl"), read_jsonl(run_dir / "user.jsonl")


def _evaluations(run_dir: Path) -> tuple[StyleResult | None, StyleResult | None]:
    return StyleResult.load(run_dir / BEFORE_FILE), StyleResult.load(run_dir / AFTER_FILE)
