"""The surface of a text as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.learner.stylometry import ENDINGS, FUNCTION_WORDS, MARKS, WIDTH, stylometry

NAMES = [
    *FUNCTION_WORDS,
    *MARKS,
    *(f"ends {ending}" for ending in ENDINGS),
    "log words",
    "sentences",
    "words per sentence",
    "letters per word",
    "long words",
    "different words",
    "capitals",
    "line breaks",
    "list items",
]


def measured(text: str) -> dict[str, float]:
    return dict(zip(NAMES, stylometry(text).tolist(), strict=True))


def test_words_marks_and_shape_are_counted() -> None:
    found = measured("You\u2019re right, and I can't argue. Shall we go?\n- one\n2) two\n")
    assert found["you're"] == found["i"] == found["can't"] == pytest.approx(1 / 11)
    assert found["?"] == found[","] == found["-"] == pytest.approx(1 / 11)
    assert (found["sentences"], found["list items"], found["line breaks"]) == (3.0, 2.0, 2.0)
    assert found["log words"] == pytest.approx(np.log(11))
    assert measured("Is it?")["ends ?"] == 1.0
    assert measured("Is it? Yes.")["ends ?"] == 0.0


def test_the_second_person_shows() -> None:
    direct, distant = measured("You can see your own."), measured("One can see it.")
    assert direct["you"] > 0.0 == distant["you"]
    assert direct["your"] > 0.0 == distant["your"]


@given(st.text())
def test_any_text_has_finite_numbers(text: str) -> None:
    found = stylometry(text)
    assert found.shape == (WIDTH,)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, stylometry(f"  {text}\n"))
