"""Tool calls against reference calls, by the names that Vertex AI's evaluation gave them.

Calls are multisets: a call that is made twice counts twice, and matches at most as often as the
reference has it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from clawjax.evals.harness.tasks import ANSWER, RESPOND, Action
from clawjax.json_schema import with_whole_numbers

__all__ = ["CallMatch", "call_key", "has_calls", "match_calls"]


class CallMatch(NamedTuple):
    """How the calls of a trajectory agree with the reference."""

    exact: float
    """1 where both are the same sequence."""
    in_order: float
    """1 where the reference is a subsequence of what was called."""
    any_order: float
    """1 where everything in the reference was called, in whatever order."""
    precision: float | None
    """Share of the calls that are in the reference; None where nothing was called."""
    recall: float | None
    """Share of the reference that was called; None where the reference is empty."""


def match_calls(
    called: Sequence[Action], reference: Sequence[Action], *, with_arguments: bool
) -> CallMatch:
    """Compare; answers and what is said to the user are not calls.

    Args:
        called: what the agent did.
        reference: what a good solution does.
        with_arguments: whether arguments have to be equal too, or the names only.
    """
    made = [_key(each, with_arguments) for each in called if _is_call(each)]
    wanted = [_key(each, with_arguments) for each in reference if _is_call(each)]
    shared = sum((Counter(made) & Counter(wanted)).values())
    return CallMatch(
        exact=float(made == wanted),
        in_order=float(_is_subsequence(wanted, made)),
        any_order=float(shared == len(wanted)),
        precision=shared / len(made) if made else None,
        recall=shared / len(wanted) if wanted else None,
    )


def has_calls(actions: Sequence[Action]) -> bool:
    """Whether there is more than answers and what is said to the user."""
    return any(map(_is_call, actions))


def _is_call(action: Action) -> bool:
    return action.name not in (ANSWER, RESPOND)


def call_key(action: Action) -> str:
    """The same for calls that say the same: 3.0 is 3, and keys have no order."""
    return json.dumps([action.name, with_whole_numbers(action.arguments)], sort_keys=True)


def _key(action: Action, with_arguments: bool) -> str:
    return call_key(action) if with_arguments else action.name


def _is_subsequence(wanted: Sequence[str], made: Sequence[str]) -> bool:
    rest = iter(made)
    return all(each in rest for each in wanted)
