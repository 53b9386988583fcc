"""Credit by a function of one's own: turns in, advantages out, whatever it makes of the scores.

Invariant: what it gives fits its turns and is finite, or the step is not taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from clawjax.config import CreditConfig
from clawjax.errors import LearnerError
from clawjax.learner.credit.base import (
    AdmittedTurn,
    Credited,
    CreditFunction,
    CreditState,
    LogRatios,
)
from clawjax.own import check_call, find

__all__ = ["build_own_credit"]

_SETTING = "objective.credit.path"
_OPTIONS = "objective.credit.options"


def build_own_credit(config: CreditConfig) -> CreditFunction:
    """Find the function.

    Raises:
        ConfigError: there is none such, or it does not take the turns and its options.
    """
    path = config.path or ""
    function = find(path, _SETTING)
    check_call(function, path, ["turns"], config.options, setting=_SETTING, key=_OPTIONS)
    return partial(_credit, function=partial(function, **config.options), path=path)


def _credit(
    turns: Sequence[AdmittedTurn],
    state: CreditState,
    _log_ratios: LogRatios,
    *,
    function: Callable[[Sequence[AdmittedTurn]], object],
    path: str,
) -> Credited:
    """`A_t` as the function gives it, a number per turn being that of each of its tokens.

    Raises:
        LearnerError: it raised something, or gave what is no advantages of these turns.
    """
    told = f"{_SETTING}={path}"
    try:
        given = function(turns)
    except Exception as error:  # the boundary: code of one's own
        msg = f"{told} raised {type(error).__name__} for a batch of {len(turns)} turns: {error}"
        raise LearnerError(msg) from error
    if not isinstance(given, Sequence) or len(given) != len(turns):
        size = f"{len(given)} values" if isinstance(given, Sequence) else type(given).__name__
        msg = f"{told} gave {size} for {len(turns)} turns: give a sequence with an entry for each"
        raise LearnerError(msg)
    entries = cast("Sequence[Any]", given)
    return Credited(
        tuple(_of(turn, each, told) for turn, each in zip(turns, entries, strict=True)), state
    )


def _of(admitted: AdmittedTurn, given: Any, told: str) -> tuple[float, ...] | None:
    """One turn's advantages, one per response token; None where it is not learnt from."""
    size = len(admitted.turn.response_ids)
    if given is None:
        return None
    try:
        values = [float(each) for each in given] if hasattr(given, "__len__") else [float(given)]
    except (TypeError, ValueError) as error:
        msg = f"{told} gave {given!r:.80} for turn {admitted.turn.turn_id} ({error}): give numbers"
        raise LearnerError(f"{msg}, or None for no credit") from error
    if not hasattr(given, "__len__"):
        values *= size
    if len(values) != size:
        msg = (
            f"{told} gave {len(values)} advantages for turn {admitted.turn.turn_id}, whose reply "
            f"has {size} tokens: give as many, or one number for all"
        )
        raise LearnerError(msg)
    if not all(map(math.isfinite, values)):
        msg = (
            f"{told} gave turn {admitted.turn.turn_id} an advantage that is not finite: give None "
            "where there is no credit"
        )
        raise LearnerError(msg)
    return tuple(values)
