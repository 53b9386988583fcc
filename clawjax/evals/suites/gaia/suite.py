"""GAIA as a suite: the official files where somebody has them, our own open questions otherwise.

The official questions are gated and must not be passed on, so they are read from a folder and never
shipped. Published answers of theirs can be looked up: accuracy on them is no proof of capability.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.parsing import (
    ACTION_RULES,
    final_answer,
    parse_action_text,
    reply_parser,
)
from clawjax.evals.harness.protocols import (
    FormatError,
    InvalidAction,
    Launch,
    Parsed,
    Suite,
    nothing_lacking,
)
from clawjax.evals.harness.rendering import as_call
from clawjax.evals.harness.sandbox import sandbox_problem
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Limits, Reference, Task, Tool
from clawjax.evals.harness.trajectory import AgentTurn, Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.gaia.browsing import BROWSE_TOOLS
from clawjax.evals.suites.gaia.environment import CHROMIUM
from clawjax.evals.suites.gaia.exploits import EXPLOITS
from clawjax.evals.suites.gaia.records import read_records
from clawjax.evals.suites.gaia.scoring import is_match
from clawjax.evals.web.chromium import browser_problem

__all__ = ["OPEN", "VERSION", "GaiaOptions", "build", "load"]

logger = logging.getLogger(__name__)

VERSION = "2"
OPEN = Path(__file__).parents[2] / "data" / "gaia_open"
"""Our own questions, in the official format."""

_HIDDEN = "?"
"""Gold of the official test split."""
_BROWSER_S = 180.0
"""Of one step: Chromium's start, and pages of the open web."""

SYSTEM = (
    "You are a general AI assistant. I will ask you a question. Report your thoughts, and finish "
    "your answer with the following template: FINAL ANSWER: [YOUR FINAL ANSWER]. YOUR FINAL ANSWER "
    "should be a number OR as few words as possible OR a comma separated list of numbers and/or "
    "strings. If you are asked for a number, don't use comma to write your number neither use "
    "units such as $ or percent sign unless specified otherwise. If you are asked for a string, "
    "don't use articles, neither abbreviations (e.g. for cities), and write the digits in plain "
    "text unless specified otherwise. If you are asked for a comma separated list, apply the above "
    "rules depending of whether the element to be put in the list is a number or a string."
)
"""GAIA's own (Mialon et al. 2023, arXiv:2311.12983)."""


@dataclass(frozen=True, slots=True)
class GaiaOptions:
    """`suite.options` of GAIA."""

    path: str | None = None
    """Folder with the official metadata (JSONL or Parquet) and the attachments; None: our own
    questions."""
    level: int | None = None
    """1, 2 or 3; None: all."""
    python: str = "auto"
    """`auto` offers Python where a sandbox can be made, `required` fails without, `off` never."""
    browser: str | None = None
    """`chromium`, or `module:callable` that gives a browser (`environment.Browser`); None: there is
    none."""
    browser_origins: list[str] | None = None
    """Of Chromium: pages of these only; None: of all public hosts."""
    browser_tools: list[dict[str, Any]] = field(default_factory=list)
    """What somebody else's browser can do: `name`, `description`, `parameters`."""
    turns: int = 15


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: no such folder, no question left, or no sandbox where one is required.
    """
    chosen = read_options(GaiaOptions, options)
    folder = OPEN if chosen.path is None else Path(chosen.path)
    tools = _tools(chosen)
    tasks = load(folder, tools=tools, limits=Limits(turns=chosen.turns))
    if chosen.level is not None:
        tasks = [task for task in tasks if task.metadata["level"] == chosen.level]
    if not tasks:
        msg = f"suite.options.level={chosen.level} leaves no question: use 1, 2 or 3"
        raise ConfigError(msg)
    return Suite(
        name="gaia",
        version=VERSION,
        tasks=tuple(tasks),
        launch=Launch(
            "clawjax.evals.suites.gaia.environment:GaiaEnvironment",
            options={
                "files": str(folder.resolve()),
                "browser": chosen.browser,
                "browser_origins": chosen.browser_origins,
            },
            timeout_s=60.0 if chosen.browser is None else _BROWSER_S,
            problem=_lacks_chromium if chosen.browser == CHROMIUM else nothing_lacking,
        ),
        parser=reply_parser(_parse),
        scorer=_score,
        oracle=lambda task: (Action.answer(task.reference.answer),),
        random_action=_random,
        exploits=EXPLOITS,
        noop=Action.answer(""),
        render=_render,
        text_rules=ACTION_RULES,
        licence="our own questions: Apache-2.0" if chosen.path is None else "GAIA: gated",
    )


def load(folder: Path, *, tools: Sequence[Tool], limits: Limits) -> list[Task]:
    """Tasks of a folder in the official format (`2023/validation` of the data set).

    Raises:
        ConfigError: no records, one that is no question, or an attachment is missing.
    """
    found = read_records(folder)
    return [_task(entry, folder, tuple(tools), limits, found.version) for entry in found.entries]


def _task(
    entry: Mapping[str, Any], folder: Path, tools: tuple[Tool, ...], limits: Limits, version: str
) -> Task:
    try:
        question, gold = entry["Question"], str(entry["Final answer"])
        task_id, level = entry["task_id"], int(entry["Level"])
    except (KeyError, TypeError) as error:
        msg = f"{folder} has a record without {error}: it is not GAIA's format"
        raise ConfigError(msg) from error
    attached = entry.get("file_name") or None
    if attached and not (folder / attached).is_file():
        msg = f"{task_id} needs {folder / attached}, which is not there"
        raise ConfigError(msg)
    human = entry.get("Annotator Metadata") or {}
    return Task(
        suite="gaia",
        task_id=task_id,
        instruction=question,
        system=SYSTEM,
        tools=tools,
        split="open" if folder == OPEN else folder.name,
        limits=limits,
        options={"file_name": attached},
        reference=Reference(
            answer=None if gold == _HIDDEN else gold, steps=human.get("Agent turns")
        ),
        metadata={"level": level},
        data_version=version,
    )


async def _score(task: Task, trajectory: Trajectory) -> Score:
    gold = task.reference.answer
    if gold is None:
        msg = "the gold of the official test split is hidden: submit the answers to the leaderboard"
        raise ValueError(msg)
    answer = trajectory.answer or ""
    return Score(float(is_match(answer, gold)), explanation=f"{answer!r} for {gold!r}")


def _parse(text: str, brief: Brief) -> Parsed | FormatError | InvalidAction:
    answer = final_answer(text)
    if answer is not None:
        return Parsed((Action.answer(answer),))
    found = parse_action_text(text, brief)
    if isinstance(found, FormatError) and "Action:" not in text:
        return FormatError("Use a tool, or finish with the line `FINAL ANSWER: ...`.")
    return found


def _render(action: Action) -> AgentTurn:
    if action.name == ANSWER:
        return AgentTurn(text=f"FINAL ANSWER: {action.arguments['text']}")
    return as_call(action)


def _random(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    """A sum, or a made-up answer that no question has."""
    if len(history) > 2:
        return Action.answer(f"{rng.randrange(10**9, 10**10)}")
    return Action("calculator", {"expression": f"{rng.randrange(100)} + {rng.randrange(100)}"})


def _tools(chosen: GaiaOptions) -> list[Tool]:
    tools = [
        _text_tool("calculator", "Arithmetic, e.g. (3 + 4) * sqrt(2).", "expression"),
        _text_tool("read_file", "The text of a file of this question, by its name.", "name"),
    ]
    problem = None if chosen.python == "off" else sandbox_problem()
    if chosen.python == "required" and problem is not None:
        msg = f"suite.options.python=required, but there is no sandbox: {problem}"
        raise ConfigError(msg)
    if chosen.python not in ("auto", "required", "off"):
        msg = f"suite.options.python={chosen.python!r} is unknown: use auto, required or off"
        raise ConfigError(msg)
    if problem is not None:
        logger.warning("GAIA is played without Python: %s", problem)
    elif chosen.python != "off":
        about = (
            "Run Python 3 (standard library, no network). Files of this question are in /work, "
            "where files are also kept between calls. Only what is printed is seen."
        )
        tools.append(_text_tool("python", about, "code"))
    return [*tools, *_browser_tools(chosen)]


def _browser_tools(chosen: GaiaOptions) -> Sequence[Tool]:
    if chosen.browser != CHROMIUM:
        if chosen.browser_origins is not None:
            msg = "suite.options.browser_origins is of suite.options.browser=chromium: set both"
            raise ConfigError(msg)
        return [Tool(**each) for each in chosen.browser_tools]
    if chosen.browser_tools:
        msg = "suite.options.browser_tools is for browsers of your own: chromium has its own tools"
        raise ConfigError(msg)
    return BROWSE_TOOLS


def _lacks_chromium() -> str | None:
    problem = browser_problem()
    return None if problem is None else f"suite.options.browser=chromium needs a browser: {problem}"


def _text_tool(name: str, description: str, argument: str) -> Tool:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
        "additionalProperties": False,
    }
    return Tool(name, description, schema)
