"""Mind2Web's measures of one step: is it the right element, and the right operation.

v0.2, `mind2web/task.py`: element accuracy, F1 over the words of the operation, and the step counts
where both are perfect. Deng et al. 2023, arXiv:2306.06070. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

__all__ = ["Choice", "StepScore", "operation_f1", "read_choice", "score_step"]


class StepScore(NamedTuple):
    """Each in [0, 1]."""

    element_acc: float
    action_f1: float
    step_sr: float


class Choice(NamedTuple):
    """What a reply chooses among the candidates that it was shown."""

    candidate: int | None
    """From 0; None: none of them."""
    operation: str


_ANSWER = re.compile(r"Answer: (A|B|C|D|E|F)")
_ACTION = re.compile(r"Action: (CLICK|SELECT|TYPE)")
_VALUE = re.compile(r"Value: (.*)$", re.MULTILINE)


def read_choice(text: str) -> Choice:
    """A reply of the form `Answer: C.`, `Action: TYPE`, `Value: London`; A is none of the above.

    What is missing is A, no action, and no value.
    """
    answer, action, value = (each.search(text) for each in (_ANSWER, _ACTION, _VALUE))
    letter = answer.group(1) if answer else "A"
    told = (action.group(1) if action else "", value.group(1).strip() if value else "")
    return Choice(None if letter == "A" else ord(letter) - ord("B"), " ".join(told).strip())


def score_step(element: str, operation: str, gold: Collection[str], wanted: str) -> StepScore:
    """What a chosen element and operation are worth.

    Args:
        element: id of the chosen one; empty where none was.
        operation: e.g. `TYPE London`.
        gold: ids of the right elements; where there is none, nothing is right.
        wanted: the right operation.
    """
    if not gold:
        return StepScore(0.0, 0.0, 0.0)
    is_right = float(element in gold)
    f1 = operation_f1(operation, wanted)
    return StepScore(is_right, f1, float(is_right > 0 and f1 >= 1.0))


def operation_f1(given: str, wanted: str) -> float:
    """F1 of the two sets of words; 1 where both are empty."""
    a, b = set(given.split()), set(wanted.split())
    if not a and not b:
        return 1.0
    common = len(a & b)
    if common == 0:
        return 0.0
    precision, recall = common / len(a), common / len(b)
    return 2 * precision * recall / (precision + recall)
