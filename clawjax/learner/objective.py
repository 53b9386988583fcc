"""The effective objective in words and formula: what runs, not what could.

Pure text from configuration; imports no jax, so that a dry run is instant.
"""

from __future__ import annotations

from clawjax.config import Baseline, LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.errors import ConfigError
from clawjax.learner.credit.combine import EXPLICIT_FEEDBACK

__all__ = ["describe"]

_BASELINES = {
    Baseline.none: ("A = s", "no baseline: A is the turn's score s"),
    Baseline.batch_mean: ("A = s - mean(s)", "baseline: the mean score of the batch"),
    Baseline.leave_one_out: (
        "A = s - mean(other s)",
        "baseline: the mean score of the batch's other turns",
    ),
}


def describe(objective: ObjectiveConfig, learner: LearnerConfig, reward: RewardConfig) -> str:
    """The effective objective with its active terms only.

    Raises:
        ConfigError: unknown objective.
    """
    if objective.name != "binary_rl":
        msg = f"objective.name={objective.name!r} cannot be described: use binary_rl"
        raise ConfigError(msg)
    advantage, baseline = _advantage(objective)
    return "\n".join(
        [
            f"Objective {objective.name}, minimised over {_trained(learner)}:",
            "",
            f"  L = 1/N sum_turns 1/T sum_t [ {_formula(objective)} ]",
            f"  {advantage},  r = exp(logp_new - logp_sampler)",
            "",
            *(f"- {line}" for line in _words(objective, learner, reward, baseline)),
        ]
    )


def _formula(objective: ObjectiveConfig) -> str:
    low, high = 1 - objective.clip_low, 1 + objective.clip_high
    surrogate = f"-min(tr(r) A, clip(r, {low:g}, {high:g}) A)"
    if objective.kl_coef == 0:
        return surrogate
    return f"{surrogate} + {objective.kl_coef:g} (exp(d) - 1 - d)"


def _advantage(objective: ObjectiveConfig) -> tuple[str, str]:
    if objective.baseline is not Baseline.ema:
        return _BASELINES[objective.baseline]
    decay = objective.ema_decay
    return "A = s - m", (
        f"baseline: m, the moving average of past batches' mean scores "
        f"(decay {decay:g} per batch, 0 at first)"
    )


def _trained(learner: LearnerConfig) -> str:
    if learner.method == "full":
        return "all weights"
    lora = learner.lora
    return f"LoRA adapters of rank {lora.rank} on {', '.join(lora.targets)}"


def _words(
    objective: ObjectiveConfig, learner: LearnerConfig, reward: RewardConfig, baseline: str
) -> list[str]:
    lines = [
        f"s in [-1, 1]: {_score(reward)}; abstentions are never in a batch",
        baseline,
        "r: against the log-probs recorded when the token was sampled; tr(r) has the value "
        f"min(r, {objective.ratio_cap:g}) and keeps the gradient",
        f"every one of the N turns weighs the same, and so do its T response tokens; "
        f"N is at most {learner.batch_turns}",
        f"turns more than {learner.max_staleness} versions old, or longer than "
        f"{learner.max_tokens} tokens, are dropped",
    ]
    if objective.kl_coef > 0:
        lines.insert(3, "d = logp_base - logp_new: KL to the base model by the k3 estimator")
    return lines


def _score(reward: RewardConfig) -> str:
    others = [name for name in reward.modules if name != EXPLICIT_FEEDBACK]
    weighted = " + ".join(f"{reward.weights.get(name, 1.0):g} {name}" for name in others)
    mean = f"the weighted mean of {weighted}" if len(others) > 1 else "".join(others)
    if EXPLICIT_FEEDBACK not in reward.modules:
        return mean
    return f"explicit feedback where there is any, else {mean}" if others else "explicit feedback"
