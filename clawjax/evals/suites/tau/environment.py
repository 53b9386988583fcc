"""One conversation: the agent, a user, and a database that only the tools change."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clawjax.evals.harness.tasks import ANSWER, RESPOND, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.tau.domain import ToolError, changes, digest, fresh_copy, load_domain
from clawjax.evals.suites.tau.records import read_json
from clawjax.evals.suites.tau.users import STOP, USER_KEY, ModelUser, ScriptedUser, User

__all__ = ["TauEnvironment"]


class TauEnvironment:
    """`Environment` of one conversation after the other."""

    def __init__(
        self, *, domain: str, database: str, user_url: str | None, user_model: str
    ) -> None:
        """Load the database.

        Args:
            domain: as `load_domain` takes it.
            database: its file.
            user_url: endpoint of the model that plays users; None: they follow their scripts.
            user_model: that model's name.
        """
        self._domain = load_domain(domain)
        self._fresh = read_json(Path(database))
        self._state, self._hash = self._fresh, digest(self._fresh)
        self._user_url, self._user_model = user_url, user_model
        self._user: User | None = None

    def reset(self, setup: Setup) -> str:
        """A fresh database, and what the user says first."""
        self._state = fresh_copy(self._fresh)
        self._hash = digest(self._state)
        if self._user_url is None:
            self._user = ScriptedUser(setup.options["script"])
        else:
            self._user = ModelUser(
                setup.options["scenario"],
                base_url=self._user_url,
                model=self._user_model,
                seed=setup.seed,
                api_key=os.environ.get(USER_KEY),
            )
        return self._user.opening()

    def step(self, action: Action) -> StepResult:
        """Say something to the user, or use a tool."""
        if action.name == ANSWER:
            return StepResult("", is_done=True, state=self._where())
        if action.name == RESPOND:
            assert self._user is not None, "reset comes first"
            said = self._user.reply(action.arguments["text"])
            return StepResult(said, is_done=STOP in said)
        try:
            found = self._domain.call(self._state, action.name, action.arguments)
        except ToolError as refused:
            text = f"Error: {refused}"
            return StepResult(text, is_valid=False, error=str(refused), state=self._where(text))
        text = found if isinstance(found, str) else json.dumps(found)
        if self._domain.KINDS.get(action.name) != "read":
            self._hash = digest(self._state)
        is_done = action.name in self._domain.TERMINATING
        return StepResult(text, is_done=is_done, state=self._where(text))

    def snapshot(self) -> Mapping[str, Any]:
        """Hash of the database, and which of its values have changed."""
        return {"hash": digest(self._state), "changed": changes(self._fresh, self._state)}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Snapshots and conversation say it all."""
        return {}

    def close(self) -> None:
        """Nothing to free."""

    def _where(self, told: str = "") -> str:
        return digest({"database": self._hash, "told": told})
