"""Scores by hand, and what no reply may do to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.envs.style import Style, broken_wishes, count_words, style_score
from clawjax.errors import ConfigError

BRIEF = Style(max_words=10, min_words=2, max_paragraphs=1, forbid_lists=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("Don't panic.", 2),
        ("It\u2019s 3.5 km, well-known and/or far.", 6),
        ("- one\n- two", 2),
        ("**Bold** _move_ ...", 2),
    ],
)
def test_words_are_counted_as_a_reader_counts_them(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("Boil it for ten minutes.", ()),
        ("Boil it.\nThen wait.", ()),
        ("one " * 11, ("too_long",)),
        ("Yes.", ("too_short",)),
        ("", ("too_short",)),
        ("Do this:\n- boil\n- wait", ("lists",)),
        ("Do this:\n1. boil\n2. wait", ("lists",)),
        ("Do this: 1. boil 2. wait", ("lists",)),
        ("# Rice\nBoil it.", ("lists",)),
        ("In 1989. It was early.", ()),
        ("It took 2. Or so.", ()),
        ("Boil it.\n\nThen wait.", ("paragraphs",)),
        ("one " * 11 + "\n\n* two", ("too_long", "lists", "paragraphs")),
    ],
)
def test_each_broken_wish_is_named(text: str, broken: tuple[str, ...]) -> None:
    assert broken_wishes(text, BRIEF) == broken
    assert style_score(text, BRIEF) == float(not broken)


def test_partial_credit_is_the_share_of_wishes_met() -> None:
    partial = Style(max_words=10, max_paragraphs=1, forbid_lists=True, is_partial=True)
    assert style_score("Boil it.\n\nThen wait.", partial) == pytest.approx(3 / 4)
    assert style_score("", partial) == 0.0


@given(st.text(max_size=300), st.booleans())
def test_scores_are_shares_and_follow_from_the_broken_wishes(text: str, is_partial: bool) -> None:
    style = Style(max_words=8, max_paragraphs=1, forbid_lists=True, is_partial=is_partial)
    score = style_score(text, style)
    assert 0.0 <= score <= 1.0
    assert (score == 1.0) == (not broken_wishes(text, style))
    assert style_score(text + "\n", style) == score


@given(st.lists(st.sampled_from(["boil", "the", "rice"]), min_size=1, max_size=20))
def test_adding_words_never_makes_a_long_reply_short_enough(words: list[str]) -> None:
    shorter, longer = " ".join(words), " ".join([*words, "slowly"])
    assert ("too_long" in broken_wishes(longer, BRIEF)) >= (
        "too_long" in broken_wishes(shorter, BRIEF)
    )


@pytest.mark.parametrize(
    "wishes", [{"min_words": 0}, {"max_words": 3, "min_words": 4}, {"max_paragraphs": 0}]
)
def test_wishes_that_no_good_reply_can_meet_are_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wishes))):
        Style(**wishes)
