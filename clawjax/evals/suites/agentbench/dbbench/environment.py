"""A database for one task after the other. Gold is not here: tables are judged by their hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.agentbench.dbbench.mysql import MySQL
from clawjax.evals.suites.agentbench.dbbench.wording import EXECUTE

__all__ = ["DatabaseEnvironment"]


class DatabaseEnvironment:
    """`Environment` of the database tasks; `setup.options`: `tables`, and `statements` at most."""

    def __init__(self) -> None:
        """Nothing is made before `reset`."""
        self._database: MySQL | None = None
        self._left: int | None = None

    def reset(self, setup: Setup) -> str:
        """Tables as they were."""
        self.close()
        self._database = MySQL(setup.options["tables"])
        self._left = setup.options["statements"]
        return ""

    def step(self, action: Action) -> StepResult:
        """Run a statement; what MySQL refuses is told and no fault of form."""
        if action.name == ANSWER:
            return StepResult("", is_done=True)
        assert action.name == EXECUTE, action.name
        if self._left == 0:  # as published: the last reply has to be an answer
            return StepResult("No statement is run any more.", error="round limit")
        if self._left is not None:
            self._left -= 1
        told = self._open.execute(str(action.arguments["query"]))
        is_error = not told.startswith("[")
        return StepResult(told, error=told if is_error else None, state=self._open.fingerprint())

    def snapshot(self) -> Mapping[str, Any]:
        """The published hash of the tables."""
        return {"hash": self._open.fingerprint()}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The snapshot says it all."""
        return {}

    def close(self) -> None:
        """Drop the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @property
    def _open(self) -> MySQL:
        assert self._database is not None, "reset comes first"
        return self._database
