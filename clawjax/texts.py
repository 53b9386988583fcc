"""What any text has to be before it is encoded, tokenised, kept or shown."""

from __future__ import annotations

import re

__all__ = ["clean", "clean_json", "whole"]

_CONTROLS = re.compile(r"[\x7f-\x9f]")
"""Those that JSON need not escape, and that terminals obey."""


def whole(text: str) -> str:
    """Text with `?` for halves of surrogate pairs, which no encoding and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean(text: str) -> str:
    """Text with `�` for what cannot be seen, but for ends of lines and tabs.

    Terminals obey control characters, so foreign texts are shown and reported like this.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def clean_json(text: str) -> str:
    """JSON text of the same value without control characters, for terminals."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
