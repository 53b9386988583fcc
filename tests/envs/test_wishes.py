"""What each wish lets through and what it does not, one reply at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.envs.style import WISHES, Style, broken_wishes, count_words, held_wishes, style_score
from clawjax.envs.style.text import sentences

ALL = Style(
    max_words=80,
    min_words=2,
    max_paragraphs=2,
    forbid_repeats=True,
    forbid_lists=True,
    forbid_markup=True,
    is_formal=True,
    ends_with_question=True,
    addresses_reader=True,
    forbid_apologies=True,
    forbid_ai_talk=True,
    forbid_stock_phrases=True,
    forbid_stiff_words=True,
    is_warm=True,
    names_detail=True,
    suggests_improvement=True,
    is_partial=True,
)
PIECES = [
    "You could try",
    "Sorry!",
    "- it's",
    "**bold**",
    "1. I am an AI",
    "\n\n",
    "why not?",
    "42",
]
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)


def check(style: Style, wish: str, text: str, is_met: bool, prompt: str = "") -> None:
    assert (wish not in broken_wishes(text, style, prompt)) is is_met


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("Boil the rice. Then drain it well.", True),
        ("Rain, rain, rain: that is all there was to see.", True),
        ("It is in the sea. It is very old. It is in the sea.", False),
        ("no no no no no no no", False),
        ("Yes, yes. It keeps. Yes, yes. It lasts.", True),
    ],
)
def test_repetition_is_seen_within_one_reply(text: str, is_met: bool) -> None:
    check(Style(forbid_repeats=True), "repeats", text, is_met)


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("Take 2 * 3 * 4 spoons of snake_case_flour - or so.", True),
        ("He said \u2013 and meant it \u2013 that it was late.", True),
        ("It is **very** hot.", False),
        ("It is *very* hot.", False),
        ("It is _very_ hot.", False),
        ("Run `make`.", False),
        ("See [this](http://x).", False),
        ("> Quoted\nand so on.", False),
        ("Above\n---\nbelow.", False),
        ("Step 1: boil it.", False),
        ("\u2014 boil it\n\u2014 drain it", False),
        ("Rice \u2013 a grain\nTofu \u2013 a curd", False),
    ],
)
def test_markup_is_anything_but_words(text: str, is_met: bool) -> None:
    check(Style(forbid_markup=True), "markup", text, is_met)


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("I would be delighted to see you at Anna's table at five o'clock.", True),
        ("It's late.", False),
        ("You don\u2019t say.", False),
        ("They'll come.", False),
        ("dont wait", False),
        ("Hey Ben, see you there.", False),
        ("See you there!", False),
        ("See you there \U0001f600", False),
        ("See you there :)", False),
    ],
)
def test_formal_means_no_short_forms_no_slang_and_no_shouting(text: str, is_met: bool) -> None:
    check(Style(is_formal=True), "informal", text, is_met)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("Ice is lighter than water. Have you ever skated on a lake?", ()),
        ('Ice is lighter than water. "Have you ever skated on a lake?" ', ()),
        ("Ice is lighter than water.", ("no_question",)),
        ("Have you ever skated? Ice is light.", ("no_question", "no_answer")),
        ("Ice is lighter than water. Does your lake freeze in winter? Good.", ("no_question",)),
        ("Ice is lighter than water. Is it not strange?", ("no_question",)),
        ("Ice is lighter than water. How about you?", ()),
        ("Ice is lighter than water. What's on your mind?", ()),
        ("Ice is lighter than water. Are you?", ("no_question",)),
        ("Ice is lighter than water. What can I do for you today?", ("no_question",)),
        ("Ice is lighter than water. Do you have any other questions?", ("no_question",)),
        ("Ice is lighter than water. Would you like to know more?", ("no_question",)),
        ("Ice is lighter than water. Is there anything else you need?", ("no_question",)),
        ("Ice is lighter than water. Is there anything specific to tell you?", ("no_question",)),
        ("Have you ever skated on a lake?", ("no_answer",)),
        ("Why do you ask me that now?", ("no_answer", "no_question")),
    ],
)
def test_a_question_back_is_a_real_one_and_comes_after_an_answer(
    text: str, broken: tuple[str, ...]
) -> None:
    found = broken_wishes(text, Style(ends_with_question=True), "Why do you ask me that now?")
    assert set(found) == set(broken)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("You can save your energy. Close the door.", ()),
        ("Put it in your bag, with 'World War I' on top.", ()),
        ('You could say "I love it". Your friend will smile.', ()),
        ("People sleep. Cats sleep. You sleep.", ("impersonal",)),
        ("You sleep, and I watch you.", ("first_person",)),
        ("We sleep.", ("impersonal", "first_person")),
        ("In the US you pay at your table.", ()),
    ],
)
def test_the_reader_is_spoken_to_by_nobody(text: str, broken: tuple[str, ...]) -> None:
    assert broken_wishes(text, Style(addresses_reader=True)) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("Check the number again, the shop opens at nine.", ()),
        ("The model train goes through the main station. Email me.", ()),
        ("I'm sorry to hear that.", ("apology",)),
        ("My apologies, it is nine.", ("apology",)),
        ("I\u2019m afraid that is so.", ("apology",)),
        ("As an AI, I see no colours.", ("ai_talk",)),
        ("I am just a computer program.", ("ai_talk",)),
        ("I don't have personal feelings.", ("ai_talk",)),
        ("Sorry, I'm a large language model.", ("apology", "ai_talk")),
    ],
)
def test_excuses_and_speeches_about_oneself_are_noticed(text: str, broken: tuple[str, ...]) -> None:
    assert broken_wishes(text, Style(forbid_apologies=True, forbid_ai_talk=True)) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("It's the part that's bigger, so you get 10. I'm not sure why.", ()),
        ("I made sure it fits. Of all courses I like this one.", ()),
        ("Sure! It is 10.", ("stock_phrases",)),
        ("Great question! It is 10.", ("stock_phrases",)),
        ("That's a great question. It is 10.", ("stock_phrases",)),
        ("It is 10. In conclusion, 10.", ("stock_phrases",)),
        ("It is 10. I hope this helps.", ("stock_phrases",)),
        ("It is 10. Furthermore, it is even.", ("stiff_words",)),
        ("Certainly, one can utilize it.", ("stock_phrases", "stiff_words")),
    ],
)
def test_what_gives_an_assistant_away(text: str, broken: tuple[str, ...]) -> None:
    style = Style(forbid_stock_phrases=True, forbid_stiff_words=True)
    assert broken_wishes(text, style) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("I like how you explain the roots. Next time tell us what they drink.", ()),
        ("Good job! You could write more.", ("vague",)),
        ("Good job!", ("cold", "vague", "no_advice")),
        ("The roots need more detail. You should check it.", ("cold",)),
        ("You wrote well about roots, lovely.", ("no_advice",)),
        ("You did a sloppy but good job on roots, try to improve.", ("cold",)),
    ],
)
def test_a_good_comment_is_warm_specific_and_helpful(text: str, broken: tuple[str, ...]) -> None:
    style = Style(is_warm=True, names_detail=True, suggests_improvement=True)
    prompt = 'A pupil wrote: "Roots hold the plant." Write a comment.'
    assert broken_wishes(text, style, prompt) == broken


def test_a_detail_is_a_word_of_the_work_and_not_of_the_request() -> None:
    style = Style(names_detail=True)
    prompt = 'A girl in my class wrote: "9 x 9 is 81." Give her some feedback.'
    check(style, "vague", "The girl in your class did it.", False, prompt)
    check(style, "vague", "Your 81 is right.", True, prompt)
    check(style, "vague", "Your 81 is right.", False)
    check(style, "vague", "Plants do drink.", True, "Do planted trees drink?")


def test_titles_do_not_end_a_sentence_and_numbers_are_none() -> None:
    assert sentences("Ask Dr. Brown about it. He knows!  42.\nReally") == [
        "Ask Dr. Brown about it.",
        "He knows!",
        "Really",
    ]


def test_wishes_have_names_of_their_own_and_hold_one_by_one() -> None:
    names = tuple(wish.name for wish in WISHES)
    assert len(set(names)) == len(names)
    assert held_wishes(ALL) == names
    assert held_wishes(Style()) == ("too_short",)
    assert held_wishes(Style(is_formal=True)) == ("too_short", "informal")


@given(TEXTS, st.text(max_size=40))
def test_scores_are_shares_of_the_wishes_met(text: str, prompt: str) -> None:
    broken = broken_wishes(text, ALL, prompt)
    score = style_score(text, ALL, prompt)
    assert 0.0 <= score <= 1.0
    assert set(broken) <= set(held_wishes(ALL))
    if count_words(text) >= ALL.min_words:
        assert score == pytest.approx(1 - len(broken) / len(held_wishes(ALL)))
    else:
        assert score == 0.0


@given(TEXTS, st.text(alphabet=" \t\n\r\u3000", max_size=4), st.text(alphabet=" \t\n", max_size=4))
def test_whitespace_at_the_ends_changes_nothing(text: str, before: str, after: str) -> None:
    assert broken_wishes(before + text + after, ALL) == broken_wishes(text, ALL)
