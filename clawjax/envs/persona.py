"""Who a simulated user is: what they ask, how they want it answered, how they say so.

Personas are data: YAML files in `personas/`, or a file of one's own. Invariant: training and
held-out questions are disjoint, and every phrasing fills with the slots it may use.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from clawjax.envs.style import (
    WISHES,
    Style,
    broken_wishes,
    count_words,
    held_wishes,
    style_score,
)
from clawjax.errors import ConfigError

__all__ = [
    "Persona",
    "Question",
    "Reaction",
    "join_message",
    "load_persona",
    "shipped_personas",
]

_FOLDER = Path(__file__).parent / "personas"
_SATISFIED = 0.5
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same in C, where PyYAML was built with it: ten times as fast."""


@dataclass(frozen=True, slots=True)
class Question:
    """One thing they ask; `topic` fits into "a question about ..."."""

    text: str
    topic: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a user says about a reply; the mood stays in their head."""

    mood: str
    text: str


@dataclass(frozen=True, slots=True)
class Persona:
    """A user with a taste of their own."""

    name: str
    description: str
    """What they want, for reports; completes "the user ..."."""
    style: Style
    train: tuple[Question, ...]
    held_out: tuple[Question, ...]
    praise: tuple[str, ...]
    complaints: tuple[tuple[str, tuple[str, ...]], ...]
    """Phrasings by the wish that was broken."""
    neutral: tuple[str, ...]
    connectors: tuple[str, ...]
    neutral_rate: float = 0.1
    """Share of replies they have nothing to say about."""
    held_out_later: int = 0
    """So many of `held_out`, at its end, were added later and are asked last."""

    def score(self, text: str, prompt: str = "") -> float:
        """How well a reply to `prompt` meets their style, in [0, 1]."""
        return style_score(text, self.style, prompt)

    def count_words(self, text: str) -> int:
        """Words as the score counts them."""
        return count_words(text)

    @property
    def held_out_prompts(self) -> tuple[str, ...]:
        """The held-out questions, topics mixed in a fixed order; those added later come last."""
        texts = [question.text for question in self.held_out]
        first = len(texts) - self.held_out_later
        return (*self._mixed(texts[:first]), *self._mixed(texts[first:]))

    def _mixed(self, texts: list[str]) -> list[str]:
        random.Random(self.name).shuffle(texts)
        return texts

    def react(self, reply: str, question: Question, rng: random.Random) -> Reaction:
        """Say something about a reply, in words that fit what was right or wrong with it."""
        if rng.random() < self.neutral_rate:
            return Reaction("neutral", self._fill(rng.choice(self.neutral), reply, question))
        if self.score(reply, question.text) >= _SATISFIED:
            return Reaction("praise", self._fill(rng.choice(self.praise), reply, question))
        complaints = dict(self.complaints)
        broken = broken_wishes(reply, self.style, question.text)
        phrasings = complaints[rng.choice(broken)]
        return Reaction("complaint", self._fill(rng.choice(phrasings), reply, question))

    def _fill(self, phrasing: str, reply: str, question: Question) -> str:
        words = count_words(reply)
        rounded = words if words < 20 else round(words, -1)
        return phrasing.format(topic=question.topic, words=rounded)


def join_message(connector: str, reaction: str, question: str) -> str:
    """Reaction and next question as one message, e.g. "Great. Anyway, how do I ...?"."""
    before = connector.partition("{question}")[0]
    goes_on = before.endswith((", ", ": ")) and question.split()[0].partition("'")[0] != "I"
    text = question[0].lower() + question[1:] if goes_on else question
    return connector.format(reaction=reaction, question=text)


def shipped_personas() -> tuple[str, ...]:
    """The names of the personas that come with the package."""
    files = sorted(_FOLDER.glob("*.yaml"))
    return tuple(path.stem for path in files if "\nstyle:" in path.read_text(encoding="utf-8"))


def load_persona(name: str) -> Persona:
    """A shipped persona by name, or one from the path of a YAML file.

    Raises:
        ConfigError: not found, or the file lacks or misspells something; the message says what.
    """
    shipped = _FOLDER / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    if not path.is_file():
        msg = f"persona {name!r} is neither a file nor one of: {', '.join(shipped_personas())}"
        raise ConfigError(msg)
    content = _read(path)
    questions = _read(_beside(path, content.get("questions", "everyday.yaml")))
    common = _read(_beside(path, content["common"])) if "common" in content else {}
    try:
        persona = _build(content, questions, common)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = f"persona file {path} is not usable: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error
    _check(persona, path)
    return persona


def _beside(path: Path, name: str) -> Path:
    """A file next to a persona's, or else the shipped one of that name."""
    own, shipped = path.parent / str(name), _FOLDER / str(name)
    return shipped if shipped.is_file() and not own.is_file() else own


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 (safe, in C where there is that)
    except (OSError, yaml.YAMLError) as error:
        msg = f"cannot read persona file {path}: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"persona file {path} holds a {type(content).__name__}: it has to be a mapping"
        raise ConfigError(msg)
    return content


def _build(
    content: Mapping[str, Any], questions: Mapping[str, Any], common: Mapping[str, Any]
) -> Persona:
    wishes = dict(content["style"])
    unknown = set(wishes) - {field.name for field in fields(Style)}
    if unknown:
        msg = f"style.{min(unknown)} is unknown"
        raise ValueError(msg)
    own = dict(wishes.pop("own", {}))
    style = Style(**wishes, own=tuple(own.items()))
    later = _questions(questions.get("held_out_later", {}))
    reactions = content["reactions"]
    return Persona(
        name=str(content["name"]),
        description=str(content["description"]).format(**wishes),
        style=style,
        train=_questions(questions["train"]),
        held_out=(*_questions(questions["held_out"]), *later),
        praise=_listed(reactions["praise"], "reactions.praise"),
        complaints=_complaints(style, reactions["complaint"], common.get("complaint", {})),
        neutral=(
            *_listed(reactions["neutral"], "reactions.neutral"),
            *common.get("neutral", ()),
        ),
        connectors=_listed(content.get("connectors") or common["connectors"], "connectors"),
        neutral_rate=float(content.get("neutral_rate", 0.1)),
        held_out_later=len(later),
    )


def _complaints(
    style: Style, own: Mapping[str, list[str]], common: Mapping[str, list[str]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    unknown = set(own) - {wish.name for wish in WISHES} - set(held_wishes(style))
    if unknown:
        msg = f"reactions.complaint.{min(unknown)} is about no wish there is"
        raise ValueError(msg)
    phrasings = dict(common) | dict(own)
    held = (wish for wish in held_wishes(style) if wish in phrasings)
    return tuple((wish, _listed(phrasings[wish], f"reactions.complaint.{wish}")) for wish in held)


def _questions(by_topic: Mapping[str, list[str]]) -> tuple[Question, ...]:
    return tuple(
        Question(text, topic)
        for topic, texts in by_topic.items()
        for text in _listed(texts, f"questions about {topic}")
    )


def _listed(texts: object, what: str) -> tuple[str, ...]:
    """Texts of a list; a single text would be taken for a list of its letters."""
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        msg = f"{what} is no list of texts"
        raise ValueError(msg)
    return tuple(texts)


def _check(persona: Persona, path: Path) -> None:
    for what, texts in (
        ("questions to train on", persona.train),
        ("held-out questions", persona.held_out),
        ("words of praise", persona.praise),
        ("neutral reactions", persona.neutral),
    ):
        if not texts:
            raise ConfigError(f"persona file {path}: there are no {what}: add some")
    if not 0 <= persona.neutral_rate <= 1:
        msg = f"persona file {path}: neutral_rate={persona.neutral_rate} is no share: use 0 to 1"
        raise ConfigError(msg)
    shared = {q.text for q in persona.train} & {q.text for q in persona.held_out}
    if shared:
        msg = f"persona file {path}: {min(shared)!r} is both a training and a held-out question"
        raise ConfigError(msg)
    complaints = dict(persona.complaints)
    missing = [wish for wish in held_wishes(persona.style) if not complaints.get(wish)]
    if missing:
        msg = f"persona file {path}: no complaint for {missing[0]}: add reactions.complaint"
        raise ConfigError(msg)
    probe = Question("Why?", "things")
    try:
        for phrasing in (*persona.praise, *persona.neutral, *sum(complaints.values(), ())):
            persona._fill(phrasing, "", probe)
        for connector in persona.connectors:
            join_message(connector, "Fine.", probe.text)
    except (KeyError, IndexError, ValueError) as error:
        msg = f"persona file {path}: a phrasing uses an unknown slot: {error}"
        raise ConfigError(msg) from error
