"""Every shipped persona: enough to ask and to say, wishes that can be met, moods to be guessed."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from persona_replies import BAD, GOOD, PROMPTS

from clawjax.envs.persona import Persona, Question, join_message, load_persona, shipped_personas
from clawjax.envs.style import broken_wishes, held_wishes
from clawjax.rewards.reaction_data import TRAIN_PATH

NAMES = shipped_personas()
NEW = [name for name in NAMES if name != "brief"]
HELD_BACK = Path(__file__).parents[1] / "rewards" / "data" / "reactions_test.tsv"
PRAISING = (
    "great good nice love lovely perfect thanks thank excellent wonderful awesome like brilliant "
    "well best happy glad super cool fine helpful clear pleased amazing impressive sweet bravo "
    "interesting fantastic splendid delighted enjoy"
)
COMPLAINING = (
    "no not don't didn't can't couldn't won't wouldn't isn't wasn't doesn't never nothing nobody "
    "hate bad wrong too stop please less without annoying mistake problem worse sorry awful "
    "terrible boring afraid hard suspicious why"
)
GENERIC = ("", " \n", "Yes.", "Good job!", "you " * 40, "I do not know. " * 8, "?", "...", "1.")


@pytest.fixture(params=NAMES)
def persona(request: pytest.FixtureRequest) -> Persona:
    return load_persona(request.param)


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.casefold()).strip()


def complaints_of(persona: Persona) -> list[str]:
    return [text for _, texts in persona.complaints for text in texts]


def guess(text: str) -> str:
    """A mood by counting keywords."""
    words = re.findall(r"[a-z']+", text.lower())
    balance = sum(w in PRAISING.split() for w in words) - sum(
        w in COMPLAINING.split() for w in words
    )
    return "praise" if balance > 0 else "complaint" if balance < 0 else "neutral"


def test_there_are_at_least_seven_besides_the_first() -> None:
    assert len(NEW) >= 7
    assert set(GOOD) == set(BAD) == set(PROMPTS) == set(NAMES)


def test_there_is_enough_to_ask_and_training_asks_nothing_held_out(persona: Persona) -> None:
    trained = {plain(question.text) for question in persona.train}
    held_out = {plain(question.text) for question in persona.held_out}
    assert len(trained) == len(persona.train) >= 60
    assert len(held_out) == len(persona.held_out) >= 64
    assert not trained & held_out
    assert len({q.topic for q in persona.held_out} - {q.topic for q in persona.train}) >= 5


@pytest.mark.parametrize("name", ["asks", "plain", "unapologetic", "you"])
def test_nobody_is_asked_the_same_twice_within_96_questions(name: str) -> None:
    assert len(load_persona(name).train) >= 96


def test_everyday_prompts_suffice_for_the_personal_evaluation() -> None:
    assert len(load_persona("brief").held_out_prompts) >= 72


@pytest.mark.parametrize("name", NEW)
def test_there_is_enough_to_say_in_every_mood(name: str) -> None:
    persona = load_persona(name)
    assert len(set(persona.praise)) == len(persona.praise) >= 30
    assert len(set(persona.neutral)) == len(persona.neutral) >= 15
    assert tuple(wish for wish, _ in persona.complaints) == held_wishes(persona.style)
    for _, texts in persona.complaints:
        assert len(set(texts)) == len(texts) >= 12
    everything = [*persona.praise, *persona.neutral, *complaints_of(persona)]
    assert len({plain(text) for text in everything}) == len(everything)
    assert 0.0 < persona.neutral_rate < 0.3


@pytest.mark.parametrize("name", NEW)
def test_keywords_do_not_tell_the_mood(name: str) -> None:
    persona = load_persona(name)
    said = [("praise", text) for text in persona.praise]
    said += [("complaint", text) for text in complaints_of(persona)]
    guesses = [(mood, guess(text)) for mood, text in said]
    missed = [pair for pair in guesses if pair[0] != pair[1]]
    reversed_ = [pair for pair in missed if pair[1] != "neutral"]
    assert len(missed) / len(said) > 0.5
    assert len(reversed_) / len(said) > 0.2
    praised = [found for mood, found in guesses if mood == "praise"]
    assert praised.count("complaint") / len(praised) > 0.25


@pytest.mark.parametrize("name", NEW)
def test_nothing_is_said_that_the_judge_was_made_or_tested_with(name: str) -> None:
    files = (TRAIN_PATH, HELD_BACK)
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    known = {plain(line.split("\t")[-1]) for line in lines}
    persona = load_persona(name)
    said = {plain(t) for t in (*persona.praise, *persona.neutral, *complaints_of(persona))}
    assert not said & known


@pytest.mark.parametrize("name", NAMES)
def test_wishes_can_be_met(name: str) -> None:
    persona = load_persona(name)
    for reply in GOOD[name]:
        assert broken_wishes(reply, persona.style, PROMPTS[name]) == ()
        assert persona.score(reply, PROMPTS[name]) == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_every_wish_is_broken_by_something_and_by_that_alone(name: str) -> None:
    persona = load_persona(name)
    assert set(BAD[name]) == set(held_wishes(persona.style))
    for wish, replies in BAD[name].items():
        for reply in replies:
            found = broken_wishes(reply, persona.style, PROMPTS[name])
            assert wish in found
            assert persona.score(reply, PROMPTS[name]) == 0.0
            assert found == (wish,) or wish == "too_short", (reply, found)


def test_saying_nothing_or_the_same_over_and_over_is_worth_nothing(persona: Persona) -> None:
    prompt = PROMPTS[persona.name]
    generic = GENERIC if persona.style.forbid_repeats else GENERIC[:3]
    assert [persona.score(reply, prompt) for reply in generic] == [0.0] * len(generic)


def test_moods_follow_the_replies_and_some_say_nothing(persona: Persona) -> None:
    rng = random.Random(0)
    question = Question(PROMPTS[persona.name], "ice")
    bad = next(iter(BAD[persona.name].values()))[-1]
    for reply, expected in ((GOOD[persona.name][0], "praise"), (bad, "complaint")):
        moods = [persona.react(reply, question, rng).mood for _ in range(200)]
        assert set(moods) == {expected, "neutral"}


def test_every_reaction_is_filled_and_joins_every_question(persona: Persona) -> None:
    rng = random.Random(1)
    replies = [*GOOD[persona.name], *(r for bad in BAD[persona.name].values() for r in bad)]
    for question in (*persona.train, *persona.held_out):
        reaction = persona.react(rng.choice(replies), question, rng)
        message = join_message(rng.choice(persona.connectors), reaction.text, question.text)
        assert not set("{}") & set(reaction.text + message)
        assert reaction.text in message
        assert question.text[1:] in message


def test_questions_may_go_on_a_sentence(persona: Persona) -> None:
    names = {"Anna", "Ben", "Lisa", "Max", "Mia", "Sam", "Tom"}
    for question in (*persona.train, *persona.held_out):
        assert question.text[0].isupper()
        assert question.text.split()[0] not in names
