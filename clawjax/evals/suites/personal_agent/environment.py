"""The user at the other end of a conversation; the agent has no tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clawjax.evals.harness.tasks import RESPOND, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.personal_agent.conversation import Conversation

__all__ = ["PersonalEnvironment"]


class PersonalEnvironment:
    """`Environment` of one conversation after the other."""

    def __init__(self) -> None:
        """Nothing is loaded before `reset`."""
        self._user: Conversation | None = None

    def reset(self, setup: Setup) -> str:
        """What the user asks first."""
        options = setup.options
        self._user = Conversation(options["persona"], options["prompts"], seed=setup.seed)
        return self._user.opening()

    def step(self, action: Action) -> StepResult:
        """Say something to the user."""
        assert action.name == RESPOND, f"no tool {action.name} was offered"
        user = self._talking
        said = user.reply(action.arguments["text"])
        return StepResult(said, is_done=user.is_over, progress=user.progress)

    def snapshot(self) -> Mapping[str, Any]:
        """Which question each reply was to."""
        return {"answered": list(self._talking.answered)}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The conversation says it all."""
        return {}

    def close(self) -> None:
        """Nothing to free."""

    @property
    def _talking(self) -> Conversation:
        assert self._user is not None, "reset comes first"
        return self._user
