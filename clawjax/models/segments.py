"""Encoding long prompts that are mostly known: what lies between control tokens is kept.

A tokenizer takes control tokens out of a text first and encodes what is between them on its own, so
the ids of a long part, such as an agent's instructions, are the same in every prompt. Invariant:
the ids are exactly those of encoding the whole text; where a tokenizer does not work so, nothing is
kept.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import tokenizers

__all__ = ["SegmentEncoder", "encoded"]

_SHORTEST = 2048
"""Characters; shorter parts are not worth keeping."""
_LONGEST = 1 << 18
"""Characters; longer parts are not kept, as nobody's instructions are so long."""
_KEPT = 32
"""Parts: of some 50 KB and 50 KB of ids each, where all are an agent's instructions."""
_QUICK = 1 << 12
"""Characters that are encoded in a few milliseconds."""

Encode = Callable[[str], list[int]]


class SegmentEncoder:
    """Encodes texts with one vocabulary. Safe to share between threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, control_ids: Iterable[int]) -> None:
        """Split at the tokens of `control_ids`."""
        added = tokenizer.get_added_tokens_decoder()
        control = [added[token_id] for token_id in sorted(control_ids) if token_id in added]
        is_plain = not any(t.lstrip or t.rstrip or t.single_word or t.normalized for t in control)
        longest_first = sorted((t.content for t in control if t.content), key=len, reverse=True)
        names = [re.escape(content) for content in longest_first]
        can_split = bool(names) and is_plain and _encodes_parts_alike(tokenizer)
        self._split = re.compile(f"({'|'.join(names)})") if can_split else None
        self._encode: Encode = lambda text: encoded(tokenizer, text).ids

        @lru_cache(maxsize=_KEPT)
        def kept(text: str, _: str | None) -> array[int]:
            return array("i", self._encode(text))

        self._kept = kept

    def encode(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of a text; control tokens in it become their ids.

        What was encoded for another `scope` is encoded again: the time that it takes would tell one
        caller what another has sent.
        """
        if self._split is None or len(text) < _SHORTEST:
            return tuple(self._encode(text))
        ids: list[int] = []
        waiting: list[str] = []
        for part in self._split.split(text):
            if len(part) < _SHORTEST:
                waiting.append(part)
                continue
            ids += self._encode("".join(waiting))
            ids += self._kept(part, scope) if len(part) <= _LONGEST else self._encode(part)
            waiting.clear()
        return (*ids, *self._encode("".join(waiting)))


def encoded(tokenizer: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    """Encode a text as it is. Other threads run meanwhile where it takes long.

    `Tokenizer.encode` holds the interpreter's lock to its end, `encode_batch` does not.
    """
    if len(text) <= _QUICK:
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode_batch([text], add_special_tokens=False)[0]


def _encodes_parts_alike(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether a part is encoded alike wherever it stands.

    Metaspace may put its mark before the first part of a text only.
    """
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    steps = state.get("pre_tokenizer") or {}
    return all(
        step.get("prepend_scheme", "never") == "never"
        for step in (steps, *(steps.get("pretokenizers") or ()))
    )
