"""Processes of one learner tell one another values, and nothing that runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from clawjax.errors import ForgottenError, LogError
from clawjax.models.told import packed, unpacked
from clawjax.protocols import WeightVersion
from clawjax.records import Counts, DropReason, FinishReason, Message, Outcome, VersionRun

VALUES = [
    None,
    [1, 2.5, "three", b"four", {"five": (6, True)}],
    Message("user", "hi"),
    (Outcome("t1", 1.0, drop_reason=DropReason.STALE), VersionRun(1, 2), FinishReason.STOP),
    WeightVersion(1, Path("/x"), 0, 1, "base", "full"),
    Counts(1, 0, 1, {"stale": 0}, 0, 0, 0),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_logs_and_stores_return_is_told_as_it_is(value: object) -> None:
    assert unpacked(packed((value, None))) == (value, None)


@pytest.mark.parametrize("error", [LogError("full"), ForgottenError("gone"), OSError(28, "full")])
def test_errors_are_raised_as_they_were(error: Exception) -> None:
    told = unpacked(packed((None, error)))[1]
    assert type(told) is type(error)
    assert str(told) == str(error)


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


class Makes:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1",)


@pytest.mark.parametrize(
    "hostile", [Runs(), Makes(), np.float32, open], ids=["os", "eval", "numpy", "open"]
)
def test_a_message_that_would_run_something_is_refused(hostile: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="is no kind of value"):
        unpacked(packed(hostile))
