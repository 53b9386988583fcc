"""A guided teacher goes on in the direction that reading has moved it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from learner_records import make_sample
from policies import as_sampled
from test_teacher import (  # noqa: F401  (fixtures)
    LENGTH,
    PROMPTS,
    distribution,
    model,
    render,
    scorer,
    turn_of,
)

from clawjax.config import HintChoice, ObjectiveConfig, OpdConfig, OpdForm, Support
from clawjax.errors import ConfigError
from clawjax.learner.guidance import guided
from clawjax.learner.scoring import Model, Scorer
from clawjax.learner.teacher import HintTeacher
from clawjax.models.load import LoadedModel


def random_logprobs(seed: int, size: int = 12) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (5, size))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def by_hand(told: np.ndarray, untold: np.ndarray, weight: float) -> np.ndarray:
    """Of the whole distributions, `told^(1 + w) / untold^w`, normalised."""
    odds = np.exp(told) ** (1 + weight) / np.exp(untold) ** weight
    return np.log(odds / odds.sum(-1, keepdims=True))


def test_values_against_numpy_where_the_support_is_all_but_a_token() -> None:
    told, untold = random_logprobs(0), random_logprobs(1)
    for weight in (0.0, 0.5, 1.0, 3.0):
        expected = by_hand(told, untold, weight)[:, :-1]
        found = guided(told[:, :-1], untold[:, :-1], weight)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_the_tail_is_one_outcome_with_its_own_mass() -> None:
    told, untold = random_logprobs(0), random_logprobs(1)
    folded = [
        np.concatenate([rows[:, :3], np.logaddexp.reduce(rows[:, 3:], -1, keepdims=True)], -1)
        for rows in (told, untold)
    ]
    found = guided(told[:, :3], untold[:, :3], 1.5)
    np.testing.assert_allclose(found, by_hand(folded[0], folded[1], 1.5)[:, :3], rtol=1e-6)


def test_nothing_changes_where_both_agree_or_nothing_is_added() -> None:
    told = random_logprobs(2)[:, :4]
    np.testing.assert_allclose(guided(told, told, 5.0), told, rtol=1e-5)
    np.testing.assert_allclose(guided(told, random_logprobs(3)[:, :4], 0.0), told, rtol=1e-5)


def test_log_odds_move_by_the_weight() -> None:
    told, untold = random_logprobs(4)[:, :4], random_logprobs(5)[:, :4]
    odds = [rows[:, 0] - rows[:, 1] for rows in (untold, told, guided(told, untold, 2.0))]
    np.testing.assert_allclose(odds[2] - odds[1], 2.0 * (odds[1] - odds[0]), rtol=1e-4, atol=1e-6)


def test_certainty_stays_finite() -> None:
    told, untold = np.log([[1.0 - 1e-9, 1e-9]]), np.log([[1e-9, 1.0 - 1e-9]])
    assert np.isfinite(guided(told, untold, 4.0)).all()
    assert np.isfinite(guided(untold, told, 4.0)).all()


@pytest.mark.parametrize("support", list(Support))
def test_the_teacher_goes_on_from_what_it_would_say_unhinted(
    tiny_model: LoadedModel,
    model: Model,  # noqa: F811
    scorer: Scorer,  # noqa: F811
    support: Support,
) -> None:
    drawn = make_sample("t1", 6, 5, seed=3, vocab=200, temperature=0.8)
    sample = as_sampled(tiny_model, tiny_model.params, [drawn], version=0)[0]
    config = OpdConfig(
        form=OpdForm.top_k,
        top_k=8,
        support=support,
        hint_choice=HintChoice.first,
        guidance=1.0,
    )
    teacher = HintTeacher(scorer, render, config, max_tokens=LENGTH)
    says = teacher.teach([turn_of(sample, "short")], teacher=model, student=model).says["t1"]
    at = np.array(says.support_ids)
    told, untold = (
        np.take_along_axis(distribution(tiny_model, sample, prompt), at, axis=-1)
        for prompt in (PROMPTS["short"], sample.prompt_ids)
    )
    expected = guided(told, untold, 1.0)
    np.testing.assert_allclose(says.support_logprobs, expected, rtol=1e-3, atol=1e-3)
    assert np.abs(expected - told).max() > 1e-2
    without = HintTeacher(
        scorer, render, dataclasses.replace(config, guidance=0.0), max_tokens=LENGTH
    )
    unguided = without.teach([turn_of(sample, "short")], teacher=model, student=model).says["t1"]
    assert unguided.logprobs == says.logprobs  # of the tokens themselves: the teacher's own


def test_guidance_needs_more_than_the_sampled_token() -> None:
    with pytest.raises(ConfigError, match=r"guidance=1.0 .*form=token"):
        ObjectiveConfig(name="opd", w_rl=0.0, w_opd=1.0, opd=OpdConfig(guidance=1.0))
    with pytest.raises(ConfigError, match="guidance=-1"):
        OpdConfig(form=OpdForm.top_k, guidance=-1.0)
