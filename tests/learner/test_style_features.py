"""What a reply does, as numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.learner.style_features import STYLE_FEATURES, style_features

PLAIN = "A river runs to the sea. Rain falls on hills and fields."
SHOWS = {
    "ever I": "I think that a river runs to the sea.",
    "ever we": "A river runs to the sea, as we know.",
    "list": "A river runs:\n- to the sea\n- to a lake",
    "markup": "A river runs to the **sea**.",
    "repeats a sentence": "A river runs. Rain falls on hills. A river runs.",
    "ends in a question": 'A river runs. Where does it "end?"',
    "breaks off": "A river runs to the",
    "exclaims": "A river runs to the sea!",
    "contractions": "A river doesn\u2019t run uphill.",
    "emoji": "A river runs to the sea. \U0001f30a",
    "numbers": "A river runs 40 miles.",
    "quotes": 'A "river" runs to the sea.',
    "colon": "A river: it runs to the sea.",
    "semicolon or dash": "A river runs; rain falls.",
    "brackets": "A river runs (to the sea).",
    "opens with a phrase": "Sure. A river runs to the sea.",
    "apologises": "A river runs, I am sorry to say.",
    "speaks of being an AI": "As an AI, I see no river.",
    "hedges": "A river perhaps runs to the sea.",
    "advises": "A river should run to the sea.",
    "kind words": "A good river runs to the sea.",
    "connectives": "However, a river runs to the sea.",
}


def measured(text: str) -> dict[str, float]:
    return dict(zip(STYLE_FEATURES, style_features(text).tolist(), strict=True))


@pytest.mark.parametrize(("habit", "text"), SHOWS.items(), ids=SHOWS.keys())
def test_a_habit_is_seen_where_it_is_and_nowhere_else(habit: str, text: str) -> None:
    assert measured(text)[habit] == 1.0
    assert measured(PLAIN)[habit] == 0.0


def test_shares_are_of_sentences_and_sizes_of_the_text() -> None:
    found = measured("You\u2019ll see your town. I won't. We can ask yours.\n\nWho knows?")
    assert found["sentences with you"] == 0.5
    assert found["sentences with I"] == found["sentences with we"] == found["questions"] == 0.25
    assert (found["sentences"], found["paragraphs"]) == (4.0, 2.0)
    assert found["words"] == pytest.approx(np.log(12))
    assert found["words per sentence"] == pytest.approx(3)
    assert measured("Elephants remember elephants.")["different words"] == pytest.approx(2 / 3)
    assert measured("Elephants remember that.")["long words"] == pytest.approx(2 / 3)


def test_words_within_words_do_not_count() -> None:
    found = measured("In Italy a usual bus is a youth hostel, said the trainer of the team.")
    assert all(found[habit] == 0.0 for habit in ("ever I", "ever we", "sentences with you"))
    assert found["speaks of being an AI"] == 0.0


@given(st.text())
def test_any_text_has_finite_numbers(text: str) -> None:
    found = style_features(text)
    assert found.shape == (len(STYLE_FEATURES),)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, style_features(f"  {text}\n"))
