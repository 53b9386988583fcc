"""The household as an environment: our own world, or ALFWorld's engine where it is installed."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.agentbench.household.goals import Goal
from clawjax.evals.suites.agentbench.household.matching import nearest
from clawjax.evals.suites.agentbench.household.wording import offered
from clawjax.evals.suites.agentbench.household.world import NOTHING, World

__all__ = ["Engine", "HouseholdEnvironment", "OwnEngine", "Seen"]

_REPEATS = 3


class Seen(NamedTuple):
    """What there is after an action."""

    text: str
    actions: tuple[str, ...]
    is_won: bool
    progress: float | None


class Engine(Protocol):
    """Something that plays households."""

    def begin(self, options: Mapping[str, Any]) -> Seen:
        """A new one."""
        ...

    def act(self, action: str) -> Seen:
        """One action."""
        ...

    def digest(self) -> str | None:
        """Of the state; None: not known."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class OwnEngine:
    """Our own world; `options`: `contents`, and the goal's `kind`, `thing`, `target`."""

    def __init__(self) -> None:
        """Nothing is there before `begin`."""
        self._world = World({})
        self._goal = Goal("pick_and_place_simple", "", "")
        self._progress = 0.0

    def begin(self, options: Mapping[str, Any]) -> Seen:
        """A new household."""
        self._world = World.of(options["contents"])
        self._goal = Goal(options["kind"], options["thing"], options["target"])
        self._progress = 0.0
        return self._seen(f"{self._world.welcome()}\nYour task is to: {self._goal.text()}")

    def act(self, action: str) -> Seen:
        """One action."""
        return self._seen(self._world.act(action))

    def digest(self) -> str | None:
        """Of everything."""
        content = json.dumps(dict(self._world.digest()), sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:16]

    def close(self) -> None:
        """Nothing is held."""

    def _seen(self, text: str) -> Seen:
        """Progress is the furthest so far."""
        self._progress = max(self._progress, self._goal.progress(self._world))
        is_won = self._goal.is_done(self._world)
        return Seen(text, tuple(self._world.admissible()), is_won, self._progress)


class HouseholdEnvironment:
    """`Environment` over an engine.

    The same action three times in a row, from the fourth turn on, ends the task as failed, as
    published (there: the same reply). What cannot be taken is told and not counted as invalid.
    """

    def __init__(self, *, engine: str | None = None) -> None:
        """Nothing is begun.

        Args:
            engine: `module:callable` of another `Engine`; None: our own.
        """
        self._engine: Engine = OwnEngine()
        if engine is not None:
            module, _, name = engine.partition(":")
            self._engine = getattr(importlib.import_module(module), name)()
        self._seen = Seen("", (), False, None)
        self._taken: list[str] = []

    def reset(self, setup: Setup) -> str:
        """A new household with its chore."""
        self._seen = self._engine.begin(setup.options)
        self._taken = []
        return offered(f"Here is your task. {self._seen.text}", self._seen.actions)

    def step(self, action: Action) -> StepResult:
        """Take the action that is meant."""
        if action.name == ANSWER:
            return StepResult("", is_done=True)
        asked = str(action.arguments["action"])
        meant = nearest(asked, self._seen.actions)
        self._taken.append(asked)
        self._seen = self._engine.act(meant)
        told = offered(self._seen.text, self._seen.actions)
        if self._seen.is_won:
            return StepResult(told, is_done=True, reward=1.0, progress=self._seen.progress)
        is_stuck = len(self._taken) > _REPEATS and len(set(self._taken[-_REPEATS:])) == 1
        is_nothing = self._seen.text.startswith(NOTHING.rstrip("."))
        return StepResult(
            told,
            reward=0.0,
            progress=self._seen.progress,
            is_valid=not is_stuck,
            error=f"{asked!r} {_REPEATS} times" if is_stuck else NOTHING if is_nothing else None,
            is_precondition=is_nothing,
            state=self._engine.digest(),
        )

    def snapshot(self) -> Mapping[str, Any]:
        """Whether the chore is done."""
        return {"won": self._seen.is_won, "state": self._engine.digest()}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The snapshot says it all."""
        return {}

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
