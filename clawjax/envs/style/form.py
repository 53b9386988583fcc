"""What a reply looks like: lists, markup, repetition, its end. Pure predicates of text."""

from __future__ import annotations

import re

from clawjax.envs.style.text import count_words, sentences, word_list

__all__ = [
    "answers_first",
    "ends_with_question",
    "has_list",
    "has_markup",
    "repeats_itself",
]

_LIST_LINE = re.compile(
    r"^\s*(?:[-*+\u2022\u2013]\s+|\(?\d{1,2}[.)]\s|[a-z]\)\s|#{1,6}\s|\|)", re.M
)
_INLINE_ITEM = re.compile(r"(?:^|\s)\(?([12])[.)]\s+\S")
_MARKUP = re.compile(
    r"\*\*\S|\b__\S|(?<![\w*])\*[^\s*][^*\n]*\*(?!\w)|(?<![\w_])_[^\s_][^_\n]*_(?!\w)"
    r"|`|\[[^\]\n]+\]\([^)\n]+\)"
    r"|^\s*(?:>\s|[-*_=]{3,}\s*$|\u2014\s*\w|(?:step|option|tip)\s+\d+\b\s*[:.)\u2013\u2014-])",
    re.M | re.I,
)
_TERM_LINE = re.compile(r"^\s*\w[^\n.?!]{0,40}?\s[\u2013\u2014]\s", re.M)
_ADDRESSES_READER = re.compile(r"\byou(?:r|rs|rself|'re|'ve|'d|\u2019re|\u2019ve|\u2019d)?\b", re.I)
_SERVICE_QUESTION = re.compile(
    r"\b(?:any|other|more|further|another) questions?\b|\b(?:any|some)thing (?:else|specific)\b"
    r"|\b(?:can|may|could) (?:I|we) (?:help|assist|be of|do for you)\b|\b(?:this|that|it) helps?\b"
    r"|\b(?:know|learn|hear|tell you) more\b|\bmore (?:information|details?|help)\b"
    r"|\bfurther (?:help|assistance)\b",
    re.I,
)
_CLOSING = re.compile(r"[\s\"'\u201d\u2019)*_]+$")
"""What may follow the last punctuation mark."""
_SHORTEST_QUESTION = 3
_SHORTEST_ANSWER = 4
_SHORTEST_REPEAT = 3
_DISTINCT_SHARE = 1 / 3
"""Fewer distinct words than this share is a loop; English of this length has over a half."""


def has_list(text: str) -> bool:
    """Bullets, numbered steps, headings, tables, or "1. ... 2. ..." inside a line."""
    return bool(_LIST_LINE.search(text)) or set(_INLINE_ITEM.findall(text)) == {"1", "2"}


def has_markup(text: str) -> bool:
    """Emphasis, code, links, quote lines, rules, "Step 1:", or lines of term, dash, meaning."""
    return bool(_MARKUP.search(text)) or len(_TERM_LINE.findall(text)) > 1


def repeats_itself(text: str) -> bool:
    """A sentence of three words or more comes twice, or most words are the same few."""
    words = word_list(text)
    said = [tuple(word_list(sentence)) for sentence in sentences(text)]
    said = [sentence for sentence in said if len(sentence) >= _SHORTEST_REPEAT]
    return len(set(said)) < len(said) or len(set(words)) < len(words) * _DISTINCT_SHARE


def ends_with_question(text: str, prompt: str = "") -> bool:
    """The last sentence is a question that only this reader can answer.

    It says "you" or "your", has three words or more, is not the prompt handed back, and is none of
    those that fit after any answer ("Do you have any other questions?").
    """
    end = _CLOSING.sub("", text)
    last = (sentences(end) or [""])[-1]
    return (
        end.endswith("?")
        and last.endswith("?")
        and count_words(last) >= _SHORTEST_QUESTION
        and bool(_ADDRESSES_READER.search(last))
        and not _SERVICE_QUESTION.search(last)
        and word_list(last) != word_list(prompt)
    )


def answers_first(text: str) -> bool:
    """At least one sentence of four words or more that is not a question."""
    return any(
        count_words(sentence) >= _SHORTEST_ANSWER and not _CLOSING.sub("", sentence).endswith("?")
        for sentence in sentences(text)
    )
