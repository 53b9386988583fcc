"""What a policy must not lose while it learns a style: prompts, a text and questions, all fixed.

The files in `data/` are part of the measurement: a changed line makes results incomparable.
Invariant: no prompt here is one that a shipped persona asks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ClosedQuestion", "closed_questions", "fixed_text", "is_correct", "neutral_prompts"]

_FOLDER = Path(__file__).parent / "data"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class ClosedQuestion:
    """A question with one right answer."""

    prompt: str
    answers: tuple[str, ...]
    """Any of these words is right, in small or capital letters."""
    rivals: tuple[str, ...] = ()
    """Wrong where they come before the answer: "a mouse is larger than an elephant"."""


@cache
def neutral_prompts() -> tuple[str, ...]:
    """Prompts that no persona cares about, for the KL to the base model."""
    return tuple(_read("neutral_prompts.txt").splitlines())


@cache
def fixed_text() -> str:
    """About 1,600 English words in several registers, for the negative log-likelihood."""
    return _read("fixed_text.txt")


@cache
def closed_questions() -> tuple[ClosedQuestion, ...]:
    """Tiny questions that a model of 135M parameters has a chance on."""
    return tuple(_question(line) for line in _read("closed_form.jsonl").splitlines())


def is_correct(reply: str, question: ClosedQuestion) -> bool:
    """Whether the first sentence has an answer as a whole word, before any rival."""
    sentence = _first_sentence(reply).casefold()
    answer = _first_position(sentence, question.answers)
    rival = _first_position(sentence, question.rivals)
    return answer is not None and (rival is None or answer < rival)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _question(line: str) -> ClosedQuestion:
    content = json.loads(line)
    return ClosedQuestion(
        content["prompt"], tuple(content["answers"]), tuple(content.get("rivals", ()))
    )


def _first_sentence(reply: str) -> str:
    parts = _SENTENCE_END.split(reply.strip())
    return next((part for part in parts if any(char.isalnum() for char in part)), "")


def _first_position(sentence: str, words: tuple[str, ...]) -> int | None:
    found = (re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", sentence) for word in words)
    return min((match.start() for match in found if match), default=None)
