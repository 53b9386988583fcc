"""Labelled reactions: reading them, and composing messages of a reaction and a new question.

People often react and ask something new in one breath; the question says nothing about the reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LABELS", "TRAIN_PATH", "Example", "compounds", "read_examples", "varied"]

LABELS = ("praise", "complaint", "neutral")
"""The classes, in the order of the model's outputs."""
TRAIN_PATH = Path(__file__).parent / "data" / "reactions_train.tsv"

_BY_SIGN = {"+": "praise", "-": "complaint", "0": "neutral"}
_LINKS = ("", "", "", "", "Anyway, ", "Next: ", "Now, ", "Also, ", "So, ", "Btw ", "And ", "Ok. ")
_QUESTION_FIRST = 0.12
_UNPUNCTUATED = 0.25


class Example(NamedTuple):
    """A user's message and what it says about the reply before it."""

    label: str
    text: str


def read_examples(path: Path = TRAIN_PATH) -> list[Example]:
    """Read `sign<TAB>text` lines; the sign is +, - or 0."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(_BY_SIGN[sign], text) for sign, text in rows]


def compounds(examples: Sequence[Example], count: int, rng: np.random.Generator) -> list[Example]:
    """`count` messages per reaction that go on, or begin, with a neutral question.

    Neutral messages get another neutral one; lower-case copies stand for hurried typing.
    """
    questions = [e.text for e in examples if e.label == "neutral" and len(e.text.split()) > 3]
    if not questions:
        return []
    made = []
    for example in examples:
        for _ in range(count):
            text = _join(example.text, questions[rng.integers(len(questions))], rng)
            if rng.random() < 0.15:
                text = text.lower()
            made.append(Example(example.label, text))
    return made


def varied(examples: Sequence[Example], share: float, rng: np.random.Generator) -> list[Example]:
    """The examples, about `share` of them as compounds: another selection at every call."""
    made = compounds(examples, 1, rng) or examples
    is_kept = rng.random(len(examples)) >= share
    return [
        example if kept else compound
        for example, compound, kept in zip(examples, made, is_kept, strict=True)
    ]


def _join(reaction: str, question: str, rng: np.random.Generator) -> str:
    """Put a question behind (seldom before) a reaction, with or without a link and a full stop."""
    if rng.random() < _QUESTION_FIRST:
        first, second = question, reaction
    else:
        first, second = reaction, question
        if link := _LINKS[rng.integers(len(_LINKS))]:
            second = link + second[0].lower() + second[1:]
    if first[-1].isalnum() and rng.random() > _UNPUNCTUATED:
        first += "."
    return f"{first} {second}"
