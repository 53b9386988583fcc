"""A model of a user's preferences, fitted on few reactions."""

from __future__ import annotations

import numpy as np
import pytest

from clawjax.learner.preference_model import (
    fit_preference_model,
    leave_one_out_correlation,
    mention_weighted,
    model_confidence,
    reply_views,
    score_weights,
    stack_views,
    uniform_weights,
)
from clawjax.learner.style_features import STYLE_FEATURES, style_features
from clawjax.learner.stylometry import stylometry


def replies(count: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def test_what_decides_the_scores_is_found_among_many_features() -> None:
    known, new = replies(48, 200, 0), replies(200, 200, 1)
    for found in (known, new):
        found[:, 10:60] += 2.0 * np.sign(found[:, :1])  # a habit shows in many of them
    model = fit_preference_model((known,), np.sign(known[:, 0]).tolist())
    predicted = model.predict((new,))
    assert np.mean(np.sign(predicted) == np.sign(new[:, 0])) > 0.95


def test_the_dual_form_is_ridge_regression() -> None:
    found, scores = (replies(20, 6, 2), replies(20, 3, 4)), np.linspace(-0.5, 0.4, 20)
    model = fit_preference_model(found, scores.tolist())
    z = np.concatenate(
        [
            np.clip((view - view.mean(axis=0)) / (view.std(axis=0) + 1e-3), -3, 3) / width**0.5
            for view, width in zip(found, (6, 3), strict=True)
        ],
        axis=1,
    )
    # argmin sum(c (z w - (s - mean))^2) + ridge ||w||^2, with ridge 1
    sure = np.maximum(np.abs(scores / 0.5) ** 3, 0.02)
    above = scores - np.average(scores, weights=sure)
    primal = np.linalg.solve((z.T * sure) @ z + np.eye(9), (z.T * sure) @ above)
    np.testing.assert_allclose(model.coefficients, primal, atol=1e-12)
    np.testing.assert_allclose(model.predict(found), (scores - above) + z @ primal, atol=1e-12)


def test_what_a_judge_is_unsure_of_counts_for_little() -> None:
    np.testing.assert_allclose(score_weights([1.0, -0.5, 0.0]), [1.0, 0.125, 0.02])
    np.testing.assert_allclose(score_weights([-0.5, 0.5]), 1.0)
    np.testing.assert_allclose(score_weights([0.0, 0.0]), 0.02)
    found, rng = (replies(440, 20, 6),), np.random.default_rng(7)
    wish = np.sign(found[0][:, 0])
    is_misread = rng.random(440) < 0.3
    scores = np.where(is_misread, -0.5, 0.95) * wish
    known, new = tuple(view[:40] for view in found), tuple(view[40:] for view in found)
    doubtful = fit_preference_model(known, scores[:40].tolist()).predict(new) * wish[40:]
    believed = fit_preference_model(known, np.sign(scores[:40]).tolist()).predict(new) * wish[40:]
    assert np.mean(doubtful > 0) > np.mean(believed > 0)
    assert leave_one_out_correlation(known, scores[:40].tolist()) > leave_one_out_correlation(
        known, np.sign(scores[:40]).tolist()
    )


def test_a_narrow_view_has_the_same_say_as_a_wide_one() -> None:
    """What the narrow one shows is found as well as if the wide one were not there."""
    wide, narrow = (replies(400, width, width) for width in (600, 5))
    scores = np.sign(narrow[:, 0])
    known, new = ((wide[part], narrow[part]) for part in (slice(60), slice(60, None)))
    both = fit_preference_model(known, scores[:60].tolist()).predict(new)
    alone = fit_preference_model(known[1:], scores[:60].tolist()).predict(new[1:])
    right = [np.mean(np.sign(predicted) == scores[60:]) for predicted in (both, alone)]
    assert right[0] > max(0.85, right[1] - 0.05)


REPLIES = [
    "Water the roses at night.",
    "I am sorry. Water the roses at night!",
    "You should water them twice a week, and never at noon.",
    "Sorry, I cannot say. Roses:\n- like water\n- like sun",
    "They like the sun. Do they get any?",
    "- Water\n- Sun\n\nI apologise for my roses.",
] * 4
MEANT = [-1.0 if "sorry" in reply.lower() or "apolog" in reply else 1.0 for reply in REPLIES]


def test_a_habit_that_reactions_name_is_found_in_fewer_of_them() -> None:
    """Four are enough where somebody says what they meant, whatever else replies do."""
    rng = np.random.default_rng(0)
    found = stack_views([reply_views(rng.normal(size=(5, 2, 30)), reply) for reply in REPLIES])
    few, rest = ([view[part] for view in found] for part in (slice(4), slice(4, None)))
    named = mention_weighted(["Stop saying sorry.", "No excuses, good."] * 2, tuple(few))
    ahead = [
        np.mean(
            fit_preference_model(tuple(few), MEANT[:4], feature_weights).predict(tuple(rest))
            * MEANT[4:]
        )
        for feature_weights in (named, None)
    ]
    assert ahead[0] > 2 * max(0.0, ahead[1])
    assert leave_one_out_correlation(
        found, MEANT, mention_weighted(["Sorry?"] * 24, found)
    ) > leave_one_out_correlation(found, MEANT)


def test_the_say_of_a_view_is_shared_out() -> None:
    found = stack_views([reply_views(np.ones((2, 1, 3)), reply) for reply in REPLIES])
    *others, habits = mention_weighted(["What is it with those lists?"], found)
    for given, same in zip(others, uniform_weights(found)[:-1], strict=True):
        np.testing.assert_array_equal(given, same)
    assert habits.sum() == pytest.approx(1.0)
    assert max(zip(habits, STYLE_FEATURES, strict=True))[1] == "list"
    np.testing.assert_allclose(mention_weighted([], found)[-1], uniform_weights(found)[-1])
    plainly = fit_preference_model(found, MEANT)
    np.testing.assert_array_equal(
        plainly.coefficients,
        fit_preference_model(found, MEANT, uniform_weights(found)).coefficients,
    )


def test_a_habit_hardly_seen_before_does_not_outweigh_all_others() -> None:
    known = replies(40, 4, 5)
    known[:, 3] = 0.0
    known[0, 3] = 1e-3
    model = fit_preference_model((known,), np.sign(known[:, 0]).tolist())
    usual, odd = np.zeros((1, 4)), np.array([[0.0, 0.0, 0.0, 1e6]])
    assert abs(model.predict((odd,))[0] - model.predict((usual,))[0]) < 0.5


def test_equal_scores_say_nothing_and_predictions_stay_scores() -> None:
    found = replies(10, 4, 3)
    assert fit_preference_model((found,), [-0.7] * 10).predict((100 * found,)) == pytest.approx(
        -0.7
    )
    sure = fit_preference_model((found,), [1.0] * 9 + [-1.0])
    assert np.abs(sure.predict((1e6 * found,))).max() <= 1.0


def test_features_tell_the_end_from_the_whole() -> None:
    states = np.arange(24, dtype=np.float32).reshape(4, 2, 3)  # [R, L, D]
    found, surface, habits = reply_views(states, "So it ends?")
    assert found.shape == (18,)
    np.testing.assert_allclose(found[:6], states.mean(axis=0).ravel())
    np.testing.assert_array_equal(found[6:12], states[3].ravel())
    np.testing.assert_array_equal(found[12:], states[2].ravel())
    np.testing.assert_array_equal(reply_views(states[:1], "")[0][12:], states[0].ravel())
    np.testing.assert_array_equal(surface, stylometry("So it ends?"))
    np.testing.assert_array_equal(habits, style_features("So it ends?"))


def test_of_noise_little_is_known_and_of_a_clear_taste_all() -> None:
    rng = np.random.default_rng(0)
    for count in (16, 64):
        by_chance = np.array(
            [
                leave_one_out_correlation(
                    (replies(count, 30, seed),), np.sign(rng.normal(size=count)).tolist()
                )
                for seed in range(80)
            ]
        )
        assert 1.2 / count < np.mean(by_chance**2) < 3.0 / count
        known = [model_confidence(each, count, full=0.4) for each in by_chance]
        assert np.mean(known) < 0.1
        assert np.mean(np.array(known) > 0.0) < 0.2
    found = replies(64, 30, 1)
    clear = leave_one_out_correlation((found,), np.sign(found[:, 0]).tolist())
    assert model_confidence(clear, 64, full=0.4) == 1.0
    assert model_confidence(-0.9, 64, full=0.4) == 0.0
    assert model_confidence(0.5, 100, full=1.0) == pytest.approx(0.25 - 0.02)
