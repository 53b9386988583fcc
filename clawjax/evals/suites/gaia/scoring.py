"""GAIA's official quasi-exact match, and nothing laxer.

Follows `scorer.py` of the leaderboard (huggingface.co/spaces/gaia-benchmark/leaderboard, copyright
2023 the GAIA authors, Apache-2.0) case by case, its oddities included: a gold with thousands
separators is a list, an answer that is no number counts as infinity.
"""

from __future__ import annotations

import re
import string

__all__ = ["is_match"]

_UNITS = str.maketrans("", "", "$%,")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def is_match(answer: str, gold: str) -> bool:
    """Whether an answer counts as the gold one.

    In this order: a gold that is a number is compared as one; one with `,` or `;` element by
    element; any other as text without white space, case and punctuation.
    """
    if _is_number(gold):
        return _number(answer) == float(gold)
    if "," in gold or ";" in gold:
        wanted, given = re.split("[,;]", gold), re.split("[,;]", answer)
        return len(wanted) == len(given) and all(map(_is_same_element, given, wanted))
    return _plain(answer).translate(_PUNCTUATION) == _plain(gold).translate(_PUNCTUATION)


def _is_same_element(given: str, wanted: str) -> bool:
    """Punctuation counts here."""
    if _is_number(wanted):
        return _number(given) == float(wanted)
    return _plain(given) == _plain(wanted)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    try:
        return float(text.translate(_UNITS))
    except ValueError:
        return float("inf")


def _plain(text: str) -> str:
    return re.sub(r"\s", "", text).lower()
