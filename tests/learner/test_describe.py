"""The effective objective says what runs, and only that."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from clawjax.config import (
    Baseline,
    DpoConfig,
    DriftConfig,
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
    PracticeConfig,
    RewardConfig,
    RunConfig,
    StepScheme,
    StepsConfig,
    Teacher,
)
from clawjax.errors import ConfigError
from clawjax.learner.describe import describe
from clawjax.learner.formula import formula, practice_formula


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
        "- where a filter or a grammar cut the distribution, r = exp(logp_new - logp_old) and min("
        "exp(logp_old - logp_sampler), 2) is the weight; old: the policy at the update's start\n"
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


@pytest.mark.parametrize("preset", [OffPolicyPreset.seq_mask, OffPolicyPreset.geo_mask])
def test_masks_judge_how_far_the_sampler_was_from_the_updates_start(
    preset: OffPolicyPreset,
) -> None:
    told = text(ObjectiveConfig(off_policy=OffPolicyConfig(preset=preset)))
    assert "of c leaves 0.5 to 2 are left out" in told
    assert "c = exp(logp_old - logp_sampler)" in told


@pytest.mark.parametrize("form", list(OpdForm))
def test_who_is_not_taught_is_said_of_both_forms(form: OpdForm) -> None:
    opd = OpdConfig(form=form, corrects_praised=False)
    told = text(ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, opd=opd))
    assert "turns that were praised are not taught" in told


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


def test_practice_is_said_in_full() -> None:
    practice = PracticeConfig(rounds=2, kept=2, full_foresight=0.4, listen=48, blind_share=0.1)
    objective = ObjectiveConfig(
        w_rl=0.5, kl_coef=0.0, negative_weight=0.5, entropy_coef=0.1, practice=practice
    )
    described = text(objective, drift=DriftConfig(max_step_reply_kl=3.0), rest_above=0.6)
    surrogate = "mean[ -min(tr(r) F, clip(r, 0.8, 1.28) F) ]"
    assert (
        f"\n  L_practice = 0.5 {surrogate} - 0.1 mean[ H(new) ]\n"
        "  A = s - m\n"
        "  F = f - mean_Q(other f), scaled\n"
        "  A < 0 counts 0.5 A\n"
        "  F < 0 counts 0.5 F\n"
    ) in described
    assert (
        "- practice: an update by L is followed by 2 by L_practice, for the same version, on "
        "answers that nobody asked for: by the policy to each of 8 earlier questions 4 of at most "
        "128 tokens, of which the 2 whose f vary most are learnt from; its means are over these\n"
        "- f: the score that a user's reactions foretell of an answer; Q: the answers to a "
        "question that are learnt from; scaled: to a root mean square of at most 1\n"
        "- who is practised for: users of the batch with k > 0, k = min(1, (rho^2 - 2 / N) / "
        "0.16); rho is the correlation of their N reactions with what the others foretell of "
        "each, for N of 12 or more, with 2 or more of praise and of complaint; k is 0 where less "
        "is known\n"
        "- an update by L_practice leads at most 1 k nats per reply, by KL(after || before), k "
        "being the least of those practised for\n"
        "- a user's first 48 reactions are only remembered while k is 0\n"
        "- an update by L leads at most 3 nats per reply, by KL(after || before), times the mean "
        "over turns of max(0.1, their user's k)\n"
        "- users whose mean(s) in a batch is above 0.6 are not learnt from there\n"
    ) in described


def test_practice_is_a_term_of_scores_alone() -> None:
    objective = ObjectiveConfig(
        name="combined", w_opd=0.5, policy_loss=PolicyLoss.gspo, practice=PracticeConfig(rounds=1)
    )
    assert practice_formula(objective) == (
        "L_practice = mean[ -min(R F, clip(R, 0.8, 1.28) F) ] + 0.02 mean[ exp(d) - 1 - d ]"
    )
    assert "F" not in text(ObjectiveConfig()), "what is not practised is not said"
    assert "L_practice" not in text(ObjectiveConfig())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kept": 3}, "the 3 whose f vary most are learnt from"),
        ({}, "of which all are learnt from"),
        ({"min_foresight": 0.2}, "rho (above 0.2) is the correlation"),
        ({"prompts": 5}, "to each of 5 earlier questions 4 of"),
        ({"samples": 6}, "earlier questions 6 of at most 128"),
        ({"max_reply_kl": 2.0}, "leads at most 2 k nats"),
        ({"min_scored": 20, "min_of_each": 4}, "for N of 20 or more, with 4 or more of praise"),
    ],
)
def test_every_setting_of_practice_is_said(changed: dict[str, Any], said: str) -> None:
    plain = ObjectiveConfig(practice=PracticeConfig(rounds=1))
    practising = ObjectiveConfig(practice=PracticeConfig(rounds=1, **changed))
    assert said in text(practising)
    assert "only remembered" not in text(practising)
    assert (text(plain) == text(practising)) == (not changed)


def test_how_far_a_step_leads_is_said_where_it_is_bounded() -> None:
    eased = text(drift=DriftConfig(max_step_reply_kl=4.0, eases=True), rest_above=0.6)
    assert (
        "- an update by L leads at most 4 nats per reply, by KL(after || before), times the mean "
        "over users of (0.6 - mean(s)) / 1.6, from 0 to 1\n"
    ) in eased
    assert "(1 - mean(s)) / 2" in text(drift=DriftConfig(max_step_reply_kl=4.0, eases=True))
    assert "KL(after || before)" not in text(drift=DriftConfig(max_kl=0.5))
    assert "not learnt from" not in text()
    assert "in mini-batches of at most 4, an optimiser step each" in text(mini_batch_turns=4)


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


@pytest.mark.parametrize("baseline", [Baseline.grpo, Baseline.rloo])
def test_what_compares_replies_says_that_it_needs_several(baseline: Baseline) -> None:
    said = text(ObjectiveConfig(baseline=baseline))
    assert said.startswith(f"Objective binary_rl with baseline {baseline.value}, minimised over")
    assert "a reply without another to its prompt, or all of whose scores" in said
    assert "ask with n > 1" in said
    assert "n > 1" not in text()


def test_of_a_data_set_nothing_is_said_of_live_turns() -> None:
    for objective in (ObjectiveConfig(), ObjectiveConfig(baseline=Baseline.rloo)):
        said = describe(objective, LearnerConfig(), RewardConfig(), data_set="the reward model's")
        assert "- s in [-1, 1]: the reward model's; abstentions" in said
        assert "rows longer than 2048 tokens are left out" in said
        for live in ("feedback", "versions old", "n > 1", "a batch has"):
            assert live not in said
