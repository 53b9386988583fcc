"""What is left out of made-up conversations, and why: repetition, leakage, length, language.

Invariants: a text is judged by itself and by what was let through before it, so that the same texts
in the same order give the same result; the first reason that applies is the one that is counted;
near-duplicates are looked for by MinHash and decided exactly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

import numpy as np

from clawjax.config import FilterConfig

__all__ = ["DialogueFilter", "LeftOut", "NearDuplicates", "containment", "jaccard", "shingles"]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")
_N = 3
"""Words of a shingle."""
_PRIME = 2**61 - 1

Shingles = frozenset[str]


class LeftOut(StrEnum):
    """Why a conversation is not used."""

    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    LANGUAGE = "language"
    LEAKED = "leaked"
    """It gives a held-out prompt away."""
    DUPLICATE = "duplicate"
    """Another one asks nearly the same."""


def shingles(text: str, n: int = _N) -> Shingles:
    """The runs of `n` words, case and punctuation aside; of a shorter text its words as one run."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if not words:
        return frozenset()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1)))


def jaccard(one: Shingles, other: Shingles) -> float:
    """`|A & B| / |A | B|`; 1 where both are empty."""
    either = len(one | other)
    return len(one & other) / either if either else 1.0


def containment(part: Shingles, whole: Shingles) -> float:
    """`|A & B| / |A|`: how much of a text another one has; 0 of an empty one."""
    return len(part & whole) / len(part) if part else 0.0


class NearDuplicates:
    """Remembers texts, and tells whether a new one is nearly one of them.

    Candidates are texts that share a band of their MinHash signatures; whether one is a duplicate
    is decided by the exact similarity. At a similarity s a pair is missed with probability
    `(1 - s^rows)^bands`: 1e-5 at s = 0.7 with 32 bands of 4 rows.

    Reference: Broder 1997, "On the resemblance and containment of documents"; bands: Leskovec,
    Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
    """

    def __init__(self, similar: float, *, bands: int = 32, rows: int = 4) -> None:
        """Remember nothing yet; `similar` is the least similarity of duplicates."""
        self._similar = similar
        self._bands = bands
        self._rows = rows
        rng = np.random.default_rng(0)
        self._a = rng.integers(1, _PRIME, bands * rows, dtype=np.uint64)
        self._b = rng.integers(0, _PRIME, bands * rows, dtype=np.uint64)
        self._texts: list[Shingles] = []
        self._index: dict[tuple[int, bytes], list[int]] = {}

    def has_like(self, text: str) -> bool:
        """Whether a remembered text is as similar as that."""
        own = shingles(text)
        found = {i for key in self._keys(own) for i in self._index.get(key, ())}
        return any(jaccard(own, self._texts[i]) >= min(self._similar, 1.0) for i in found)

    def remember(self, text: str) -> None:
        """Compare later texts with this one too."""
        own = shingles(text)
        for key in self._keys(own):
            self._index.setdefault(key, []).append(len(self._texts))
        self._texts.append(own)

    def _keys(self, own: Shingles) -> list[tuple[int, bytes]]:
        signature = self.signature(own).reshape(self._bands, self._rows)
        return [(band, row.tobytes()) for band, row in enumerate(signature)]

    def signature(self, own: Shingles) -> np.ndarray:
        """`min over shingles x of (a_i h(x) + b_i) mod 2^64`, uint64 `[bands * rows]`."""
        if not own:
            return np.zeros(self._bands * self._rows, np.uint64)
        hashed = np.array([_hash(each) for each in sorted(own)], np.uint64)
        with np.errstate(over="ignore"):
            mixed = hashed[:, None] * (self._a | np.uint64(1)) + self._b
        return mixed.min(axis=0)


class DialogueFilter:
    """Lets conversations through one after the other."""

    def __init__(
        self,
        config: FilterConfig,
        *,
        held_out: Iterable[str] = (),
        language_of: Callable[[str], str | None],
    ) -> None:
        """Prepare.

        Args:
            config: the thresholds.
            held_out: prompts that must not leak.
            language_of: ISO 639-1 code of a text; None where it cannot tell, which passes.
        """
        self._config = config
        self._held_out = [found for text in held_out if (found := shingles(text))]
        self._language_of = language_of
        self._seen = NearDuplicates(config.similar)

    def check(self, requests: Sequence[str], replies: Sequence[str]) -> LeftOut | None:
        """Why a conversation is left out; None lets it through, and later ones must differ."""
        reason = self._by_itself(requests, replies)
        if reason is not None:
            return reason
        opening = "\n".join(requests)
        if self._seen.has_like(opening):
            return LeftOut.DUPLICATE
        self._seen.remember(opening)
        return None

    def _by_itself(self, requests: Sequence[str], replies: Sequence[str]) -> LeftOut | None:
        texts = [*requests, *replies]
        if not requests or not replies or not all(text.strip() for text in texts):
            return LeftOut.EMPTY
        if any(_length(text) < self._config.min_words for text in texts):
            return LeftOut.TOO_SHORT
        if any(_length(reply) > self._config.max_words for reply in replies):
            return LeftOut.TOO_LONG
        wanted = self._config.language
        if wanted and any(self._language_of(text) not in (None, wanted) for text in texts):
            return LeftOut.LANGUAGE
        return LeftOut.LEAKED if any(map(self._leaks, requests)) else None

    def _leaks(self, request: str) -> bool:
        """Whether it has a held-out prompt, or so much of one that it gives it away."""
        own = shingles(request)
        return any(containment(each, own) >= self._config.leaked for each in self._held_out)


def _length(text: str) -> int:
    return len(_WORD.findall(text))


def _hash(shingle: str) -> int:
    return int.from_bytes(hashlib.blake2b(shingle.encode(), digest_size=8).digest(), "big")
