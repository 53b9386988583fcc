"""The shipped persona, and files of one's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from clawjax.envs.persona import Persona, Question, join_message, load_persona
from clawjax.errors import ConfigError

QUESTION = Question("How do I boil an egg?", "cooking")
BEFORE = ("What is a home run?", "What grows well next to tomatoes?")
SHORT = "Ten minutes in boiling water will do."
LONG = "word " * 400


@pytest.fixture(scope="module")
def brief() -> Persona:
    return load_persona("brief")


def test_there_is_enough_to_ask_and_to_say(brief: Persona) -> None:
    assert len(brief.train) >= 160
    assert len(brief.held_out) >= 64
    complaints = [text for _, texts in brief.complaints for text in texts]
    for bank in (brief.praise, complaints, brief.neutral):
        assert len(bank) >= 25
        assert len(set(bank)) == len(bank)


def test_held_out_questions_are_never_asked_in_training(brief: Persona) -> None:
    trained = {question.text.casefold() for question in brief.train}
    held_out = {question.text.casefold() for question in brief.held_out}
    assert len(trained) == len(brief.train)
    assert len(held_out) == len(brief.held_out)
    assert not trained & held_out
    assert len({q.topic for q in brief.held_out} - {q.topic for q in brief.train}) >= 5


def test_held_out_prompts_come_in_a_fixed_order_with_topics_mixed(brief: Persona) -> None:
    topics = {question.text: question.topic for question in brief.held_out}
    assert brief.held_out_prompts == load_persona("brief").held_out_prompts
    assert sorted(brief.held_out_prompts) == sorted(topics)
    assert len({topics[prompt] for prompt in brief.held_out_prompts[:16]}) >= 8


def test_moods_follow_the_style_score(brief: Persona) -> None:
    rng = random.Random(0)
    for reply, expected in ((SHORT, "praise"), (LONG, "complaint"), ("", "complaint")):
        moods = [brief.react(reply, QUESTION, rng).mood for _ in range(300)]
        assert set(moods) == {expected, "neutral"}
        assert 0.05 < moods.count("neutral") / 300 < 0.16


def test_complaints_name_what_was_wrong(brief: Persona) -> None:
    complaints = dict(brief.complaints)
    rng = random.Random(1)
    reply = "Do this now:\n- boil it"
    said = {brief.react(reply, QUESTION, rng) for _ in range(200)}
    about_lists = {
        text.format(topic=QUESTION.topic, words=5) for text in complaints["lists"]
    }  # fmt: skip
    assert {r.text for r in said if r.mood == "complaint"} == about_lists


def test_every_phrasing_is_filled(brief: Persona) -> None:
    rng = random.Random(2)
    texts = [brief.react(reply, QUESTION, rng).text for reply in (SHORT, LONG) for _ in range(500)]
    assert not any("{" in text or "}" in text for text in texts)
    assert any("cooking" in text for text in texts)


def test_the_length_is_said_in_round_numbers(brief: Persona) -> None:
    assert brief._fill("{words} words?", "word " * 143, QUESTION) == "140 words?"


@pytest.mark.parametrize(
    ("connector", "expected"),
    [
        ("{reaction} {question}", "Fine. How is it?"),
        ("{reaction} Anyway, {question}", "Fine. Anyway, how is it?"),
        ("{question} (Before: {reaction})", "How is it? (Before: Fine.)"),
    ],
)
def test_reaction_and_question_make_one_message(connector: str, expected: str) -> None:
    assert join_message(connector, "Fine.", "How is it?") == expected


@pytest.mark.parametrize("question", ["I ask why?", "I'm here.", "I've read it.", "I'd go."])
def test_a_message_about_me_keeps_its_capital(question: str) -> None:
    assert join_message("{reaction} So, {question}", "Ok.", question) == f"Ok. So, {question}"


SAID: dict[str, object] = {
    "praise": ["Good."],
    "complaint": {"too_long": ["Long."], "too_short": ["Short."]},
    "neutral": ["Hm."],
}


def own_files(folder: Path, **changes: object) -> Path:
    content = {
        "name": "own",
        "description": "wants at most {max_words} words",
        "questions": "asks.yaml",
        "style": {"max_words": 5},
        "reactions": SAID,
        "connectors": ["{reaction} {question}"],
    }
    asks = {"train": {"rain": ["Why?"]}, "held_out": {"rain": ["Where?"]}}
    if "held_out" in changes:
        asks["held_out"] = changes.pop("held_out")  # pyright: ignore
    (folder / "asks.yaml").write_text(yaml.safe_dump(asks))
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_a_persona_can_be_a_file_of_ones_own(tmp_path: Path) -> None:
    persona = load_persona(str(own_files(tmp_path)))
    assert persona.description == "wants at most 5 words"
    assert persona.train == (Question("Why?", "rain"),)
    assert persona.score("It rains.") == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": {"max_wrods": 5}}, "style.max_wrods is unknown"),
        ({"style": {"max_words": 0}}, "max_words=0"),
        ({"style": {"forbid_lists": True, "max_words": 5}}, "no complaint for lists"),
        ({"held_out": {"rain": ["Why?"]}}, "both a training and a held-out"),
        ({"connectors": ["{reactoin} {question}"]}, "unknown slot"),
        ({"reactions": {"praise": []}}, "not usable"),
        ({"reactions": {"praise": [], "complaint": {"to_long": ["x"]}}}, "to_long is about no"),
        ({"questions": "nowhere.yaml"}, "cannot read"),
        ({"common": "nowhere.yaml"}, "cannot read"),
        ({"connectors": []}, "connectors"),
        ({"reactions": SAID | {"praise": "Great."}}, "reactions.praise is no list of texts"),
        ({"reactions": SAID | {"praise": []}}, "there are no words of praise"),
        ({"reactions": SAID | {"neutral": []}}, "there are no neutral reactions"),
        ({"reactions": SAID | {"complaint": {"too_long": "Long."}}}, "too_long is no list"),
        ({"held_out": {}}, "there are no held-out questions"),
        ({"neutral_rate": float("nan")}, "neutral_rate=nan is no share"),
        ({"neutral_rate": 2}, "neutral_rate=2.0 is no share"),
    ],
)
def test_a_faulty_file_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_persona(str(own_files(tmp_path, **changes)))


def test_shipped_questions_and_phrasings_serve_files_of_ones_own(tmp_path: Path) -> None:
    reactions = {"praise": ["Good."], "complaint": {"too_long": ["Long."]}, "neutral": []}
    changes: dict[str, object] = {"reactions": reactions, "connectors": None}
    own = own_files(tmp_path, questions="pupils.yaml", common="common.yaml", **changes)
    persona, teacher = load_persona(str(own)), load_persona("teacher")
    assert persona.train == teacher.train
    assert dict(persona.complaints)["too_short"] == dict(teacher.complaints)["too_short"]
    assert persona.connectors == teacher.connectors
    assert "repeats" not in dict(persona.complaints)


def test_questions_added_later_are_asked_last(brief: Persona) -> None:
    count = len(brief.held_out) - brief.held_out_later
    assert 0 < count < len(brief.held_out)
    first = {question.text for question in brief.held_out[:count]}
    assert set(brief.held_out_prompts[:count]) == first
    assert brief.held_out_prompts[:2] == BEFORE


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="one of: asks, brief"):
        load_persona("breif")
