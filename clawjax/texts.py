"""What any text has to be before it is encoded, tokenised or kept."""

from __future__ import annotations

__all__ = ["whole"]


def whole(text: str) -> str:
    """Text with `?` for halves of surrogate pairs, which no encoding and no tokenizer takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
