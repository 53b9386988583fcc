"""Keeps what people write apart from a chat template's control tokens.

A template's output is one text, in which a typed `<|im_end|>` looks like the template's own. So
each control token in people's words is marked before rendering: a guard character behind its first
one. Templates carry the mark along; what is encoded is free of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Guard"]

_MARK = "\ufdd0"
"""A Unicode noncharacter; doubled where somebody wrote it."""


class Guard:
    """Marks the control tokens of one vocabulary. Immutable."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        """Guard against `control_tokens`, of two characters at least."""
        # Only the first character is consumed, so that overlapping tokens are all found.
        starts = [
            f"{re.escape(token[0])}(?={re.escape(token[1:])})"
            for token in sorted(control_tokens)
            if len(token) > 1
        ]
        self._start = re.compile("|".join(starts)) if starts else None

    def mark(self, text: str) -> str:
        """The text with every control token in it marked."""
        doubled = text.replace(_MARK, _MARK * 2)
        if self._start is None:
            return doubled
        return self._start.sub(lambda found: found[0] + _MARK, doubled)

    def unmark(self, text: str) -> str:
        """Undo `mark`."""
        return re.sub(f"{_MARK}({_MARK}?)", r"\1", text)

    def has_marks(self, text: str) -> bool:
        """Whether the text, marked before, is not what was written."""
        return _MARK in text
