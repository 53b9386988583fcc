"""The fit of judges' scores to people's, and its file."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_records import said

from clawjax.config import HUMAN
from clawjax.errors import ConfigError
from clawjax.records import Component
from clawjax.review.calibration import (
    IDENTITY,
    Calibration,
    Pair,
    calibrate,
    fit,
    fit_modules,
    pairs_of,
)
from clawjax.review.calibration_file import FORMAT, calibration_text, read_calibrations

SCORE = st.floats(-1.0, 1.0)
PAIRS = st.lists(st.builds(Pair, SCORE, SCORE), min_size=1, max_size=6)


@given(SCORE)
def test_without_labels_nothing_changes(score):
    assert fit([]) == IDENTITY
    assert calibrate(score, fit([])) == score
    assert fit_modules({"llm_judge": []}) == {}


@given(PAIRS, SCORE, SCORE)
def test_whatever_people_say_the_order_of_scores_stays(pairs, one, another):
    found = fit(pairs)
    assert found.slope >= 0
    low, high = sorted((calibrate(one, found), calibrate(another, found)))
    assert -1.0 <= low <= high <= 1.0
    if one < another:
        assert calibrate(one, found) <= calibrate(another, found)


@given(PAIRS)
def test_a_fit_is_at_the_optimum_of_its_loss(pairs):
    """Compared with its neighbours, by the loss as it is documented."""

    def loss(slope: float, bias: float) -> float:
        total = (slope - 1) ** 2 / (2 * 0.25**2) + bias**2 / (2 * 0.5**2)
        for judge, people in pairs:
            z = slope * 2 * np.arctanh(np.clip(judge, -0.98, 0.98)) + bias
            total += np.logaddexp(0, z) - (1 + people) / 2 * z
        return float(total)

    slope, bias = fit(pairs)
    for a, b in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        if slope + a >= 0:
            assert loss(slope, bias) <= loss(slope + a, bias + b) + 1e-9


@given(SCORE, SCORE, SCORE)
def test_one_label_changes_little(judge, people, score):
    assert abs(calibrate(score, fit([Pair(judge, people)])) - score) < 0.25


def test_more_labels_that_say_the_same_change_more():
    corrected = [calibrate(0.8, fit([Pair(0.8, -1.0)] * count)) for count in (0, 1, 5, 25, 125)]
    assert corrected == sorted(corrected, reverse=True)
    assert corrected[1] == pytest.approx(0.8, abs=0.15)
    assert corrected[-1] < -0.8


def test_who_always_flatters_is_pulled_down():
    people = [1.0] * 32 + [-1.0] * 48
    random.Random(0).shuffle(people)
    found = fit_modules({"flatterer": [Pair(1.0, each) for each in people]})["flatterer"]
    assert calibrate(1.0, found.calibration) == pytest.approx(-0.2, abs=0.1)
    assert found.calibration.slope < 0.5
    assert found.calibration.bias < 0
    assert found.log_loss_after < 0.72 < found.log_loss_before


def test_a_judge_that_is_certain_of_everything_is_told_how_often_it_is_right():
    right, wrong = [Pair(1.0, 1.0), Pair(-1.0, -1.0)], [Pair(1.0, -1.0), Pair(-1.0, 1.0)]
    found = fit([*right * 160, *wrong * 40])
    assert calibrate(1.0, found) == pytest.approx(0.6, abs=0.05)
    assert calibrate(-1.0, found) == pytest.approx(-0.6, abs=0.05)


def test_a_judge_that_is_always_wrong_is_not_turned_round():
    found = fit([Pair(0.9, -1.0), Pair(-0.9, 1.0)] * 50)
    assert found.slope == 0.0
    assert calibrate(0.9, found) == calibrate(-0.9, found) == pytest.approx(0.0, abs=1e-6)


def test_a_calibrated_judge_is_left_alone_and_the_gain_is_not_made_up():
    draw = random.Random(1)
    pairs = []
    for _ in range(500):
        score = draw.uniform(-0.9, 0.9)
        pairs.append(Pair(score, 1.0 if draw.random() < (1 + score) / 2 else -1.0))
    found = fit_modules({"next_state": pairs})["next_state"]
    assert found.calibration.slope == pytest.approx(1.0, abs=0.15)
    assert found.calibration.bias == pytest.approx(0.0, abs=0.2)
    assert found.log_loss_after == pytest.approx(found.log_loss_before, abs=0.01)


def test_the_loss_after_is_of_turns_that_the_fit_has_not_seen():
    alone = fit_modules({"a": [Pair(0.9, -1.0)]})["a"]
    assert alone.calibration != IDENTITY
    assert alone.log_loss_after == alone.log_loss_before


def test_who_abstained_or_cannot_tell_and_what_is_nobody_s_to_correct_have_no_part():
    turns = [
        (said(0.5), said(-1.0, module=HUMAN), said(1.0, module="feedback")),
        (said(None), said(1.0, module=HUMAN), said(0.3, module="process")),
        (said(0.5), said(None, module=HUMAN)),
        (said(0.5), said(0.0, module=HUMAN)),
        (said(0.5),),
    ]
    assert pairs_of(turns) == {"next_state": [Pair(0.5, -1.0)]}


def test_verdicts_are_fitted_by_what_modules_said_themselves():
    corrected = said(0.1, components=(Component("next_state.uncalibrated", 0.9),))
    parts = (
        Component("tool_outcome", None),
        Component("llm_judge", 0.2),
        Component("llm_judge.uncalibrated", 1.0),
    )
    composite = said(0.2, module="composite", components=parts)
    assert pairs_of([(corrected, composite, said(-1.0, module=HUMAN))]) == {
        "next_state": [Pair(0.9, -1.0)],
        "llm_judge": [Pair(1.0, -1.0)],
    }


def test_a_file_is_read_as_it_was_written(tmp_path):
    fits = fit_modules({"b": [Pair(0.5, -1.0)], "a": [Pair(1.0, 0.3), Pair(-0.5, 1.0)]})
    file = tmp_path / "calibration.json"
    file.write_text(calibration_text(fits, is_audit_only=True))
    told = json.loads(file.read_text())
    assert (told["format"], told["turns"], list(told["modules"])) == (FORMAT, "audit", ["a", "b"])
    assert list(told["modules"]["a"]) == ["slope", "bias", "n", "log_loss_before", "log_loss_after"]
    assert read_calibrations(file) == {name: found.calibration for name, found in fits.items()}
    file.write_text(json.dumps({"format": FORMAT, "modules": {"a": {"slope": 0.5, "bias": 0}}}))
    assert read_calibrations(file) == {"a": Calibration(0.5, 0.0)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": "clawjax.review/1"}', "its format is 'clawjax.review/1'"),
        (f'{{"format": "{FORMAT}", "modules": {{}}}}', "has no modules"),
        (f'{{"format": "{FORMAT}", "modules": {{"a": {{"slope": 1}}}}}}', "bias"),
        (f'{{"format": "{FORMAT}", "modules": {{"a": {{"slope": -1, "bias": 0}}}}}}', "at least 0"),
        (f'{{"format": "{FORMAT}", "modules": {{"a": {{"slope": 1, "bias": NaN}}}}}}', "use num"),
        *(
            (f'{{"format": "{FORMAT}", "modules": {{"{name}": {{"slope": 1, "bias": 0}}}}}}', name)
            for name in ("human", "feedback", "process", "composite")
        ),
    ],
)
def test_a_bad_file_is_named_with_the_fix(tmp_path, text, says):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_calibrations(file)
    assert f"reward.calibration_file={file}" in str(caught.value)
    assert "--calibrate FILE" in str(caught.value)
