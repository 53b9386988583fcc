"""The final response: how an agent is told to give it, and one that is right.

Invariant: `right_answer` is built from the task file alone, and a pattern's example matches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from clawjax.evals.suites.webarena_verified.records import VerifiedTask

__all__ = ["HOW_TO_ANSWER", "example_of", "right_answer"]

HOW_TO_ANSWER = """\
End with a final response: valid JSON containing the task type, task outcome status, retrieved \
data (for retrieve operations), and error details (when applicable). It is an object of the fields
- task_type (required): the type of task performed
  - RETRIEVE: retrieving data is the main objective of the task
  - MUTATE: creating, updating, or deleting data or state is the main objective of the task
  - NAVIGATE: navigating or browsing to show a specific page or location is the main objective of \
the task
- status (required): the outcome of the task execution
  - SUCCESS: the task objective was fully achieved
  - ACTION_NOT_ALLOWED_ERROR: the platform does not support the requested action or is not allowed \
in the current context or state
  - NOT_FOUND_ERROR: the target entity or resource could not be located after retry attempts
  - PERMISSION_DENIED_ERROR: the current user lacks permission to perform the action
  - DATA_VALIDATION_ERROR: required input data was missing or invalid
  - UNKNOWN_ERROR: an unexpected failure doesn't match other categories
- retrieved_data: array of items for 'retrieve' operations, null for 'mutate' and 'navigate' \
operations. Returns empty array if no items found. All items must be the same type (either all \
primitives of the same type, or all objects with the same keys). Use appropriate data type formats \
(e.g., numbers for amounts/counts, true/false for booleans, not strings). For list of objects, the \
user instruction contains the format specification.
- error_details: null when status is 'SUCCESS'. Otherwise, explains the failure reason concisely."""
"""The package's description of its `FinalAgentResponse` (webarena-verified 1.2.3, Apache-2.0,
`types/agent_response.py`), as one text; it has no prompt of its own."""

_DROPPED = re.compile(r"(?:\(\?:[^()]*\)|\[[^\]]*\]|\\.|[^()\[\]\\])[?*]")
_GROUP = re.compile(r"\(\?:([^()|]*)[^()]*\)")
_ESCAPED = re.compile(r"\\(.)")


def right_answer(task: VerifiedTask) -> str:
    """A final response that is right, as JSON; of alternatives the first.

    Raises:
        ValueError: a pattern of which no example can be made.
    """
    expected = task.expected
    found = expected.get("retrieved_data")
    status = expected["status"]
    return json.dumps(
        {
            "task_type": expected["task_type"].upper(),
            "status": status,
            "retrieved_data": None if found is None else _chosen(found, task.results_schema),
            "error_details": None if status == "SUCCESS" else status,
        },
        ensure_ascii=False,
    )


def example_of(pattern: str) -> str:
    """A short text that matches a pattern: what may be missing is, of alternatives the first.

    Raises:
        ValueError: the pattern has more than that.
    """
    found, before = pattern.removeprefix("^").removesuffix("$"), None
    while found != before:
        before, found = found, _GROUP.sub(r"\1", _DROPPED.sub("", found))
    found = _ESCAPED.sub(r"\1", found)
    if re.fullmatch(pattern, found) is None:
        msg = f"no example of the pattern {pattern!r} can be made: {found!r} does not match"
        raise ValueError(msg)
    return found


def _chosen(expected: Any, schema: Mapping[str, Any]) -> Any:
    """The schema says which lists are lists; any other lists alternatives."""
    if isinstance(expected, list) and schema.get("type") == "array":
        return [_chosen(each, schema.get("items", {})) for each in expected]
    if isinstance(expected, list):
        return _chosen(expected[0], schema)
    if isinstance(expected, Mapping):
        known = schema.get("properties", {})
        return {name: _chosen(each, known.get(name, {})) for name, each in expected.items()}
    if isinstance(expected, str) and expected.startswith("^") and expected.endswith("$"):
        return example_of(expected)
    return expected
