"""A user's taste, fitted on few reactions."""

from __future__ import annotations

import numpy as np
import pytest

from clawjax.learner.manner import manner
from clawjax.learner.stylometry import stylometry
from clawjax.learner.taste import features, fit_taste, foresight, known_share


def replies(count: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


def test_what_decides_the_scores_is_found_among_many_features() -> None:
    known, new = replies(48, 200, 0), replies(200, 200, 1)
    for found in (known, new):
        found[:, 10:60] += 2.0 * np.sign(found[:, :1])  # a habit shows in many of them
    taste = fit_taste((known,), np.sign(known[:, 0]).tolist())
    predicted = taste.predict((new,))
    assert np.mean(np.sign(predicted) == np.sign(new[:, 0])) > 0.95


def test_the_dual_form_is_ridge_regression() -> None:
    found, scores = (replies(20, 6, 2), replies(20, 3, 4)), np.linspace(-0.5, 0.4, 20)
    taste = fit_taste(found, scores.tolist())
    z = np.concatenate(
        [
            np.clip((view - view.mean(axis=0)) / (view.std(axis=0) + 1e-3), -3, 3) / width**0.5
            for view, width in zip(found, (6, 3), strict=True)
        ],
        axis=1,
    )
    # argmin ||z w - (s - mean)||^2 + ridge ||w||^2, with ridge 1
    primal = np.linalg.solve(z.T @ z + np.eye(9), z.T @ (scores - scores.mean()))
    np.testing.assert_allclose(taste.weights, primal, atol=1e-12)
    np.testing.assert_allclose(taste.predict(found), scores.mean() + z @ primal, atol=1e-12)


def test_a_narrow_view_has_the_same_say_as_a_wide_one() -> None:
    """What the narrow one shows is found as well as if the wide one were not there."""
    wide, narrow = (replies(400, width, width) for width in (600, 5))
    scores = np.sign(narrow[:, 0])
    known, new = ((wide[part], narrow[part]) for part in (slice(60), slice(60, None)))
    both = fit_taste(known, scores[:60].tolist()).predict(new)
    alone = fit_taste(known[1:], scores[:60].tolist()).predict(new[1:])
    right = [np.mean(np.sign(predicted) == scores[60:]) for predicted in (both, alone)]
    assert right[0] > max(0.85, right[1] - 0.05)


def test_a_habit_hardly_seen_before_does_not_outweigh_all_others() -> None:
    known = replies(40, 4, 5)
    known[:, 3] = 0.0
    known[0, 3] = 1e-3
    taste = fit_taste((known,), np.sign(known[:, 0]).tolist())
    usual, odd = np.zeros((1, 4)), np.array([[0.0, 0.0, 0.0, 1e6]])
    assert abs(taste.predict((odd,))[0] - taste.predict((usual,))[0]) < 0.5


def test_equal_scores_say_nothing_and_predictions_stay_scores() -> None:
    found = replies(10, 4, 3)
    assert fit_taste((found,), [-0.7] * 10).predict((100 * found,)) == pytest.approx(-0.7)
    sure = fit_taste((found,), [1.0] * 9 + [-1.0])
    assert np.abs(sure.predict((1e6 * found,))).max() <= 1.0


def test_features_tell_the_end_from_the_whole() -> None:
    states = np.arange(24, dtype=np.float32).reshape(4, 2, 3)  # [R, L, D]
    found, surface, habits = features(states, "So it ends?")
    assert found.shape == (18,)
    np.testing.assert_allclose(found[:6], states.mean(axis=0).ravel())
    np.testing.assert_array_equal(found[6:12], states[3].ravel())
    np.testing.assert_array_equal(found[12:], states[2].ravel())
    np.testing.assert_array_equal(features(states[:1], "")[0][12:], states[0].ravel())
    np.testing.assert_array_equal(surface, stylometry("So it ends?"))
    np.testing.assert_array_equal(habits, manner("So it ends?"))


def test_of_noise_little_is_known_and_of_a_clear_taste_all() -> None:
    rng = np.random.default_rng(0)
    for count in (16, 64):
        by_chance = np.array(
            [
                foresight((replies(count, 30, seed),), np.sign(rng.normal(size=count)).tolist())
                for seed in range(80)
            ]
        )
        assert 1.2 / count < np.mean(by_chance**2) < 3.0 / count
        known = [known_share(each, count, full=0.4) for each in by_chance]
        assert np.mean(known) < 0.1
        assert np.mean(np.array(known) > 0.0) < 0.2
    found = replies(64, 30, 1)
    clear = foresight((found,), np.sign(found[:, 0]).tolist())
    assert known_share(clear, 64, full=0.4) == 1.0
    assert known_share(-0.9, 64, full=0.4) == 0.0
    assert known_share(0.5, 100, full=1.0) == pytest.approx(0.25 - 0.02)
