"""Style features of a reply: whom it speaks to, how it is laid out, begins and ends, and the like.

These are what people name when they say how they want to be answered ("no lists", "ask me
something", "stop apologising"), so that a few reactions are enough to tell which of them matters;
from the rates of single words (`clawjax.learner.stylometry`) that takes several times as many. A
prior about wishes in general, written down by hand and in English: a wish of a kind that is not
here has to be found in the other views of a reply. Pure; no model reads the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clawjax.learner.stylometry import plain, words_of
from clawjax.prose import SENTENCE_BREAK

__all__ = ["STYLE_FEATURES", "style_features"]


class _Reply(NamedTuple):
    """Its text taken apart."""

    text: str
    """Stripped, with straight apostrophes."""
    sentences: list[str]
    """And lines; at least one."""
    words: list[str]
    """In small letters; at least one."""


_SHORTEST_REPEAT = 3
_LONG_WORD = 8


def _any(pattern: str, flags: re.RegexFlag = re.IGNORECASE) -> Callable[[_Reply], float]:
    found = re.compile(pattern, flags)
    return lambda reply: float(found.search(reply.text) is not None)


def _share(pattern: str, flags: re.RegexFlag = re.IGNORECASE) -> Callable[[_Reply], float]:
    found = re.compile(pattern, flags)
    return lambda reply: float(np.mean([bool(found.search(one)) for one in reply.sentences]))


def _repeats(reply: _Reply) -> float:
    sentences = [tuple(words_of(sentence)) for sentence in reply.sentences]
    sentences = [words for words in sentences if len(words) >= _SHORTEST_REPEAT]
    return float(len(set(sentences)) < len(sentences))


_YOU = r"\byou(?:r|rs|rself|'\w+)?\b"
_I = r"\b(?:I(?:'\w+)?|[Mm]y(?:self)?|[Mm]e|[Mm]ine)\b"
_WE = r"\b(?:we(?:'\w+)?|us|ours?|let's)\b"
_CASED = re.RegexFlag(0)

STYLE_FEATURES: dict[str, Callable[[_Reply], float]] = {
    "sentences with you": _share(_YOU),
    "sentences with I": _share(_I, _CASED),
    "sentences with we": _share(_WE),
    "ever I": _any(_I, _CASED),
    "ever we": _any(_WE),
    "list": _any(r"^\s*(?:[-*+\u2022\u2013]|\(?\d{1,2}[.)])\s", re.MULTILINE),
    "markup": _any(r"\*\*|`|^#{1,6}\s|\]\(|^>\s|\b__", re.MULTILINE),
    "paragraphs": lambda reply: float(len(re.split(r"\n\s*\n", reply.text))),
    "words": lambda reply: float(np.log(len(reply.words))),
    "sentences": lambda reply: float(len(reply.sentences)),
    "words per sentence": lambda reply: len(reply.words) / len(reply.sentences),
    "long words": lambda reply: (
        sum(map(_LONG_WORD.__le__, map(len, reply.words))) / len(reply.words)
    ),
    "different words": lambda reply: len(set(reply.words)) / len(reply.words),
    "repeats a sentence": _repeats,
    "ends in a question": _any(r"\?[\"')\]*_]*\Z"),
    "questions": _share(r"\?[\"')\]*_]*\Z"),
    "breaks off": _any(r"[^.!?\u2026:\"')\]*]\Z"),
    "exclaims": _any("!"),
    "contractions": _any(r"\w'(?:t|s|re|ve|ll|d|m)\b"),
    "emoji": _any("[\u2600-\u27bf\U0001f300-\U0001faff]"),
    "numbers": _any(r"\d"),
    "quotes": _any('["\u201c\u201d]'),
    "colon": _any(":"),
    "semicolon or dash": _any(";|\u2014|\u2013| - "),
    "brackets": _any(r"\("),
    "opens with a phrase": _any(
        r"\A(?:sure|certainly|of course|absolutely|great|good|thank|hello|hi|hey|dear|welcome)\b"
    ),
    "apologises": _any(r"\b(?:sorry|apolog\w*|forgive|regret|unfortunately|afraid)\b"),
    "speaks of being an AI": _any(r"\b(?:AI|assistant|chatbot|language model|programmed)\b"),
    "hedges": _any(r"\b(?:maybe|perhaps|might|possibly|probably|it depends|seems?)\b"),
    "advises": _any(r"\b(?:should|try|remember|make sure|consider|could|next time)\b"),
    "kind words": _any(r"\b(?:good|great|nice|lovely|love|glad|happy|proud|well done|wonderful)\b"),
    "connectives": _any(
        r"\b(?:furthermore|moreover|additionally|however|therefore|overall|in conclusion|thus)\b"
    ),
}
"""What is looked at, by name: a share of sentences, 0 or 1, or a number."""


def style_features(text: str) -> np.ndarray:
    """`[len(STYLE_FEATURES)]`, of a reply, in order; zeros where it has no word."""
    text = plain(text)
    words = words_of(text)
    if not words:
        return np.zeros(len(STYLE_FEATURES))
    sentences = [part for part in SENTENCE_BREAK.split(text) if words_of(part)]
    reply = _Reply(text, sentences, words)
    return np.array([feature(reply) for feature in STYLE_FEATURES.values()])
