"""The objective as a formula: the terms that are configured, each with its weight.

Pure text from configuration; imports no jax. What the letters mean, `describe.py` beside it says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from clawjax.config import (
    AGAINST_ITSELF,
    DpoConfig,
    KlEstimator,
    ObjectiveConfig,
    OpdForm,
    PolicyLoss,
)

__all__ = ["Term", "formula", "practice_formula", "terms"]

_KLS = {
    KlEstimator.k1: "-d, as a penalty on the reward",
    KlEstimator.k2: "d^2 / 2",
    KlEstimator.k3: "exp(d) - 1 - d",
}


class Term(NamedTuple):
    """One summand of the loss."""

    name: str
    """`L_rl`, `L_dpo`, `L_opd`, `KL` or `H`."""
    sign: str
    """`+` or `-`."""
    text: str
    """With its weight."""


def formula(objective: ObjectiveConfig, *, without: Collection[str] = ()) -> str:
    """`L = ...`, the sum of the configured terms, less those named in `without`."""
    return f"L = {_sum(term for term in terms(objective) if term.name not in without)}"


def practice_formula(objective: ObjectiveConfig) -> str:
    """`L_practice = ...`, of updates on answers that nobody asked for, which no teacher reads."""
    text = f"mean[ {_surrogate(objective, 'F')} ]"
    scores = Term("L_rl", "+", _weighted(objective.w_rl, text))
    return f"L_practice = {_sum([scores, *_regularisers(objective)])}"


def terms(objective: ObjectiveConfig) -> tuple[Term, ...]:
    """The terms whose weight is not 0, weighted."""
    found: list[Term] = []
    if objective.is_dpo:
        text = f"mean_pairs[ {_pair_loss(objective.dpo)} ]"
        found.append(Term("L_dpo", "+", _weighted(objective.w_rl, text)))
    elif objective.uses_scores:
        text = f"mean_rl[ {_surrogate(objective, 'A')} ]"
        found.append(Term("L_rl", "+", _weighted(objective.w_rl, text)))
    if objective.uses_teacher:
        is_token = objective.opd.form is OpdForm.token
        inside = _surrogate(objective, "g") if is_token else "KL_K(new || teacher)"
        found.append(Term("L_opd", "+", _weighted(objective.w_opd, f"mean_opd[ {inside} ]")))
    return (*found, *_regularisers(objective))


def _regularisers(objective: ObjectiveConfig) -> list[Term]:
    """What every update has."""
    found: list[Term] = []
    if objective.kl_coef > 0:
        text = f"mean[ {_KLS[objective.kl_estimator]} ]"
        found.append(Term("KL", "+", _weighted(objective.kl_coef, text)))
    if objective.entropy_coef > 0:
        found.append(Term("H", "-", _weighted(objective.entropy_coef, "mean[ H(new) ]")))
    return found


def _sum(found: Iterable[Term]) -> str:
    return " ".join(f"{term.sign} {term.text}" for term in found).removeprefix("+ ") or "0"


def _pair_loss(config: DpoConfig) -> str:
    e = config.label_smoothing
    if e == 0:
        return "-log sigmoid(h)"
    return f"-{1 - e:g} log sigmoid(h) - {e:g} log sigmoid(-h)"


def _surrogate(objective: ObjectiveConfig, advantage: str) -> str:
    weight = "w " if objective.off_policy.preset in AGAINST_ITSELF else ""
    return weight + _loss(objective, advantage)


def _loss(objective: ObjectiveConfig, advantage: str) -> str:
    low, high = 1 - objective.clip_low, 1 + objective.clip_high
    match objective.policy_loss:
        case PolicyLoss.clipped:
            return f"-min(tr(r) {advantage}, clip(r, {low:g}, {high:g}) {advantage})"
        case PolicyLoss.gspo:
            return f"-min(R {advantage}, clip(R, {low:g}, {high:g}) {advantage})"
        case PolicyLoss.cispo:
            return f"-min(r, {objective.ratio_cap:g}) {advantage} logp_new"
        case PolicyLoss.reinforce:
            return f"-{advantage} logp_new"
        case PolicyLoss.sft:
            return "-logp_new"


def _weighted(weight: float, term: str) -> str:
    return term if weight == 1 else f"{weight:g} {term}"
