"""Where written text divides: at sentences, words and items of lists."""

from __future__ import annotations

import re

__all__ = ["LIST_ITEM", "SENTENCE_BREAK", "WORD"]

SENTENCE_BREAK = re.compile(r"(?<=[.!?\u2026])[\"')\]]*\s+|\n+")
"""Behind full stops, question and exclamation marks, and at line ends."""
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
"""Of letters, with a straight apostrophe within; numbers are none."""
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
"""How an item of a list begins."""
