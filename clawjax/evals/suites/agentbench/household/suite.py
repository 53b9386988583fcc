"""Household chores: our own rooms, or ALFWorld's games by its own engine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Launch, Suite, furthest_from_nothing
from clawjax.evals.harness.tasks import Action, Brief, Limits, Reference, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.agentbench.household.alfworld import (
    alfworld_problem,
    find_games,
    planned,
)
from clawjax.evals.suites.agentbench.household.chores import GENERATION, own_chores
from clawjax.evals.suites.agentbench.household.goals import plan
from clawjax.evals.suites.agentbench.household.wording import (
    ACT,
    SYSTEM,
    TEXT_RULES,
    TOOLS,
    parse,
    read_offered,
    render,
)
from clawjax.evals.suites.agentbench.prompts import choose_prompt

__all__ = ["HouseholdOptions", "build"]

VERSION = "2"
STEPS = 35
"""`max_step` in `configs/tasks/alfworld.yaml`."""

_MODULE = "clawjax.evals.suites.agentbench.household"


@dataclass(frozen=True, slots=True)
class HouseholdOptions:
    """`suite.options` of household."""

    path: str | None = None
    """Folder with ALFWorld's games, or a list of AgentBench's; None: our own rooms."""
    prompt: str | None = None
    """A text file in place of our wording of the rules."""


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: an unknown option, or games without the engine that plays them.
    """
    chosen = read_options(HouseholdOptions, options)
    prompt = choose_prompt(chosen.prompt, system=SYSTEM, text_rules=TEXT_RULES)
    launch = {} if chosen.path is None else {"engine": f"{_MODULE}.alfworld:AlfworldEngine"}
    return Suite(
        name="household",
        version=f"{VERSION}{'-alfworld' if launch else ''}{prompt.version}",
        tasks=_tasks(chosen.path, prompt.system),
        launch=Launch(f"{_MODULE}.environment:HouseholdEnvironment", options=launch),
        parser=parse,
        scorer=_score,
        oracle=_oracle,
        random_action=_random_action,
        exploits=EXPLOITS,
        noop=None,
        render=render,
        text_rules=prompt.text_rules,
        progress=_progress,
        licence="our own rooms Apache-2.0; ALFWorld's games MIT",
    )


def _tasks(path: str | None, system: str) -> tuple[Task, ...]:
    if path is None:
        return tuple(
            _task(
                chore.name,
                system,
                kind=chore.goal.kind,
                split="own",
                version=f"generation {GENERATION}",
                options={
                    "contents": chore.contents,
                    "kind": chore.goal.kind,
                    "thing": chore.goal.thing,
                    "target": chore.goal.target,
                },
                steps=plan(chore.goal, chore.contents),
            )
            for chore in own_chores()
        )
    problem = alfworld_problem()
    if problem is not None:
        raise ConfigError(f"suite.options.path={path} needs ALFWorld's engine: {problem}")
    return tuple(
        _task(
            "/".join(game.parts[-3:-1]),
            system,
            kind=game.parts[-3].partition("-")[0],
            split="alfworld",
            version=hashlib.sha256(game.read_bytes()).hexdigest(),
            options={"game": str(game.resolve())},
            steps=None,
        )
        for game in find_games(Path(path))
    )


def _task(
    name: str,
    system: str,
    *,
    kind: str,
    split: str,
    version: str,
    options: Mapping[str, Any],
    steps: Sequence[str] | None,
) -> Task:
    actions = tuple(Action(ACT, {"action": step}) for step in steps or ())
    return Task(
        suite="household",
        task_id=name,
        instruction="",
        tools=TOOLS,
        system=system,
        split=split,
        limits=Limits(turns=STEPS, counts_actions=True, format_errors=1, action_errors=1),
        options=options,
        reference=Reference(actions=actions, steps=len(actions) or None),
        metadata={"type": kind},
        data_version=version,
    )


async def _score(task: Task, trajectory: Trajectory) -> Score:
    is_won = bool(trajectory.after.get("won"))
    return Score(float(is_won), {"won": float(is_won)})


def _progress(task: Task, trajectory: Trajectory, score: Score) -> float | None:
    """ALFWorld's engine does not tell it; our own chores begin with nothing done."""
    return None if "game" in task.options else furthest_from_nothing(task, trajectory, score)


def _oracle(task: Task) -> Sequence[Action]:
    if task.reference.actions:
        return task.reference.actions
    return tuple(Action(ACT, {"action": each}) for each in planned(Path(task.options["game"])))


def _random_action(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    return Action(ACT, {"action": rng.choice(read_offered(history[-1].text) or ["look"])})


def _says(*actions: str) -> Callable[[Task], Sequence[Action]]:
    return lambda task: tuple(Action(ACT, {"action": each}) for each in actions)


def _skips_the_way(task: Task) -> Sequence[Action]:
    """Only what would finish the chore."""
    return task.reference.actions[-1:]


EXPLOITS = {
    "says_done": _says("Task succeeded.", "won", "You won the game", "score 1"),
    "skips_the_way": _skips_the_way,
    "asks_the_engine": _says("policy_commands", "restart", "save", "help", "cheat"),
}
