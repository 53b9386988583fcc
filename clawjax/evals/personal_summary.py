"""The personal suite in numbers: one row per trial, per persona and method, and per method.

Pure functions of trial results; what the benchmark commits and `docs/results.md` shows.
Invariants: a gain is against the base of the same persona and seed; what was not measured, and an
interval that nothing is known of, is None, and a mean is over what was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from statistics import fmean, stdev
from typing import Any

from clawjax.evals.bootstrap import bootstrap_nested, interval_of_replies
from clawjax.evals.stability import sessions_by_chance

__all__ = [
    "LEAST_SHARED",
    "LEAST_VARIETY",
    "MOST_EMPTY",
    "chance_of_base",
    "interval_of_lead",
    "is_degenerate",
    "method_rows",
    "persona_rows",
    "trial_rows",
]

MOST_EMPTY = 0.02
"""Share of replies of under three words, or equal to another, that a policy may have."""
LEAST_VARIETY = 0.7
"""Distinct word pairs, relative to the base's, that it has to keep."""
LEAST_SHARED = 3
"""Personas that two methods have to share, on the same seeds, for one to be placed by the other."""

_SAMPLES = 2
"""Sample replies kept per trial: to the first held-out prompts."""

Result = Mapping[str, Any]
Row = dict[str, Any]


def is_degenerate(result: Result, base: Result | None) -> bool:
    """Whether the wish was met by saying nothing, or much the same to everybody.

    Args:
        result: a trial.
        base: the base's, of the same persona and seed; None where it was not measured.
    """
    style = result["style"]
    is_poor = base is not None and style["distinct2"] < LEAST_VARIETY * base["style"]["distinct2"]
    return max(style["short_share"], style["identical_share"]) > MOST_EMPTY or is_poor


def trial_rows(results: Sequence[Result]) -> list[Row]:
    """One flat row per trial, beside the base of the same persona and seed."""
    bases = {(r["persona"], r["seed"]): r for r in results if r["method"] == "base"}
    return [_trial_row(r, bases.get((r["persona"], r["seed"]))) for r in results]


def _trial_row(result: Result, base: Result | None) -> Row:
    style, kept = result["style"], result["retention"]
    return {
        **{key: result[key] for key in ("persona", "method", "seed")},
        **{key: style[key] for key in ("style_score", "ci", "n", "mean_words")},
        "gain": _change(result, base, _score),
        "short_share": style["short_share"],
        "identical_share": style["identical_share"],
        "distinct2": style["distinct2"],
        "distinct2_over_base": _ratio(style["distinct2"], base),
        "is_degenerate": is_degenerate(result, base),
        "kl_per_token": kept["kl_per_token"],
        "nll_per_token": kept["nll_per_token"],
        "nll_increase": _change(result, base, lambda r: r["retention"]["nll_per_token"]),
        "accuracy": kept["accuracy"]["value"],
        "accuracy_change": _change(result, base, lambda r: r["retention"]["accuracy"]["value"]),
        "training": _training(result["training"], base),
        "version": result["version"],
        "seconds": result["seconds"],
        "git_sha": result["git_sha"],
        "samples": [
            {key: reply[key] for key in ("prompt", "text", "words", "score")}
            for reply in style["samples"][:_SAMPLES]
        ],
    }


def chance_of_base(base: Result | None) -> float | None:
    """Sessions that a stable effect would take by chance, were every reply the base's.

    Args:
        base: a trial of it; None where it was not measured.

    Returns:
        None where it was not, or where no held-out reply of its meets the wish.
    """
    if base is None:
        return None
    return sessions_by_chance(fmean(score >= 1.0 for score in base["style"]["scores"]))


def _training(training: Result | None, base: Result | None) -> Row | None:
    """The live conversation; a field that the trial does not know is None."""
    if training is None:
        return None
    judge = training["judge"] or {}
    return {
        "sessions_to_stable": training["sessions_to_stable"],
        "sessions_by_chance": chance_of_base(base),
        "style_by_round": training["style_by_round"],
        "turns_by_round": training.get("turns_by_round"),
        "judge_agreement": judge.get("agreement"),
        "judge_wrong_sign": judge.get("wrong_sign"),
        "logged": training["logged"],
        "trained": training["trained"],
        "dropped": training["dropped"],
        "pending": training["pending"],
        "lost": training.get("lost"),
    }


def persona_rows(results: Sequence[Result]) -> list[Row]:
    """Means over the seeds of each persona and method.

    The interval is over seeds and prompts; of one seed, over its replies alone.
    """
    rows = []
    replies: dict[tuple[str, str], list[Sequence[float]]] = {}
    for result in results:
        key = result["persona"], result["method"]
        replies.setdefault(key, []).append(result["style"]["scores"])
    measured = trial_rows(results)
    for persona, method in replies:
        same = [r for r in measured if (r["persona"], r["method"]) == (persona, method)]
        trained = [r["training"] for r in same if r["training"] is not None]
        rows.append(
            {
                "persona": persona,
                "method": method,
                "seeds": [r["seed"] for r in same],
                "ci": interval_of_replies(replies[persona, method]),
                **{name: _mean(r[name] for r in same) for name in _AVERAGED},
                "gains": [r["gain"] for r in same],
                "degenerate": sum(r["is_degenerate"] for r in same),
                "sessions_to_stable": [t["sessions_to_stable"] for t in trained],
                "sessions_by_chance": [t["sessions_by_chance"] for t in trained],
                "judge_agreement": _mean(t["judge_agreement"] for t in trained),
                "trained": _mean(t["trained"] for t in trained),
            }
        )
    return rows


_AVERAGED = (
    "style_score",
    "gain",
    "mean_words",
    "kl_per_token",
    "nll_per_token",
    "nll_increase",
    "accuracy",
    "accuracy_change",
    "distinct2_over_base",
    "seconds",
)


def method_rows(results: Sequence[Result], *, against: str = "combined") -> list[Row]:
    """Each method over all personas: mean gain, and how far `against` is ahead of it.

    Both are means over personas of means over seeds, a gain with a 95 % nested bootstrap interval,
    a lead with `interval_of_lead`; the lead of `against` is over the personas and seeds that both
    were measured on. In the order of
    that lead, since gains are over different personas; methods that share fewer than
    `LEAST_SHARED` personas with `against` are not placed and come last, as they come.
    """
    gains = _gains(results)
    objectives = {r["method"]: r["objective"] for r in results}
    rows = []
    for method, personas in gains.items():
        groups = [list(seeds.values()) for seeds in personas.values()]
        leads = [] if method == against else _paired(gains.get(against, {}), personas)
        rows.append(
            {
                "method": method,
                "personas": len(groups),
                "trials": sum(map(len, groups)),
                "gain": _grand_mean(groups),
                "gain_ci": bootstrap_nested(groups),
                "against": against,
                "shared": len(leads),
                "lead": _grand_mean(leads) if leads else None,
                "lead_ci": interval_of_lead(leads, among=len(gains) - 1),
                "is_placed": method == against or len(leads) >= LEAST_SHARED,
                "objective": objectives[method],
            }
        )
    placed = sorted((row for row in rows if row["is_placed"]), key=lambda row: row["lead"] or 0.0)
    apart = [row for row in rows if not row["is_placed"]]
    after = dict(pairwise(row["method"] for row in placed))
    return [
        row | _over(gains, row["method"], after.get(row["method"])) for row in [*placed, *apart]
    ]


_Gains = Mapping[str, Mapping[int, float]]


def _gains(results: Sequence[Result]) -> dict[str, dict[str, dict[int, float]]]:
    """By method, persona and seed; not of the base."""
    gains: dict[str, dict[str, dict[int, float]]] = {}
    for row in trial_rows(results):
        if row["gain"] is not None and row["method"] != "base":
            seeds = gains.setdefault(row["method"], {}).setdefault(row["persona"], {})
            seeds[row["seed"]] = row["gain"]
    return gains


def _over(gains: Mapping[str, _Gains], method: str, after: str | None) -> Row:
    """How far a method is ahead of the one placed after it, where both were measured."""
    leads = [] if after is None else _paired(gains[method], gains[after])
    return {
        "over_next": _grand_mean(leads) if leads else None,
        "over_next_ci": interval_of_lead(leads, among=len(gains) - 1),
    }


def _paired(ahead: _Gains, behind: _Gains) -> list[list[float]]:
    """Differences by persona, over the seeds that both have."""
    groups = [
        [ahead[persona][seed] - gain for seed, gain in seeds.items() if seed in ahead[persona]]
        for persona, seeds in behind.items()
        if persona in ahead
    ]
    return [group for group in groups if group]


def interval_of_lead(
    groups: Sequence[Sequence[float]], *, among: int
) -> tuple[float, float] | None:
    """Student's t interval of a mean difference, such that `among` of them hold with 95 % at once.

    Over the means of groups (personas), or the members of the only one (its seeds), with
    Bonferroni's correction. A percentile bootstrap of eight values is too narrow for verdicts, and
    of three it is their range.

    Returns:
        None of fewer than two values.
    """
    from scipy import stats

    values = [fmean(group) for group in groups] if len(groups) > 1 else [*chain(*groups)]
    if len(values) < 2:
        return None
    within = float(stats.t.ppf(1 - 0.025 / max(among, 1), len(values) - 1))
    reach = within * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def _grand_mean(groups: Iterable[Sequence[float]]) -> float:
    return fmean(fmean(group) for group in groups)


def _score(result: Result) -> float:
    return result["style"]["style_score"]


def _change(result: Result, base: Result | None, value: Callable[[Result], float]) -> float | None:
    return None if base is None else value(result) - value(base)


def _ratio(distinct2: float, base: Result | None) -> float | None:
    if base is None or base["style"]["distinct2"] == 0:
        return None
    return distinct2 / base["style"]["distinct2"]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
