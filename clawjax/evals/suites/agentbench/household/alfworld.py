"""ALFWorld's own engine and games, where somebody has them.

Needs the package `alfworld` (which needs TextWorld and compiles a planner), and its games:
`game.tw-pddl` files, as `alfworld-download` fetches them. Imported on demand only.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.suites.agentbench.household.environment import Seen

__all__ = ["AlfworldEngine", "alfworld_problem", "find_games", "planned"]


def alfworld_problem() -> str | None:
    """Why the engine cannot be used; None where it can."""
    for name in ("textworld", "alfworld"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed: pip install alfworld==0.4.2 textworld==1.7.0"
    return None


def find_games(path: Path) -> list[Path]:
    """Games under a folder that have a solution, or those that a list of AgentBench's names.

    Args:
        path: a folder with `*.tw-pddl`; or a JSON of AgentBench (kind: list of paths), whose
            entries are relative to it or to its folder.

    Raises:
        ConfigError: there is none.
    """
    if path.suffix == ".json":
        listed = json.loads(path.read_text(encoding="utf-8"))
        games = [path.parent / each for names in listed.values() for each in names]
    else:
        games = sorted(path.rglob("*.tw-pddl"))
    found = [each for each in games if each.exists()]
    if not found:
        msg = (
            f"suite.options.path={path} has no game.tw-pddl: run alfworld-download, name its folder"
        )
        raise ConfigError(msg)
    return found


def planned(game: Path) -> Sequence[str]:
    """A solution by the engine's own planner, from the beginning."""
    environment, state = _start(game)
    try:
        return tuple(state["policy_commands"])
    finally:
        environment.close()


class AlfworldEngine:
    """`Engine`; `options`: `game`, its file."""

    def __init__(self) -> None:
        """Nothing is loaded before `begin`."""
        self._environment: Any = None
        self._text = ""

    def begin(self, options: Mapping[str, Any]) -> Seen:
        """Load a game."""
        self.close()
        self._environment, state = _start(Path(options["game"]))
        return self._seen(state, "\n".join(state["feedback"].split("\n\n")[1:]))

    def act(self, action: str) -> Seen:
        """One action."""
        state, _, _ = self._environment.step(action)
        return self._seen(state, _without_arrival(state["feedback"].strip()))

    def digest(self) -> str | None:
        """Of what is seen: the engine does not tell its state."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """End the game."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _seen(self, state: Mapping[str, Any], text: str) -> Seen:
        self._text = text
        return Seen(text, tuple(state["admissible_commands"]), bool(state["won"]), None)


def _start(game: Path) -> tuple[Any, Mapping[str, Any]]:
    textworld = importlib.import_module("textworld")
    engine = importlib.import_module("alfworld.agents.environment.alfred_tw_env")
    wanted = textworld.EnvInfos(
        won=True, admissible_commands=True, policy_commands=True, feedback=True
    )
    environment = textworld.start(
        str(game), wanted, wrappers=[engine.AlfredDemangler(shuffle=False)]
    )
    return environment, environment.reset()


def _without_arrival(text: str) -> str:
    """`You arrive at loc 3. On the bed 1, ...`: the first sentence says nothing."""
    return text.partition(". ")[2] if text.startswith("You arrive at loc ") else text
