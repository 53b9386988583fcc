"""The surface of a text: which small words and marks it uses, how long its words and sentences are.

People who write in one manner agree in these whatever they write about, which is how authors of
disputed texts are told apart. Language-bound only in the list of small words, which are English.
Pure; no model reads the text.

References: function words, Mosteller & Wallace 1963, "Inference in an authorship problem"; a survey
of the other measures, Stamatatos 2009, "A survey of modern authorship attribution methods".
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from clawjax.prose import LIST_ITEM, WORD

__all__ = ["WIDTH", "plain", "stylometry", "words_of"]

_SMALL = """
a about all also an and any are as at be been but by can can't could did do does don't for from had
has have he here how i i'm if in is it it's its just may me might more most must my no not of on or
our really she should so some that the their them there they this to too us very was we were what
when which who why will with would you you're your
"""
FUNCTION_WORDS = tuple(_SMALL.split())
MARKS = tuple(",.!?:;-*#()\"'0123456789")
ENDINGS = tuple(".?!")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_LONG_WORD = 7
_RATES, _SHAPE = len(FUNCTION_WORDS) + len(MARKS), 9
WIDTH = _RATES + len(ENDINGS) + _SHAPE
"""How many numbers describe a text."""


def plain(text: str) -> str:
    """The text with straight apostrophes and nothing around it."""
    return text.strip().replace("\u2019", "'")


def words_of(text: str) -> list[str]:
    """Of a plain text, in small letters; numbers are none."""
    return [word.lower() for word in WORD.findall(text)]


def stylometry(text: str) -> np.ndarray:
    """`[WIDTH]`: rates per word, endings as 0 or 1, the text's shape; zeros where it is empty."""
    text = plain(text)
    words = words_of(text)
    if not words:
        return np.zeros(WIDTH)
    counts, count = Counter(words), len(words)
    rates = [counts[word] / count for word in FUNCTION_WORDS]
    rates += [text.count(mark) / count for mark in MARKS]
    endings = [float(text.endswith(ending)) for ending in ENDINGS]
    return np.array([*rates, *endings, *_shape(text, words, counts)])


def _shape(text: str, words: list[str], counts: Counter[str]) -> list[float]:
    count, sentences = len(words), len(_SENTENCE.split(text))
    return [
        float(np.log(count)),
        float(sentences),
        count / sentences,
        sum(map(len, words)) / count,
        sum(len(word) >= _LONG_WORD for word in words) / count,
        len(counts) / count,
        sum(letter.isupper() for letter in text) / len(text),
        float(text.count("\n")),
        float(len(LIST_ITEM.findall(text))),
    ]
