"""Which answers of a database task count, in both editions of AgentBench, and the published means.

Paper edition: `src/server/tasks/dbbench/__init__.py` of branch v0.2; function-call edition:
`result_processor.py` of main. Both evaluate the answer as Python code; here literals are read and
nothing is run, so an answer that is a computation does not count. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["CHANGES", "EDITIONS", "is_right", "main_accuracy", "published_accuracies", "same_hash"]

CHANGES = ("INSERT", "DELETE", "UPDATE")
"""Types of tasks that are judged by the table, not by the answer."""
EDITIONS = ("paper", "fc")

_TYPES = (
    "other", "counting", "comparison", "ranking",
    "aggregation-SUM", "aggregation-MIN", "aggregation-MAX", "aggregation-AVG",
    "SELECT", "INSERT", "UPDATE",
)  # fmt: skip
_MAIN = ("SELECT", "INSERT", "UPDATE")
_FC_TOLERANCE = 1e-2
_FC_ZERO = {"none", "null", "undefined", "nan", "inf", "infinity", "-inf", "-infinity", ""}
_QUOTES = "'\""


def is_right(answer: str, gold: Sequence[str], edition: str) -> bool:
    """Whether a committed answer is the label's.

    A number that is too large to be written out or to be a float is no label's.

    Args:
        answer: the text after `Final Answer:`; a list is written as Python or JSON would.
        gold: the label.
        edition: one of `EDITIONS`.
    """
    judge = _is_right_paper if edition == "paper" else _is_right_fc
    try:
        return judge(answer, gold)
    except (ValueError, OverflowError):
        return False


def same_hash(found: str | None, gold: str) -> bool:
    """Whether a table is the wanted one; `gold` as published, `[('HASH',)]` or the hash alone."""
    return found is not None and found == gold.strip("[]()',")


def published_accuracies(results: Iterable[tuple[str, bool]]) -> dict[str, float]:
    """`calculate_overall` of v0.2: accuracy of each type, 0 where there is none.

    Everything but INSERT and UPDATE counts as SELECT, DELETE too.

    Args:
        results: type and correctness of each sample.
    """
    held = list(results)
    found = {f"{kind}_accuracy": _accuracy(held, kind) for kind in _TYPES}
    found["overall_cat_accuracy"] = sum(found[f"{kind}_accuracy"] for kind in _MAIN) / len(_MAIN)
    return found


def main_accuracy(results: Sequence[tuple[str, bool]]) -> float | None:
    """Mean of the accuracies of SELECT, INSERT and UPDATE; None unless all three were played."""
    if not all(any(_counts(kind, wanted) for kind, _ in results) for wanted in _MAIN):
        return None
    return published_accuracies(results)["overall_cat_accuracy"]


def _accuracy(results: Sequence[tuple[str, bool]], wanted: str) -> float:
    counted = [right for kind, right in results if _counts(kind, wanted)]
    return sum(counted) / len(counted) if counted else 0.0


def _counts(kind: str, wanted: str) -> bool:
    return kind == wanted or (wanted == "SELECT" and kind not in ("INSERT", "UPDATE"))


def _is_right_paper(answer: str, gold: Sequence[str]) -> bool:
    try:
        given = list(_literal(answer))
    except (ValueError, TypeError):
        given = [answer]
    if len(given) == 1 and len(gold) == 1:
        try:
            return float(given[0]) == float(gold[0])
        except (ValueError, TypeError):
            return given[0] == gold[0]
    try:
        return set(given) == set(gold)
    except TypeError:  # a list in the list cannot be in a set
        return False


def _is_right_fc(answer: str, gold: Sequence[str]) -> bool:
    given, wanted = _cleaned(answer), [_plain(value) for value in gold]
    if len(given) == 1 and len(wanted) == 1:
        return _is_same_fc(given[0], wanted[0])
    if all(_number(value) is not None for value in given + wanted):
        return _are_same_numbers(given, wanted)
    return set(given) == set(wanted)


def _is_same_fc(given: str, wanted: str) -> bool:
    a, b = _number(given), _number(wanted)
    return given == wanted if a is None or b is None else abs(a - b) <= _FC_TOLERANCE


def _are_same_numbers(given: Sequence[str], wanted: Sequence[str]) -> bool:
    """Greedy, in the answer's order, as published."""
    left = list(wanted)
    for value in given:
        match = next((each for each in left if _is_same_fc(value, each)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _cleaned(answer: str) -> list[str]:
    text = answer.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return [_plain(text)]
    try:
        found = _literal(text)
    except (ValueError, TypeError):
        found = _split(text[1:-1])
    if isinstance(found, list) and all(isinstance(each, tuple) for each in found):
        return [_plain(each[0]) for each in found if len(each) == 1]
    values = found if isinstance(found, list) else [found]
    return [_plain(_only(each)) for each in values]


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def _split(text: str) -> list[str]:
    """At commas outside of quotes; empty pieces are dropped."""
    pieces, piece, is_quoted = [], "", False
    for character in text:
        if character in _QUOTES:
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            pieces.append(piece)
            piece = ""
        else:
            piece += character
    return [each for each in [*pieces, piece] if each]


def _plain(value: Any) -> str:
    text = "" if value is None else str(value).strip().strip(_QUOTES).strip()
    if text.endswith("%"):
        return text[:-1].strip()
    if "," in text and not text.startswith("[") and not text.endswith("]"):
        text = text.replace(",", "")
    return "0" if text.lower() in _FC_ZERO else text


def _literal(text: str) -> Any:
    """A Python literal.

    Raises:
        ValueError: it is none.
    """
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
