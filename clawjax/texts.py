"""What any text has to be before it is encoded, tokenised, kept or shown."""

from __future__ import annotations

import re

__all__ = ["clean", "clean_json", "whole", "whole_json"]

_CONTROLS = re.compile(r"[\x7f-\x9f]")
"""Those that JSON need not escape, and that terminals obey."""
_ESCAPE = re.compile(
    r"\\(?:u(?i:d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|(u(?i:d[89a-f][0-9a-f]{2}))|.)", re.DOTALL
)
"""In JSON; group 1 is half of a surrogate pair without the other."""


def whole(text: str) -> str:
    """Text with `?` for halves of surrogate pairs, which no encoding and no tokenizer takes.

    Two that belong together are the character that they stand for.
    """
    if text.isascii():
        return text
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return joined.encode("utf-8", "replace").decode()


def whole_json(text: str) -> str:
    """The same for JSON text, in which halves may be written as escapes."""
    text = whole(text)
    if "\\u" not in text:
        return text
    return _ESCAPE.sub(lambda escape: "?" if escape[1] else escape[0], text)


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
