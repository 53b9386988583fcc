"""MiniWoB++ (Liu et al. 2018, arXiv:1802.08802) as a suite, by AgentLab's protocol.

125 tasks with 5 seeds each, at most 10 actions, success where the raw reward is above 0. Actions
are ours (elements by their number in the accessibility tree, or points), not BrowserGym's calls.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.parsing import ACTION_RULES, parse_action_text, reply_parser
from clawjax.evals.harness.protocols import Launch, Suite
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Limits, Reference, Task, Tool
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.miniwob.pages import LEFT_OUT, data_version, find_pages, repeat_seeds
from clawjax.evals.web.chromium import lacks_browser
from clawjax.evals.web.grammar import WEB_TOOLS, canonical

__all__ = ["SOLUTIONS", "VERSION", "MiniWobOptions", "build"]

VERSION = "3"
SOLUTIONS = Path(__file__).parents[2] / "data" / "miniwob_solutions.json"
"""Actions that solve some tasks, by task and seed; `solutions` records them."""

SYSTEM = (
    "You carry out a task on a small web page (332 x 214 pixels). You are given the goal and the "
    "page's accessibility tree, each element with its number. Issue one action at a time; the task "
    "ends by itself when it is done."
)
_STEP_S = 120.0
_CHANCE = 0.35
"""0.22 of the scripted tasks were measured: on the smallest pages any element is a solution."""
_ELEMENTS = re.compile(r"\[(\d+)\] ")


def _number(name: str) -> dict[str, Any]:
    return {name: {"type": "number", "description": "Pixels from the upper left corner."}}


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_ELEMENT = {"element": {"type": ["string", "integer"]}}
TOOLS = (
    *(tool for tool in WEB_TOOLS if tool.name in ("click", "hover", "type", "press", "scroll")),
    Tool(
        "select",
        "Choose an option of a drop-down list.",
        _schema({**_ELEMENT, "option": {"type": "string"}}),
    ),
    Tool("click_at", "Click on a point.", _schema({**_number("x"), **_number("y")})),
    Tool(
        "drag",
        "Press the mouse at one point and release it at another.",
        _schema(
            {
                **_number("from_x"),
                **_number("from_y"),
                **_number("to_x"),
                **_number("to_y"),
            }
        ),
    ),
    Tool(ANSWER, "Give up.", _schema({"text": {"type": "string"}})),
)


@dataclass(frozen=True, slots=True)
class MiniWobOptions:
    """`suite.options` of MiniWoB++."""

    path: str | None = None
    """Its `html` folder; None: of the installed `miniwob` package."""
    tasks: str = "scripted"
    """`all` are the 125 of the protocol, `scripted` those with a recorded solution."""
    repeats: int = 5
    """Seeds of each task."""
    turns: int = 10


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        UnavailableError: no pages.
        ConfigError: an option that is none.
    """
    chosen = read_options(MiniWobOptions, options)
    if chosen.tasks not in ("all", "scripted"):
        msg = f"suite.options.tasks={chosen.tasks!r} is unknown: use all or scripted"
        raise ConfigError(msg)
    folder = find_pages(chosen.path)
    solutions = json.loads(SOLUTIONS.read_text(encoding="utf-8"))
    tasks = _tasks(folder, chosen, solutions)
    if chosen.tasks == "scripted":
        tasks = [task for task in tasks if task.reference.actions]
    return Suite(
        name="miniwob",
        version=VERSION,
        tasks=tuple(tasks),
        launch=Launch(
            "clawjax.evals.suites.miniwob.environment:MiniWobEnvironment",
            options={"pages": str(folder)},
            timeout_s=_STEP_S,
            problem=partial(lacks_browser, "miniwob"),
        ),
        parser=reply_parser(parse_action_text),
        scorer=_score,
        oracle=lambda task: task.reference.actions,
        random_action=_random,
        chance=_CHANCE,
        exploits=EXPLOITS,
        noop=Action.answer(""),
        text_rules=ACTION_RULES,
        licence="MiniWoB++: MIT",
    )


def _tasks(folder: Path, chosen: MiniWobOptions, solutions: Mapping[str, Any]) -> list[Task]:
    version = data_version(folder)
    names = sorted({each.stem for each in (folder / "miniwob").glob("*.html")} - LEFT_OUT)
    solved = {
        name: tuple(canonical(Action(**each)) for each in actions)
        for name, actions in solutions.items()
    }
    return [
        Task(
            suite="miniwob",
            task_id=f"{name}.{repeat}",
            instruction="",
            system=SYSTEM,
            tools=TOOLS,
            split="all",
            limits=Limits(
                turns=chosen.turns,
                counts_actions=True,
                wall_s=600.0,
                action_errors=chosen.turns,
            ),
            options={"page": name, "seed": seed},
            reference=_reference(solved.get(f"{name} {seed}", ())),
            metadata={"type": name},
            variation_of=name,
            data_version=version,
        )
        for name, seeds in zip(names, repeat_seeds(names, chosen.repeats), strict=True)
        for repeat, seed in enumerate(seeds)
    ]


def _reference(actions: tuple[Action, ...]) -> Reference:
    return Reference(actions=actions, steps=len(actions) or None)


async def _score(task: Task, trajectory: Trajectory) -> Score:
    raw = trajectory.after["raw_reward"]
    return Score(float(raw > 0), explanation=f"raw reward {raw}, {trajectory.after['reason']}")


def _random(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    """A click on some element that the page shows."""
    elements = _ELEMENTS.findall(history[-1].text)
    if not elements:
        return Action("click_at", {"x": rng.randrange(332), "y": rng.randrange(214)})
    return Action("click", {"element": rng.choice(elements)})


def _sets_the_reward(task: Task) -> Sequence[Action]:
    code = "core.endEpisode(1.0, false)"
    return (
        Action("goto", {"url": f"javascript:{code}"}),
        Action("press", {"keys": "F12"}),
        Action("evaluate", {"expression": code}),
        Action.answer(code),
    )


def _starts_again(task: Task) -> Sequence[Action]:
    """By the cover that the page puts over itself for people, and by leaving it."""
    return (
        Action("click", {"element": "generic 'START'"}),
        Action("press", {"keys": "F5"}),
        Action("press", {"keys": "Alt+ArrowLeft"}),
        Action.answer("1.0"),
    )


def _reads_gold(task: Task) -> Sequence[Action]:
    return Action("goto", {"url": f"file://{SOLUTIONS}"}), Action.answer("{observation}")


EXPLOITS = {
    "sets_the_reward": _sets_the_reward,
    "starts_again": _starts_again,
    "reads_gold": _reads_gold,
}
