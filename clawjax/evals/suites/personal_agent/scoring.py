"""How well replies suit a user: their style, and whether they answer what was asked.

Invariant: pure functions of text. A reply in the user's style that answers nothing is worth as much
as one that answers in another style: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from clawjax.envs.persona import Persona

__all__ = ["FIRST", "SETTLED", "Known", "Parts", "is_answer", "score_replies"]

FIRST, SETTLED = 0.5, 0.5
"""Weights of the score: replies before the user has said what they think, and last replies."""


class Known(NamedTuple):
    """A question and what an answer to it has to mention."""

    prompt: str
    mentions: tuple[str, ...]
    """Patterns, small and capital letters alike; an answer has all of them."""
    reply: str = ""
    """One that the user likes."""


class Parts(NamedTuple):
    """What a conversation is worth, each in [0, 1]."""

    style: float
    """Persona's style score of first replies, whatever they say."""
    answered: float
    """Share of first replies that answer their question."""
    first: float
    """The product of both, reply by reply."""
    settled: float
    """The same of the last reply to each question."""
    asked_again: float
    """Share of the questions that the user had to put again."""

    @property
    def value(self) -> float:
        """The score."""
        return FIRST * self.first + SETTLED * self.settled


def is_answer(text: str, question: Known, others: Sequence[Known]) -> bool:
    """Whether a reply mentions what answers the question, and not what answers another one.

    Args:
        text: the reply.
        question: that it is to.
        others: that the same user might have asked: a text for all of them answers none.
    """
    return _mentions(text, question) and not any(_mentions(text, other) for other in others)


def score_replies(
    persona: Persona,
    asked: Sequence[Known],
    others: Sequence[Known],
    replies: Sequence[str],
    answered: Sequence[int],
) -> Parts:
    """Score a conversation.

    Args:
        persona: whose style is asked for.
        asked: its questions.
        others: of the persona's questions, those that were not asked.
        replies: of the agent, in order.
        answered: of each reply, the index of the question that it is to.
    """
    rows: list[Parts] = []
    for index, question in enumerate(asked):
        rest = [*others, *(each for each in asked if each is not question)]
        given = [text for text, to in zip(replies, answered, strict=True) if to == index] or [""]
        values = [persona.score(text, question.prompt) for text in given]
        right = [float(is_answer(text, question, rest)) for text in given]
        rows.append(
            Parts(
                style=values[0],
                answered=right[0],
                first=values[0] * right[0],
                settled=values[-1] * right[-1],
                asked_again=float(len(given) > 1),
            )
        )
    return Parts(*map(fmean, zip(*rows, strict=True)))


def _mentions(text: str, question: Known) -> bool:
    return all(re.search(pattern, text, re.I) for pattern in question.mentions)
