"""Hints are what users complained about, in their own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import NextStateConfig
from clawjax.rewards.quote import QuoteReward, sentences
from clawjax.rewards.reaction_model import ReactionModel

from .reward_records import feedback, session_closed, tool_says, user_says


@pytest.fixture(scope="module")
def quote() -> QuoteReward:
    return QuoteReward(NextStateConfig(), ReactionModel.packaged())


@given(st.text())
def test_sentences_lose_no_words(text: str) -> None:
    kept = "".join("".join(sentences(text)).split())
    for quoting in "\"')]":
        text, kept = text.replace(quoting, ""), kept.replace(quoting, "")
    assert kept == "".join(text.split())


def test_sentences_are_split_where_they_end() -> None:
    assert sentences("Too long! Shorter, please. Why is 3.5 odd?\nThanks") == [
        "Too long!",
        "Shorter, please.",
        "Why is 3.5 odd?",
        "Thanks",
    ]


async def test_a_complaint_is_quoted_without_the_next_question(quote: QuoteReward) -> None:
    words = "That was far too long for me. What goes well with rice?"
    verdict = await quote.judge(make_turn(), user_says(words))
    assert verdict.hints == ("That was far too long for me.",)
    assert (verdict.module, verdict.score) == ("quote", None)


async def test_all_complaints_come_first_then_each_alone(quote: QuoteReward) -> None:
    words = "This is much too long. Please stop making lists."
    hints = (await quote.judge(make_turn(), user_says(words))).hints
    assert hints[0] == words
    assert set(hints[1:]) == {"This is much too long.", "Please stop making lists."}


@pytest.mark.parametrize("words", ["Thank you, perfect!", "What goes well with rice?", "  "])
async def test_praise_and_questions_give_no_hint(quote: QuoteReward, words: str) -> None:
    assert (await quote.judge(make_turn(), user_says(words))).hints == ()


def test_only_what_a_user_says_is_quoted(quote: QuoteReward) -> None:
    turn = make_turn()
    assert quote.applies(turn, user_says("hm"))
    assert quote.applies(turn, feedback("too long"))
    assert not quote.applies(turn, tool_says("Error"))
    assert not quote.applies(turn, session_closed())
