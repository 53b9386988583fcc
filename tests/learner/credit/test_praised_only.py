"""Imitation learns from praise alone."""

from __future__ import annotations

from learner_records import no_log_ratios
from turn_records import make_turn

from clawjax.config import ObjectiveConfig, PolicyLoss
from clawjax.learner.credit import AdmittedTurn, CreditState, build_credit


def test_only_praised_turns_have_credit_and_all_of_them_the_same() -> None:
    turns = [
        AdmittedTurn(make_turn(f"t{index}", response_ids=(4,) * 2), score, (), ready_at=0.0)
        for index, score in enumerate([1.0, 0.25, 0.0, -1.0, None])
    ]
    credit = build_credit(ObjectiveConfig(name="sft", policy_loss=PolicyLoss.sft))
    result = credit(turns, CreditState({"local": 0.5}), no_log_ratios)
    assert result.credit == ((1.0, 1.0), (1.0, 1.0), None, None, None)
    assert result.state == CreditState({"local": 0.5})
