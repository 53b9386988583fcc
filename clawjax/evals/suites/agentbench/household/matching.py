"""Which admissible action a reply means, as AgentBench decides: the nearest by BLEU.

v0.2, `alfworld/utils.py`, `process_action`: the text after `ACTION:`, in lower case; if it is not
among the choices, the one with the highest smoothed sentence BLEU above 0.01. BLEU-4 with NLTK's
smoothing method 4 (Chen and Cherry 2014, doi:10.3115/v1/W14-3346). Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["nearest", "sentence_bleu"]

_LEAST = 0.01
_ORDERS = 4
_K = 5


def nearest(text: str, choices: Sequence[str]) -> str:
    """The choice that is meant; the text itself where none is near."""
    wanted = text.strip().lower()
    if not choices or wanted in choices:
        return wanted
    scores = [sentence_bleu(choice, wanted) for choice in choices]
    best = max(range(len(scores)), key=scores.__getitem__)
    return choices[best] if scores[best] > _LEAST else wanted


def sentence_bleu(reference: str, hypothesis: str) -> float:
    """BLEU-4 of one sentence of words, in [0, 1]; orders that a single word lacks are left out."""
    wanted, given = reference.split(), hypothesis.split()
    matches = [_matches(wanted, given, order) for order in range(1, _ORDERS + 1)]
    if not given or matches[0] == 0:
        return 0.0
    total, missing = 0.0, 0
    for order, match in enumerate(matches, 1):
        numerator = float(match)
        if match == 0 and len(given) == 1:
            continue
        if match == 0:
            missing += 1
            numerator = math.log(len(given)) / (2**missing * _K)
        total += math.log(numerator / max(1, len(given) - order + 1)) / _ORDERS
    brevity = 1.0 if len(given) > len(wanted) else math.exp(1 - len(wanted) / len(given))
    return brevity * math.exp(total)


def _matches(wanted: Sequence[str], given: Sequence[str], order: int) -> int:
    return (_grams(wanted, order) & _grams(given, order)).total()


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
