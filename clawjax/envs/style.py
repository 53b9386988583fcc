"""How a persona wants replies written, and how well a reply does that. Pure functions of text.

Invariant: a score is in [0, 1] and depends on the reply's text alone, so that the same reply
scores the same in a conversation and in a held-out evaluation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clawjax.errors import ConfigError

__all__ = ["Style", "broken_wishes", "count_words", "style_score"]

_WORD = re.compile(r"\w+(?:['\u2019.,\-/]\w+)*")
_LIST_LINE = re.compile(
    r"^\s*(?:[-*+\u2022\u2013]\s+|\(?\d{1,2}[.)]\s|[a-z]\)\s|#{1,6}\s|\|)", re.M
)
_INLINE_ITEM = re.compile(r"(?:^|\s)\(?([12])[.)]\s+\S")
_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Style:
    """What a persona wishes for; `None` and False leave a wish out."""

    max_words: int | None = None
    min_words: int = 1
    """Below this a reply says nothing: silence is not brevity."""
    max_paragraphs: int | None = None
    """Paragraphs are separated by blank lines."""
    forbid_lists: bool = False
    """Bullets, numbered steps, headings and tables."""
    is_partial: bool = False
    """Score the share of wishes met instead of all or nothing."""

    def __post_init__(self) -> None:
        """A wish that no reply can meet is a mistake."""
        if self.min_words < 1:
            msg = f"style.min_words={self.min_words} rewards silence: the minimum is 1"
            raise ConfigError(msg)
        if self.max_words is not None and self.max_words < self.min_words:
            msg = f"style.max_words={self.max_words} is below min_words={self.min_words}: raise it"
            raise ConfigError(msg)
        if self.max_paragraphs is not None and self.max_paragraphs < 1:
            msg = f"style.max_paragraphs={self.max_paragraphs} is too small: the minimum is 1"
            raise ConfigError(msg)


def count_words(text: str) -> int:
    """Words as a reader counts them: punctuation and bullets are none, `don't` and 3.5 are one."""
    return len(_WORD.findall(text))


def broken_wishes(text: str, style: Style) -> tuple[str, ...]:
    """Which wishes a reply disregards: `too_short`, `too_long`, `lists`, `paragraphs`."""
    return tuple(wish for wish, is_met in _checks(text, style) if not is_met)


def style_score(text: str, style: Style) -> float:
    """1 if every wish is met, else 0; with `is_partial`, the share of wishes met.

    A reply that says nothing scores 0 either way.
    """
    checks = _checks(text, style)
    if not checks[0][1]:
        return 0.0
    met = sum(is_met for _, is_met in checks)
    return met / len(checks) if style.is_partial else float(met == len(checks))


def _checks(text: str, style: Style) -> list[tuple[str, bool]]:
    words = count_words(text)
    checks = [("too_short", words >= style.min_words)]
    if style.max_words is not None:
        checks.append(("too_long", words <= style.max_words))
    if style.forbid_lists:
        checks.append(("lists", not _has_list(text)))
    if style.max_paragraphs is not None:
        checks.append(("paragraphs", _count_paragraphs(text) <= style.max_paragraphs))
    return checks


def _has_list(text: str) -> bool:
    return bool(_LIST_LINE.search(text)) or set(_INLINE_ITEM.findall(text)) == {"1", "2"}


def _count_paragraphs(text: str) -> int:
    return sum(bool(part.strip()) for part in _PARAGRAPH_BREAK.split(text))
