"""The effective objective says what runs, and only that."""

from __future__ import annotations

import contextlib

import pytest

from clawjax.config import (
    Baseline,
    DpoConfig,
    HintChoice,
    KlEstimator,
    LearnerConfig,
    Normalisation,
    ObjectiveConfig,
    OffPolicyConfig,
    OffPolicyPreset,
    OpdConfig,
    OpdForm,
    PolicyLoss,
    RewardConfig,
    RunConfig,
    StepScheme,
    StepsConfig,
    Teacher,
)
from clawjax.errors import ConfigError
from clawjax.learner.objective import describe, formula


def text(objective: ObjectiveConfig | None = None, **learner: object) -> str:
    return describe(objective or ObjectiveConfig(), LearnerConfig(**learner), RewardConfig())


def test_the_default_objective_in_full() -> None:
    assert text() == (
        "Objective binary_rl, minimised over LoRA adapters of rank 16 on q_proj, k_proj, v_proj, "
        "o_proj, gate_proj, up_proj, down_proj:\n"
        "\n"
        "  L = mean_rl[ -min(tr(r) A, clip(r, 0.8, 1.28) A) ] + 0.02 mean[ exp(d) - 1 - d ]\n"
        "  A = s - m\n"
        "  r = exp(logp_new - logp_sampler)\n"
        "\n"
        "- s in [-1, 1]: explicit feedback where there is any, else next_state; "
        "abstentions are never in a batch\n"
        "- baseline: m, the moving average of the same user's past mean scores "
        "(decay 0.9 per batch, 0 at first)\n"
        "- logp_sampler: the log-probs recorded when the token was sampled\n"
        "- tr(r) has the value min(r, 2) and keeps the gradient\n"
        "- d = logp_base - logp_new: KL to the base model by the k3 estimator\n"
        "- each mean is over the turns that have the term's signal, all of which weigh the same, "
        "and so do a turn's response tokens; a batch has at most 16 turns\n"
        "- turns more than 4 versions old, or longer than 2048 tokens, are dropped"
    )


def test_an_inactive_term_is_not_mentioned() -> None:
    assert "KL" not in text(ObjectiveConfig(kl_coef=0.0))
    assert "base" not in text(ObjectiveConfig(kl_coef=0.0)).replace("baseline", "")


@pytest.mark.parametrize("baseline", list(Baseline))
def test_every_baseline_has_its_own_words(baseline: Baseline) -> None:
    texts = {text(ObjectiveConfig(baseline=other)) for other in Baseline}
    assert len(texts) == len(Baseline)
    assert "baseline" in text(ObjectiveConfig(baseline=baseline))


def test_full_fine_tuning_is_said() -> None:
    assert "minimised over all weights" in text(method="full")


def test_reward_weights_are_said() -> None:
    reward = RewardConfig(modules=["rules", "next_state"], weights={"rules": 0.5})
    described = describe(ObjectiveConfig(), LearnerConfig(), reward)
    assert "the weighted mean of 0.5 rules + 1 next_state" in described


def test_each_objective_names_its_own_terms() -> None:
    opd = text(ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0))
    assert "mean_opd" in opd
    assert "mean_rl" not in opd
    assert "baseline" not in opd
    top_k = text(
        ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, opd=OpdConfig(form=OpdForm.top_k))
    )
    assert "KL_K" in top_k
    assert "r =" not in top_k
    combined = text(ObjectiveConfig(name="combined", w_opd=0.5))
    assert "mean_rl" in combined
    assert "0.5 mean_opd" in combined


@pytest.mark.parametrize("teacher", list(Teacher))
def test_the_teacher_and_the_choice_of_hints_are_said(teacher: Teacher) -> None:
    texts = {
        text(ObjectiveConfig(name="combined", w_opd=1.0, opd=OpdConfig(teacher=t, hint_choice=h)))
        for t in Teacher
        for h in HintChoice
    }
    assert len(texts) == len(Teacher) * len(HintChoice)
    assert "hint" in text(
        ObjectiveConfig(name="combined", w_opd=1.0, opd=OpdConfig(teacher=teacher))
    )


def test_every_loss_and_preset_that_runs_is_told_apart() -> None:
    told = []
    for loss in PolicyLoss:
        for preset in OffPolicyPreset:
            with contextlib.suppress(ConfigError):  # refused at start-up
                off_policy = OffPolicyConfig(preset=preset)
                told.append(text(ObjectiveConfig(policy_loss=loss, off_policy=off_policy)))
    assert len(told) == len(set(told)) == 15


def test_imitation_is_said() -> None:
    described = text(ObjectiveConfig(name="sft", policy_loss=PolicyLoss.sft))
    assert "mean_rl[ -logp_new ]" in described
    assert "only praised turns" in described
    assert "baseline" not in described


def test_preferences_are_said_in_full() -> None:
    objective = ObjectiveConfig(
        name="dpo",
        policy_loss=PolicyLoss.reinforce,
        normalisation=Normalisation.turn_sum,
        kl_coef=0.0,
        dpo=DpoConfig(beta=0.2, label_smoothing=0.1),
    )
    assert text(objective, method="full") == (
        "Objective dpo, minimised over all weights:\n"
        "\n"
        "  L = mean_pairs[ -0.9 log sigmoid(h) - 0.1 log sigmoid(-h) ]\n"
        "  h = 0.2 (q(chosen) - q(rejected))\n"
        "  q(y) = logp_new(y | x) - logp_base(y | x)\n"
        "\n"
        "- s in [-1, 1]: explicit feedback where there is any, else next_state\n"
        "- pairs: every two replies y in a batch to the same prompt x of the same user whose s "
        "differ; chosen is the one with the higher; replies without a partner are dropped\n"
        "- logp of a reply: the sum over its tokens, at the temperature they were drawn at; "
        "base: the frozen base model\n"
        "- mean_pairs is over the pairs of a batch, all of which weigh the same; a batch has at "
        "most 16 turns\n"
        "- turns more than 4 versions old, or longer than 2048 tokens, are dropped"
    )


def test_what_a_step_did_without_is_left_out_of_its_formula() -> None:
    objective = ObjectiveConfig(name="combined", w_opd=0.5, entropy_coef=0.1)
    assert formula(objective, without=["L_rl", "KL"]) == (
        "L = 0.5 mean_opd[ -min(tr(r) g, clip(r, 0.8, 1.28) g) ] - 0.1 mean[ H(new) ]"
    )
    assert formula(objective, without=["L_rl", "L_opd", "KL", "H"]) == "L = 0"


def test_entropy_and_estimators_are_said() -> None:
    assert "- 0.01 mean[ H(new) ]" in text(ObjectiveConfig(entropy_coef=0.01))
    assert "0.02 mean[ d^2 / 2 ]" in text(ObjectiveConfig(kl_estimator=KlEstimator.k2))


def test_credit_of_steps_is_said() -> None:
    reward = RewardConfig(modules=["next_state", "feedback", "process", "human"])

    def said(scheme: StepScheme) -> str:
        objective = ObjectiveConfig(
            baseline=Baseline.dr_grpo, steps=StepsConfig(scheme=scheme, process_weight=0.5)
        )
        return describe(objective, LearnerConfig(), reward)

    separate = said(StepScheme.separate)
    assert "  A = A_o + 0.5 (p - mean_G(p))\n  A = s - mean_G(s) for A_o, with s = o\n" in separate
    assert (
        "people's review where there is any, else explicit feedback where there is any, else "
        "next_state; abstentions" in separate
    )
    assert "baseline: the mean score of the replies to the same prompt" in separate
    bucketed = said(StepScheme.step_bucket)
    assert "A = (r - mean_B(r)) / (std_B(r) + 1e-06), r = o + 0.5 p" in bucketed
    assert "baseline" not in bucketed
    assert "sum over this and later steps of z(p)" in said(StepScheme.pooled)
    with pytest.raises(ConfigError, match=r"none of reward\.modules"):
        RunConfig(objective=ObjectiveConfig(steps=StepsConfig(scheme=StepScheme.separate)))
    with pytest.raises(ConfigError, match="name=sft has no use for"):
        ObjectiveConfig(
            name="sft", policy_loss=PolicyLoss.sft, steps=StepsConfig(scheme=StepScheme.pooled)
        )
