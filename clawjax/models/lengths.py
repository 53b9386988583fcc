"""How many tokens a text has at least, found without encoding it.

Encoding takes seconds per megabyte, counting bytes milliseconds: what cannot fit need not be
encoded. Invariant: where a tokenizer turns every byte of a text into tokens, none has fewer than is
said. Others leave some of it out: of these it is a cautious estimate.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tokenizers

__all__ = ["Lengths"]

_COMPOSED = 4
"""Of how many bytes NFC may leave one: 7 of an iota with two accents are 2."""
_SHRUNK = 16
"""The same of a tokenizer that may leave more out, white space, say."""
_WHOLE = frozenset({"ByteLevel", "Digits", "Metaspace", "Punctuation", "Split"})
"""Steps before encoding that lose nothing, unless they say `Removed`."""


class Lengths:
    """Of texts in one vocabulary. Immutable."""

    def __init__(
        self, tokenizer: tokenizers.Tokenizer, ids: Iterable[int], piece: Callable[[int], bytes]
    ) -> None:
        """Look at every token once: `piece` gives the bytes that it stands for."""
        state: dict[str, Any] = json.loads(tokenizer.to_str())
        pieces = {piece(token_id) for token_id in ids}
        single = {each[0] for each in pieces if len(each) == 1}
        has_bytes = _spells_bytes(state)
        self._dropped = bytes(b for b in range(256) if b not in single) if has_bytes else b""
        is_whole = _loses_nothing(state) and (has_bytes or _falls_back(state, single))
        self._composes = any(step["type"] == "NFC" for step in _steps(state, "normalizer"))
        self._shrunk = 1 if is_whole else _SHRUNK
        self._longest = max(1, *(len(each) for each in pieces))

    def fewest_tokens(self, text: str) -> int:
        """A number of tokens that the text has at least."""
        shrunk = self._shrunk
        if self._composes and not unicodedata.is_normalized("NFC", text):
            shrunk *= _COMPOSED
        spelled = text.encode("utf-8", errors="replace").translate(None, self._dropped)
        return -(-len(spelled) // (self._longest * shrunk))


def _spells_bytes(state: Mapping[str, Any]) -> bool:
    """Whether each byte is encoded by itself at first: one without a token is then dropped."""
    has_stand_in = state["model"].get("unk_token") is not None
    steps = _steps(state, "pre_tokenizer")
    return not has_stand_in and any(step["type"] == "ByteLevel" for step in steps)


def _falls_back(state: Mapping[str, Any], single: set[int]) -> bool:
    """Whether what has no token of its own is spelled in tokens for bytes."""
    return bool(state["model"].get("byte_fallback")) and len(single) == 256


def _loses_nothing(state: Mapping[str, Any]) -> bool:
    """Whether all of a text reaches the vocabulary, composed at most."""
    added = state.get("added_tokens") or ()
    return (
        all(_keeps_length(step) for step in _steps(state, "normalizer"))
        and all(
            step["type"] in _WHOLE and step.get("behavior") != "Removed"
            for step in _steps(state, "pre_tokenizer")
        )
        and not any(token["lstrip"] or token["rstrip"] for token in added)
    )


def _keeps_length(step: Mapping[str, Any]) -> bool:
    """Whether a normaliser only composes, or writes a mark for a space."""
    if step["type"] == "Replace":
        return step["pattern"] == {"String": " "} and bool(step["content"])
    return step["type"] in ("NFC", "Prepend")


def _steps(state: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The steps of a normaliser or a pre-tokenizer."""
    whole: Mapping[str, Any] = state.get(name) or {"type": "Sequence"}
    if whole["type"] != "Sequence":
        return [whole]
    return list(whole.get("normalizers") or whole.get("pretokenizers") or ())
