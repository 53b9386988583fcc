"""Pairs, and the credit that makes DPO's gradient of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import DpoConfig, Normalisation, ObjectiveConfig, PolicyLoss
from clawjax.learner import losses
from clawjax.learner.credit import AdmittedTurn, Credited, CreditState, build_credit
from clawjax.records import Turn

STATE = CreditState({"local": 0.5})


def replies(*scores: float | None, prompt: tuple[int, ...] = (1, 2)) -> list[AdmittedTurn]:
    """To one prompt; the i-th has i + 1 tokens."""
    return [
        AdmittedTurn(
            make_turn(f"{prompt}{i}", prompt_ids=prompt, response_ids=(4,) * (i + 1)),
            score,
            (),
            ready_at=0.0,
        )
        for i, score in enumerate(scores)
    ]


def credited(
    turns: Sequence[AdmittedTurn], ratios: Sequence[float] | None = None, **dpo: float
) -> Credited:
    """With a log-ratio for each turn, 0 by default."""
    return asking(turns, ratios, **dpo)[0]


def asking(
    turns: Sequence[AdmittedTurn], ratios: Sequence[float] | None = None, **dpo: float
) -> tuple[Credited, list[str]]:
    """The same, and the turns that log-ratios were asked for."""
    known = {
        turn.turn.turn_id: ratio
        for turn, ratio in zip(turns, ratios or [0.0] * len(turns), strict=True)
    }
    asked: list[str] = []

    def log_ratios(of: Sequence[Turn]) -> list[float]:
        asked.extend(turn.turn_id for turn in of)
        return [known[turn.turn_id] for turn in of]

    objective = ObjectiveConfig(
        name="dpo",
        policy_loss=PolicyLoss.reinforce,
        normalisation=Normalisation.turn_sum,
        dpo=DpoConfig(**dpo),
    )
    return build_credit(objective)(turns, STATE, log_ratios), asked


def test_the_better_reply_goes_up_by_as_much_as_the_worse_one_goes_down() -> None:
    result = credited(replies(-1.0, 1.0), beta=0.5)
    # One pair of two turns: 2 / 1 times beta sigmoid(0).
    assert result.credit == ((-0.5,), (0.5, 0.5))
    assert result.state == STATE
    assert result.metrics == {
        "train/dpo_pairs": 1.0,
        "train/dpo_loss": pytest.approx(np.log(2)),
        "train/dpo_margin": 0.0,
        "train/dpo_accuracy": 0.0,
    }


def test_a_pair_that_is_told_apart_already_pulls_less_than_one_that_is_the_wrong_way() -> None:
    right, wrong = (credited(replies(1.0, -1.0), [m, 0.0], beta=1.0) for m in (3.0, -3.0))
    assert right.credit[0] == pytest.approx([2 / (1 + np.exp(3))])
    assert wrong.credit[0] == pytest.approx([2 / (1 + np.exp(-3))])
    assert (right.metrics["train/dpo_accuracy"], wrong.metrics["train/dpo_accuracy"]) == (1.0, 0.0)
    assert right.metrics["train/dpo_margin"] == 3.0


def test_replies_without_a_partner_have_no_credit_and_cost_no_forward_pass() -> None:
    other_user = replies(-1.0)[0]
    turns = [
        *replies(1.0, 1.0),
        *replies(0.5, prompt=(7,)),
        *replies(None, -1.0, prompt=(8,)),
        other_user._replace(turn=dataclasses.replace(other_user.turn, turn_id="x", scope="other")),
    ]
    result, asked = asking(turns)
    assert result.credit == (None,) * 6
    assert result.metrics == {"train/dpo_pairs": 0.0}
    assert asked == []
    result, asked = asking([*turns, *replies(1.0, -1.0, prompt=(9,))])
    assert asked == ["(9,)0", "(9,)1"]
    assert [tokens is not None for tokens in result.credit] == [False] * 6 + [True] * 2


def test_every_two_replies_of_different_score_are_a_pair() -> None:
    result = credited(replies(1.0, 0.0, -1.0, 0.0))
    assert result.metrics["train/dpo_pairs"] == 5.0
    best, middle, worst, same = (tokens[0] for tokens in result.credit if tokens)
    assert best == pytest.approx(-worst) == pytest.approx(3 * 4 / 5 * 0.05)
    assert middle == same == pytest.approx(0.0)  # as often the better as the worse


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-40, 40)), max_size=6),
    st.floats(0.01, 2.0),
    st.sampled_from([0.0, 0.1, 0.4]),
)
def test_credit_is_the_slope_of_the_loss_that_trl_computes(
    turns: list[tuple[float, float]], beta: float, label_smoothing: float
) -> None:
    scores = [score for score, _ in turns]
    ratios = np.array([ratio for _, ratio in turns])
    pairs = [
        (i, j) for i, j in itertools.permutations(range(len(turns)), 2) if scores[i] > scores[j]
    ]
    if not pairs:
        return
    chosen, rejected = np.array(pairs).T

    def loss(new: jax.Array) -> jax.Array:
        both = losses.PairLogprobs(new[chosen], new[rejected])
        base = losses.PairLogprobs(jnp.zeros(len(pairs)), jnp.zeros(len(pairs)))
        per_pair = losses.dpo(both, base, beta=beta, label_smoothing=label_smoothing)
        return jnp.mean(per_pair)

    result = credited(replies(*scores), ratios.tolist(), beta=beta, label_smoothing=label_smoothing)
    value, slopes = jax.value_and_grad(loss)(jnp.asarray(ratios, jnp.float32))
    assert result.metrics["train/dpo_loss"] == pytest.approx(float(value), rel=1e-4, abs=1e-6)
    paired = sum(tokens is not None for tokens in result.credit)
    pulls = [tokens[0] / paired if tokens else 0.0 for tokens in result.credit]
    np.testing.assert_allclose(pulls, -np.asarray(slopes), rtol=1e-3, atol=1e-6)
