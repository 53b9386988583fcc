"""The effective objective in words and formula: what runs, not what could.

Pure text from configuration; imports no jax, so that a dry run is instant.
"""

from __future__ import annotations

from clawjax.config import (
    HINT_MODULES,
    Baseline,
    HintChoice,
    LearnerConfig,
    Normalisation,
    ObjectiveConfig,
    OpdConfig,
    OpdForm,
    RewardConfig,
    Teacher,
)
from clawjax.learner.credit.combine import EXPLICIT_FEEDBACK

__all__ = ["describe"]

_BASELINES = {
    Baseline.none: ("A = s", "no baseline: A is the turn's score s"),
    Baseline.batch_mean: ("A = s - mean(s)", "baseline: the mean score of the batch"),
    Baseline.leave_one_out: (
        "A = s - mean(other s)",
        "baseline: the mean score of the batch's other turns",
    ),
    Baseline.ema: (
        "A = s - m",
        "baseline: m, the moving average of past batches' mean scores "
        "(decay {decay:g} per batch, 0 at first)",
    ),
}
_MEANS = {
    Normalisation.turn_mean: "each mean is over the turns that have the term's signal, all of "
    "which weigh the same, and so do a turn's response tokens",
    Normalisation.token_mean: "each mean is over the response tokens of the turns that have the "
    "term's signal",
}


def describe(objective: ObjectiveConfig, learner: LearnerConfig, reward: RewardConfig) -> str:
    """The effective objective with its active terms only."""
    formula = [f"  L = {_formula(objective)}", *(f"  {line}" for line in _definitions(objective))]
    words = [f"- {line}" for line in _words(objective, learner, reward)]
    head = f"Objective {objective.name}, minimised over {_trained(learner)}:"
    return "\n".join([head, "", *formula, "", *words])


def _formula(objective: ObjectiveConfig) -> str:
    """The weighted sum of the active terms."""
    terms = []
    if objective.uses_scores:
        terms.append(_weighted(objective.w_rl, f"mean_rl[ {_surrogate(objective, 'A')} ]"))
    if objective.uses_hints:
        is_token = objective.opd.form is OpdForm.token
        inside = _surrogate(objective, "g") if is_token else "KL_K(new || teacher)"
        terms.append(_weighted(objective.w_opd, f"mean_opd[ {inside} ]"))
    if objective.kl_coef > 0:
        terms.append(_weighted(objective.kl_coef, "mean[ exp(d) - 1 - d ]"))
    return " + ".join(terms)


def _surrogate(objective: ObjectiveConfig, advantage: str) -> str:
    low, high = 1 - objective.clip_low, 1 + objective.clip_high
    return f"-min(tr(r) {advantage}, clip(r, {low:g}, {high:g}) {advantage})"


def _weighted(weight: float, term: str) -> str:
    return term if weight == 1 else f"{weight:g} {term}"


def _definitions(objective: ObjectiveConfig) -> list[str]:
    lines = []
    if objective.uses_scores:
        lines.append(_BASELINES[objective.baseline][0])
    if objective.uses_hints and objective.opd.form is OpdForm.token:
        lines.append("g = clip(logp_teacher(a | s, hint) - logp_new(a | s), -c, c), detached")
    if _uses_ratio(objective):
        lines.append("r = exp(logp_new - logp_sampler)")
    return lines


def _uses_ratio(objective: ObjectiveConfig) -> bool:
    return objective.uses_scores or objective.opd.form is OpdForm.token


def _trained(learner: LearnerConfig) -> str:
    if learner.method == "full":
        return "all weights"
    lora = learner.lora
    return f"LoRA adapters of rank {lora.rank} on {', '.join(lora.targets)}"


def _words(objective: ObjectiveConfig, learner: LearnerConfig, reward: RewardConfig) -> list[str]:
    return [
        *(_score_words(objective, reward) if objective.uses_scores else ()),
        *(_hint_words(objective.opd) if objective.uses_hints else ()),
        *(_ratio_words(objective) if _uses_ratio(objective) else ()),
        *_kl_words(objective),
        f"{_MEANS[objective.normalisation]}; a batch has at most {learner.batch_turns} turns",
        f"turns more than {learner.max_staleness} versions old, or longer than "
        f"{learner.max_tokens} tokens, are dropped",
    ]


def _score_words(objective: ObjectiveConfig, reward: RewardConfig) -> list[str]:
    words = _BASELINES[objective.baseline][1]
    return [
        f"s in [-1, 1]: {_score(reward)}; abstentions are never in a batch",
        words.format(decay=objective.ema_decay),
    ]


def _hint_words(opd: OpdConfig) -> list[str]:
    teacher = {
        Teacher.base: "the frozen base model",
        Teacher.ema: f"a moving average of the policy (decay {opd.ema_decay:g} per step)",
        Teacher.policy: "the policy before the step",
    }[opd.teacher]
    choice = {
        HintChoice.overlap: f"the one of at most {opd.max_hints} whose {opd.top_k} likeliest "
        "tokens are most often the policy's own",
        HintChoice.longest: "the longest",
        HintChoice.first: "the first",
    }[opd.hint_choice]
    lines = [f"teacher: {teacher}, with the hint in the last user message; hint: {choice}"]
    if opd.form is OpdForm.token:
        return [*lines, f"c = {opd.max_difference:g} nats"]
    return [
        *lines,
        f"KL_K: over the {opd.support.value}'s {opd.top_k} likeliest tokens and one bin for all "
        "others",
    ]


def _ratio_words(objective: ObjectiveConfig) -> list[str]:
    return [
        "r: against the log-probs recorded when the token was sampled; tr(r) has the value "
        f"min(r, {objective.ratio_cap:g}) and keeps the gradient"
    ]


def _kl_words(objective: ObjectiveConfig) -> list[str]:
    if objective.kl_coef == 0:
        return []
    return ["d = logp_base - logp_new: KL to the base model by the k3 estimator"]


def _score(reward: RewardConfig) -> str:
    others = [name for name in reward.modules if name not in (EXPLICIT_FEEDBACK, *HINT_MODULES)]
    weighted = " + ".join(f"{reward.weights.get(name, 1.0):g} {name}" for name in others)
    mean = f"the weighted mean of {weighted}" if len(others) > 1 else "".join(others)
    if EXPLICIT_FEEDBACK not in reward.modules:
        return mean
    return f"explicit feedback where there is any, else {mean}" if others else "explicit feedback"
