"""The effective objective in words: what runs, not what could.

Pure text from configuration; imports no jax, so that a dry run is instant.
"""

from __future__ import annotations

from clawjax.config import (
    AGAINST_ITSELF,
    HINT_MODULES,
    HUMAN,
    PROCESS,
    USES_PROXIMAL,
    Baseline,
    HintChoice,
    LearnerConfig,
    Normalisation,
    ObjectiveConfig,
    OffPolicyPreset,
    OpdConfig,
    OpdForm,
    PolicyLoss,
    RewardConfig,
    StepScheme,
    Teacher,
)
from clawjax.learner.formula import formula, practice_formula, terms
from clawjax.learner.practice_words import bound_words, practice_words
from clawjax.verdicts import EXPLICIT_FEEDBACK

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
        "baseline: m, the moving average of the same user's past mean scores "
        "(decay {decay:g} per batch, 0 at first)",
    ),
    Baseline.whiten: (
        "A = (s - mean(s)) / max(std(s), {floor:g})",
        "baseline: the mean and deviation of the batch",
    ),
    Baseline.grpo: (
        "A = (s - mean_G(s)) / max(std_G(s), {floor:g})",
        "baseline: the mean and deviation of the replies to the same prompt",
    ),
    Baseline.dr_grpo: (
        "A = s - mean_G(s)",
        "baseline: the mean score of the replies to the same prompt",
    ),
    Baseline.rloo: (
        "A = s - mean_G(other s)",
        "baseline: the mean score of the other replies to the same prompt",
    ),
    Baseline.reinforce_pp: (
        "A = whiten(s - mean_G(s))",
        "baseline: the mean score of the replies to the same prompt, then the batch's deviation "
        "(at least {floor:g})",
    ),
}
_PRESETS = {
    OffPolicyPreset.tis: "cap = {cap:g}",
    OffPolicyPreset.decoupled: "cap = {cap:g}",
    OffPolicyPreset.seq_mask: "turns whose product of c leaves {low:g} to {high:g} are left out",
    OffPolicyPreset.geo_mask: "turns whose geometric mean of c leaves {low:g} to {high:g} are left "
    "out",
    OffPolicyPreset.icepop: "tokens whose c leaves {low:g} to {high:g} are left out",
}
_MEANS = {
    Normalisation.turn_mean: "each mean is over the turns that have the term's signal, all of "
    "which weigh the same, and so do a turn's response tokens",
    Normalisation.token_mean: "each mean is over the response tokens of the turns that have the "
    "term's signal",
    Normalisation.constant: "each sum over response tokens is divided by the turns that have the "
    "term's signal, times {constant}",
    Normalisation.turn_sum: "each mean is over the turns that have the term's signal, of the sum "
    "over a turn's response tokens",
}
_OWN_CREDIT = (
    "the function that A is by is somebody's own: it sees the turns with s and gives every "
    "response token of a turn an advantage, or the turn none"
)


def describe(
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    reward: RewardConfig,
    *,
    data_set: str | None = None,
) -> str:
    """The effective objective with its active terms only.

    Args:
        objective: what is minimised.
        learner: how.
        reward: whose scores are learnt from.
        data_set: where scores come from in place of these, of training on a data set.
    """
    formulas = [formula(objective)]
    if objective.practice.rounds > 0:
        formulas.append(practice_formula(objective))
    lines = [f"  {line}" for line in (*formulas, *_definitions(objective))]
    words = [f"- {line}" for line in _words(objective, learner, reward, data_set)]
    with_what = f" with baseline {objective.baseline}" if _compares_to_a_prompt(objective) else ""
    head = f"Objective {objective.name}{with_what}, minimised over {_trained(learner)}:"
    return "\n".join([head, "", *lines, "", *words])


def _definitions(objective: ObjectiveConfig) -> list[str]:
    lines = []
    if _is_sft(objective):
        return []
    if objective.is_dpo:
        return [
            f"h = {objective.dpo.beta:g} (q(chosen) - q(rejected))",
            "q(y) = logp_new(y | x) - logp_base(y | x)",
        ]
    if objective.uses_scores:
        lines += _advantage_definitions(objective)
        practised = objective.practice.rounds > 0
        lines += ["F = f - mean_Q(other f), scaled"] if practised else []
        if objective.negative_weight < 1:
            weight = objective.negative_weight
            lines += [f"{name} < 0 counts {weight:g} {name}" for name in "AF"[: 1 + practised]]
    if objective.uses_teacher and objective.opd.form is OpdForm.token:
        known = ", ".join(_known(objective.opd))
        lines.append(f"g = clip(logp_teacher(a | s, {known}) - logp_new(a | s), -m, m), detached")
    if _has_advantages(objective):
        lines += _ratio_definitions(objective)
    return lines


def _advantage_definitions(objective: ObjectiveConfig) -> list[str]:
    """What `A` is."""
    if objective.credit.is_own:
        return [f"A by {objective.credit}, of the turns of a batch"]
    baseline = _BASELINES[objective.baseline][0].format(floor=objective.deviation_floor)
    return _step_definitions(objective, baseline) if objective.steps.is_on else [baseline]


def _step_definitions(objective: ObjectiveConfig, baseline: str) -> list[str]:
    """What `A` of a step is; `o` is its trajectory's outcome, `p` its own worth."""
    weight, floor = objective.steps.process_weight, objective.deviation_floor
    match objective.steps.scheme:
        case StepScheme.step_bucket:
            return [f"A = (r - mean_B(r)) / (std_B(r) + 1e-06), r = o + {weight:g} p"]
        case StepScheme.pooled:
            scaled = f"z(x) = (x - mean_G(x)) / max(std_G(x), {floor:g})"
            return [f"A = z(o) + {weight:g} sum over this and later steps of z(p)", scaled]
        case _:
            return [f"A = A_o + {weight:g} (p - mean_G(p))", f"{baseline} for A_o, with s = o"]


def _step_words(objective: ObjectiveConfig) -> list[str]:
    by_number = objective.steps.scheme is StepScheme.step_bucket
    return [
        "o: the newest s of the turns of an episode, from the user's message to the answer; p in "
        "[-1, 1]: a turn's labels as a step, by people where they gave any, else by process",
        "B: the steps of the same number in the episodes of the same task"
        if by_number
        else "G: the episodes of the same task",
    ]


def _ratio_definitions(objective: ObjectiveConfig) -> list[str]:
    preset, lines = objective.off_policy.preset, []
    if objective.policy_loss is not PolicyLoss.reinforce:
        lines.append(f"r = exp(logp_new - logp_{_denominator(preset)})")
    if objective.policy_loss is PolicyLoss.gspo:
        lines.append("R = exp(mean of log r over the turn)")
    if preset in AGAINST_ITSELF:
        weight = "min(c, cap)" if preset is not OffPolicyPreset.icepop else "c"
        start = "new" if preset is OffPolicyPreset.tis else "old"
        lines.append(f"w = {weight}, c = exp(logp_{start} - logp_sampler), detached")
    elif preset in USES_PROXIMAL:
        lines.append("c = exp(logp_old - logp_sampler)")
    if preset in USES_PROXIMAL:
        lines.append("old: the policy at the update's start")
    return lines


def _denominator(preset: OffPolicyPreset) -> str:
    if preset is OffPolicyPreset.tis:
        return "new, detached"
    return "old" if preset in AGAINST_ITSELF else "sampler"


def _has_advantages(objective: ObjectiveConfig) -> bool:
    is_followed = objective.opd.form is OpdForm.token
    is_imitated = _is_sft(objective) or objective.is_dpo
    return not is_imitated and (objective.uses_scores or is_followed)


def _compares_to_a_prompt(objective: ObjectiveConfig) -> bool:
    """Whether an advantage is by the other replies to the same prompt, by our own rules."""
    is_by_episode = objective.steps.is_on or objective.credit.is_own
    return objective.compares_replies and not objective.is_dpo and not is_by_episode


def _is_sft(objective: ObjectiveConfig) -> bool:
    return objective.policy_loss is PolicyLoss.sft


def _trained(learner: LearnerConfig) -> str:
    if learner.method == "full":
        return "all weights"
    lora = learner.lora
    return f"LoRA adapters of rank {lora.rank} on {', '.join(lora.targets)}"


def _words(
    objective: ObjectiveConfig,
    learner: LearnerConfig,
    reward: RewardConfig,
    data_set: str | None,
) -> list[str]:
    scores = _score(objective, reward) if data_set is None else data_set
    bound = f"longer than {learner.max_tokens} tokens"
    return [
        *(_score_words(objective, scores, is_live=data_set is None) * objective.uses_scores),
        *(_hint_words(objective.opd) if objective.uses_teacher else ()),
        *(f"{name}: {own}" for name, own in reward.own.items() if data_set is None),
        *(_ratio_words(objective) if _has_advantages(objective) else ()),
        *_kl_words(objective),
        *practice_words(objective.practice),
        *bound_words(objective.practice, learner),
        _mean_words(objective) + (f"; {_batch_words(learner)}" if data_set is None else ""),
        f"turns more than {learner.max_staleness} versions old, or {bound}, are dropped"
        if data_set is None
        else f"rows {bound} are left out",
    ]


def _mean_words(objective: ObjectiveConfig) -> str:
    words = _MEANS[objective.normalisation].format(constant=objective.constant_tokens)
    if not objective.is_dpo:
        return words
    pairs = "mean_pairs is over the pairs of a batch, all of which weigh the same"
    return f"{pairs}; {words}" if len(terms(objective)) > 1 else pairs


def _batch_words(learner: LearnerConfig) -> str:
    words = f"a batch has at most {learner.batch_turns} turns"
    if learner.mini_batch_turns is None:
        return words
    size = learner.mini_batch_turns
    return f"{words}, in mini-batches of at most {size}, an optimiser step each by its own turns' L"


def _score_words(objective: ObjectiveConfig, scores: str, *, is_live: bool) -> list[str]:
    words = _BASELINES[objective.baseline][1]
    if _is_sft(objective):
        return (
            [f"only praised turns: those with a positive score by {scores}"]
            if is_live
            else [f"examples: {scores}"]
        )
    if objective.is_dpo:
        return [
            f"s in [-1, 1]: {scores}",
            "pairs: every two replies y in a batch to the same prompt x of the same user whose s "
            "differ; chosen is the one with the higher; replies without a partner are dropped",
            "logp of a reply: the sum over its tokens, at the temperature they were drawn at; "
            "base: the frozen base model",
        ]
    lines = [
        f"s in [-1, 1]: {scores}; abstentions are never in a batch",
        _OWN_CREDIT
        if objective.credit.is_own
        else words.format(decay=objective.ema_decay, floor=objective.deviation_floor),
    ]
    if objective.steps.is_on:
        if objective.steps.scheme is not StepScheme.separate:
            lines.pop()  # that scheme has a baseline of its own
        lines += _step_words(objective)
    if _compares_to_a_prompt(objective):
        asked = "; ask with n > 1, or again, for several replies to a prompt" if is_live else ""
        lines.append(
            "a reply without another to its prompt, or all of whose scores there are equal, is "
            f"dropped{asked}"
        )
    if objective.replay_praised > 0:
        lines.append(
            f"with each batch at most {objective.replay_praised} earlier praised turns of its "
            "users, with A = s - mean(s) of their own turns in it where that is positive"
        )
    return lines


def _known(opd: OpdConfig) -> list[str]:
    """What the teacher knows and the policy does not."""
    return ["hint"] * opd.hints + ["demos"] * (opd.demonstrations > 0)


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
    reads = [f"the hint in the last user message; hint: {choice}"] if opd.hints else []
    if opd.demonstrations > 0:
        reads.append(
            f"at most {opd.demonstrations} of the user's newest praised exchanges (s > "
            f"{opd.praised_above:g}) before the conversation"
        )
    lines = [f"teacher: {teacher}, with {', and with '.join(reads)}"]
    if not opd.corrects_praised:
        lines.append("turns that were praised are not taught")
    if opd.form is OpdForm.token:
        return [*lines, f"m = {opd.max_difference:g} nats"]
    if opd.guidance > 0:
        lines.append(
            f"the teacher q goes further: log q + {opd.guidance:g} (log q - log q0), normalised; "
            "q0: the same "
            + (
                "behind exchanges that the user did not like"
                if opd.contrasts
                else "without having read that"
            )
        )
    return [
        *lines,
        f"KL_K: over the {opd.support.value}'s {opd.top_k} likeliest tokens and one bin for all "
        "others",
    ]


def _ratio_words(objective: ObjectiveConfig) -> list[str]:
    config = objective.off_policy
    lines = ["logp_sampler: the log-probs recorded when the token was sampled"]
    if objective.policy_loss is PolicyLoss.clipped:
        lines.append(f"tr(r) has the value min(r, {objective.ratio_cap:g}) and keeps the gradient")
    if objective.clips_against_sampler:
        lines.append(
            "where a filter or a grammar cut the distribution, r = exp(logp_new - logp_old) and "
            f"min(exp(logp_old - logp_sampler), {config.cap:g}) is the weight; old: the policy at "
            "the update's start"
        )
    if objective.dual_clip is not None:
        lines.append(f"where A is negative the loss ends at {objective.dual_clip:g} |A|")
    if config.preset is not OffPolicyPreset.none:
        words = _PRESETS[config.preset].format(cap=config.cap, low=config.low, high=config.high)
        lines.append(f"off-policy correction {config.preset.value}: {words}")
    return lines


def _kl_words(objective: ObjectiveConfig) -> list[str]:
    if objective.kl_coef == 0:
        return []
    name = objective.kl_estimator.value
    return [f"d = logp_base - logp_new: KL to the base model by the {name} estimator"]


def _score(objective: ObjectiveConfig, reward: RewardConfig) -> str:
    apart = (PROCESS,) if objective.steps.is_on else ()
    silent = (HUMAN, EXPLICIT_FEEDBACK, *HINT_MODULES, *apart)
    others = [name for name in reward.modules if name not in silent]
    weighted = " + ".join(f"{reward.weights.get(name, 1.0):g} {name}" for name in others)
    mean = f"the weighted mean of {weighted}" if len(others) > 1 else "".join(others)
    people = ["people's review"] if HUMAN in reward.modules else []
    user = ["explicit feedback"] if EXPLICIT_FEEDBACK in reward.modules else []
    overruling = " where there is any, else ".join([*people, *user])
    if not overruling:
        return mean
    return f"{overruling} where there is any, else {mean}" if others else overruling
