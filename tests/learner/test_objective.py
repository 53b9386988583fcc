"""The effective objective says what runs, and only that."""

from __future__ import annotations

import pytest

from clawjax.config import Baseline, LearnerConfig, ObjectiveConfig, RewardConfig
from clawjax.errors import ConfigError
from clawjax.learner.objective import describe


def text(objective: ObjectiveConfig | None = None, **learner: object) -> str:
    return describe(objective or ObjectiveConfig(), LearnerConfig(**learner), RewardConfig())


def test_the_default_objective_in_full() -> None:
    assert text() == (
        "Objective binary_rl, minimised over LoRA adapters of rank 16 on q_proj, k_proj, v_proj, "
        "o_proj, gate_proj, up_proj, down_proj:\n"
        "\n"
        "  L = 1/N sum_turns 1/T sum_t [ -min(tr(r) A, clip(r, 0.8, 1.28) A)"
        " + 0.02 (exp(d) - 1 - d) ]\n"
        "  A = s - m,  r = exp(logp_new - logp_sampler)\n"
        "\n"
        "- s in [-1, 1]: explicit feedback where there is any, else next_state; "
        "abstentions are never in a batch\n"
        "- baseline: m, the moving average of past batches' mean scores "
        "(decay 0.9 per batch, 0 at first)\n"
        "- r: against the log-probs recorded when the token was sampled; tr(r) has the value "
        "min(r, 2) and keeps the gradient\n"
        "- d = logp_base - logp_new: KL to the base model by the k3 estimator\n"
        "- every one of the N turns weighs the same, and so do its T response tokens; "
        "N is at most 16\n"
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


def test_unknown_is_refused() -> None:
    config = ObjectiveConfig()
    config.name = "opd"
    with pytest.raises(ConfigError, match="cannot be described"):
        text(config)
