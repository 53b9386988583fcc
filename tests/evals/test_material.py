"""The fixed measuring material, and the score of the closed-form questions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.envs.persona import load_persona, shipped_personas
from clawjax.evals.material import (
    ClosedQuestion,
    closed_questions,
    fixed_text,
    is_correct,
    neutral_prompts,
)

LARGER = ClosedQuestion("Which is larger, a mouse or an elephant?", ("elephant",), ("mouse",))
OPPOSITE = ClosedQuestion("What is the opposite of big?", ("small", "little"))
ASKED = {
    question.text
    for name in shipped_personas()
    for persona in (load_persona(name),)
    for question in (*persona.train, *persona.held_out)
}


def test_neutral_prompts_are_ones_that_no_persona_asks() -> None:
    prompts = neutral_prompts()
    assert len(prompts) == len(set(prompts)) == 40
    assert all(prompt.strip() == prompt for prompt in prompts)
    assert not {prompt.casefold() for prompt in prompts} & {text.casefold() for text in ASKED}


def test_the_text_is_long_enough_and_says_nothing_twice() -> None:
    text = fixed_text()
    assert 1400 <= len(text.split()) <= 1800
    sentences = [s for s in re.split(r"(?<=[.!?])\s+|\n+", text) if len(s.split()) > 3]
    assert len(set(sentences)) == len(sentences)
    assert text.isascii()


def test_questions_have_answers_and_are_no_personas() -> None:
    questions = closed_questions()
    prompts = {question.prompt for question in questions}
    assert len(prompts) == len(questions) >= 60
    assert not prompts & ASKED
    for question in questions:
        assert question.answers
        assert not set(question.answers) & set(question.rivals)
        assert not is_correct("", question)
        assert is_correct(f"The answer is {question.answers[0].upper()}. Or so.", question)


@pytest.mark.parametrize("reply", ["Yes.", "No.", "Yes or no.", "Green.", "I do not know."])
def test_no_single_reply_answers_many(reply: str) -> None:
    questions = closed_questions()
    assert sum(is_correct(reply, question) for question in questions) <= len(questions) / 8


@pytest.mark.parametrize(
    ("reply", "question", "expected"),
    [
        ("An elephant is larger than a mouse.", LARGER, True),
        ("A mouse is larger than an elephant.", LARGER, False),
        ("\n\n ... \nThe elephant!", LARGER, True),
        ("I wonder. It is the elephant.", LARGER, False),
        ("Elephants are.", LARGER, False),
        ("It's 'Little'", OPPOSITE, True),
        ("Smaller things.", OPPOSITE, False),
    ],
)
def test_the_answer_is_a_whole_word_of_the_first_sentence(
    reply: str, question: ClosedQuestion, expected: bool
) -> None:
    assert is_correct(reply, question) is expected


@given(st.text(max_size=80), st.sampled_from(closed_questions()))
def test_what_comes_after_the_first_sentence_and_around_it_does_not_count(
    reply: str, question: ClosedQuestion
) -> None:
    assert is_correct(f"  {reply}\n", question) == is_correct(reply, question)
    assert not is_correct(f"I wonder. {question.answers[0]}.", question)
