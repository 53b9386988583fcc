"""Words as NLTK's tokenizer splits them, which WebArena asks for references of one character.

The rules are those of `NLTKWordTokenizer` (nltk 3.10, Apache-2.0; after the Penn Treebank's). Its
sentence splitter needs a trained model and is left out: it matters only where a one-character
reference stands before a full stop in the middle of an answer, where that model mostly does not
split either ("0." stays one token).
"""

from __future__ import annotations

import re

__all__ = ["tokens"]

_BEFORE = (
    (r"([«“‘„]|[`]+)", r" \1 "),  # noqa: RUF001 - quotes are what it is about
    (r"^\"", "``"),
    (r"(``)", r" \1 "),
    (r"([ \(\[{<])(\"|\'{2})", r"\1 `` "),
    (r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", r"\1 "),
    (r"([^\.])(\.)([\]\)}>\"\'»”’ ]*)\s*$", r"\1 \2 \3 "),  # noqa: RUF001 - quotes are what it is about
    (r"([:,])([^\d])", r" \1 \2"),
    (r"([:,])$", r" \1 "),
    (r"\.{2,}", r" \g<0> "),
    (r"[;@#$%&]", r" \g<0> "),
    (r"[\u2012-\u2015]", r" \g<0> "),
    (r"([^\.])(\.)([\]\)}>\"\']*)\s*$", r"\1 \2\3 "),
    (r"[?!]", r" \g<0> "),
    (r"([^'])' ", r"\1 ' "),
    (r"[*]", r" \g<0> "),
    (r"[\]\[\(\)\{\}\<\>]", r" \g<0> "),
    (r"--", r" -- "),
)
_AFTER = (
    (r"([»”’])", r" \1 "),  # noqa: RUF001 - quotes are what it is about
    (r"''", " '' "),
    (r'"', " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
    (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
    *(
        (rf"(?i)\b({first})({second})\b", r" \1 \2 ")
        for first, second in (
            ("can", "not"),
            ("d", "'ye"),
            ("gim", "me"),
            ("gon", "na"),
            ("got", "ta"),
            ("lem", "me"),
            ("more", "'n"),
        )
    ),
    (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 "),
    (r"(?i) ('t)(is)\b", r" \1 \2 "),
    (r"(?i) ('t)(was)\b", r" \1 \2 "),
)


def tokens(text: str) -> list[str]:
    """The words and marks of a text."""
    for pattern, replacement in _BEFORE:
        text = re.sub(pattern, replacement, text)
    text = f" {text} "
    for pattern, replacement in _AFTER:
        text = re.sub(pattern, replacement, text)
    return text.split()
