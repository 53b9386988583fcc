"""How far people agree with one another, and judges with people.

Pure. Invariant: who abstained is counted as such, and is neither right nor wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from statistics import fmean
from typing import NamedTuple

from clawjax.config import HUMAN
from clawjax.records import Verdict
from clawjax.review.label import Label, category

__all__ = ["Band", "JudgeReport", "Kappa", "between_people", "cohen_kappa", "of_judges"]

_BANDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ends of the bands of |score| in which a judge's calibration is shown."""


class Kappa(NamedTuple):
    """Agreement of two raters on the same items."""

    n: int
    agreed: float | None
    """Share of the items on which both say the same; None without items."""
    kappa: float | None
    """Cohen's; None without items, or where chance alone makes both say the same always."""


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """`(p_o - p_e) / (1 - p_e)`, `p_e = sum_k p_1(k) p_2(k)` over categories k.

    Reference: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    n = len(pairs)
    if n == 0:
        return Kappa(0, None, None)
    observed = sum(first == second for first, second in pairs) / n
    firsts, seconds = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(firsts[key] * seconds[key] for key in firsts) / n**2
    kappa = None if expected == 1 else (observed - expected) / (1 - expected)
    return Kappa(n, observed, kappa)


def between_people(labels: Sequence[Label]) -> Kappa:
    """Over every two people who labelled the same turn, in the order of their names.

    With more than two people this is a kappa of "one and another", not of two persons.
    """
    by_turn: dict[str, list[Label]] = {}
    for label in sorted(labels, key=lambda label: label.reviewer):
        by_turn.setdefault(label.turn_id, []).append(label)
    return cohen_kappa(
        [
            (category(first.score), category(second.score))
            for group in by_turn.values()
            for first, second in combinations(group, 2)
        ]
    )


class Band(NamedTuple):
    """Where a judge's |score| lies in (low, high]."""

    low: float
    high: float
    n: int
    right: float | None
    """Share with the people's sign; None without turns. Calibrated is who grows with the band."""


class JudgeReport(NamedTuple):
    """A module against the people's verdicts, over turns on which these are not unsure."""

    n: int
    abstained: float | None
    """Share of them on which the module has no opinion: an abstention or a 0."""
    right: float | None
    """Share with the people's sign, where it has one."""
    kappa: float | None
    """Cohen's, of good and bad, where it has an opinion."""
    bias: float | None
    """Its mean score less the people's, where it has one: above 0 it flatters."""
    bands: tuple[Band, ...]


def of_judges(turns: Sequence[Sequence[Verdict]]) -> Mapping[str, JudgeReport]:
    """Every module's report, by name.

    Args:
        turns: the verdicts on each reviewed turn; those without a decided one of people are left
            out.
    """
    met: dict[str, list[tuple[float | None, float]]] = {}
    for verdicts in turns:
        said = next((v.score for v in verdicts if v.module == HUMAN), None)
        if not said:
            continue
        for verdict in verdicts:
            if verdict.module != HUMAN:
                met.setdefault(verdict.module, []).append((verdict.score or None, said))
    return {module: _report(pairs) for module, pairs in sorted(met.items())}


def _report(pairs: Sequence[tuple[float | None, float]]) -> JudgeReport:
    known = [(score, said) for score, said in pairs if score is not None]
    return JudgeReport(
        n=len(pairs),
        abstained=1 - len(known) / len(pairs) if pairs else None,
        right=_right(known),
        kappa=cohen_kappa([(category(score), category(said)) for score, said in known]).kappa,
        bias=fmean(score - said for score, said in known) if known else None,
        bands=tuple(_band(low, high, known) for low, high in pairwise(_BANDS)),
    )


def _band(low: float, high: float, known: Sequence[tuple[float, float]]) -> Band:
    inside = [(score, said) for score, said in known if low < abs(score) <= high]
    return Band(low, high, len(inside), _right(inside))


def _right(pairs: Sequence[tuple[float, float]]) -> float | None:
    return fmean(score * said > 0 for score, said in pairs) if pairs else None
