"""A reply taken apart: words, sentences, paragraphs, quotations. Pure functions of text.

Invariant: whitespace at the ends of a text changes nothing.
"""

from __future__ import annotations

import re

__all__ = [
    "content_words",
    "count_paragraphs",
    "count_words",
    "plain_quotes",
    "quotations",
    "sentences",
    "word_list",
]

_WORD = re.compile(r"\w+(?:['\u2019.,\-/]\w+)*")
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
_SENTENCE_BREAK = re.compile(
    r"(?<=[.!?\u2026])(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bMrs\.)[\"'\u2019\u201d)*_]*\s+(?![a-z])"
    r"|\n+"
)
_QUOTATION = re.compile(r"[\"\u201c\u201e]([^\"\u201c\u201d]+)[\"\u201d]")
_SHARED_LETTERS = 5
"""Words that begin with the same letters count as one: "plants" and "planted"."""
_SHORTEST_CONTENT = 4
_EMPTY = (
    "about above after again against almost along also always another answer anything "
    "around asked assignment away back because been before being below between both came "
    "class comment could does doing done down during each else even ever every feedback "
    "from gave give goes going have having here homework into itself just kind know "
    "later less like made make many more most much must never next nothing often once "
    "only other over please pupil pupils question really reply said same says sentence "
    "should since some someone something sort still student such tell than that them "
    "then there these they thing things think this those through told under until upon "
    "very want wants well went were what when where which while whom whose will with "
    "without word words would write writes written wrote your yours year years "
)
_EMPTY_WORDS = frozenset(_EMPTY.split())


def count_words(text: str) -> int:
    """Words as a reader counts them: punctuation and bullets are none, `don't` and 3.5 are one."""
    return len(_WORD.findall(text))


def word_list(text: str) -> list[str]:
    """The words in small letters, with straight apostrophes."""
    return _WORD.findall(plain_quotes(text).casefold())


def sentences(text: str) -> list[str]:
    """Sentences and lines that hold at least one letter, stripped."""
    parts = (part.strip() for part in _SENTENCE_BREAK.split(text))
    return [part for part in parts if any(char.isalpha() for char in part)]


def count_paragraphs(text: str) -> int:
    """Parts with something in them, separated by blank lines."""
    return sum(bool(part.strip()) for part in _PARAGRAPH_BREAK.split(text))


def plain_quotes(text: str) -> str:
    """The text with straight apostrophes."""
    return text.replace("\u2019", "'").replace("\u2018", "'")


def quotations(text: str) -> list[str]:
    """What stands between double quotation marks."""
    return _QUOTATION.findall(text)


def content_words(text: str) -> frozenset[str]:
    """Words and numbers that say what a text is about, words cut to their first letters."""
    return frozenset(
        word[:_SHARED_LETTERS] if word.isalpha() else word
        for word in word_list(text)
        if word[0].isdecimal() or _has_content(word)
    )


def _has_content(word: str) -> bool:
    return len(word) >= _SHORTEST_CONTENT and word.isalpha() and word not in _EMPTY_WORDS
