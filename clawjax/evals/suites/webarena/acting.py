"""What the suites on WebArena's sites have in common: environment, prompt, limits, chance."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from clawjax.evals.harness.protocols import Launch
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Limits, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.web.chromium import lacks_browser

__all__ = ["SYSTEM", "launch", "limits", "passed_share", "random_step"]

SYSTEM = (
    "You are an autonomous agent that carries out tasks in a web browser. You are given the task, "
    "and the accessibility tree of the page in front, each element with its number; only what is "
    "in view is listed. Issue one action at a time, valid for what you see. Stop when you think "
    "that the task is done."
)

_ENVIRONMENT = "clawjax.evals.suites.webarena.environment:WebArenaEnvironment"
_STEP_S = 180.0
_ID = re.compile(r"\[(\d+)\] (link|button|textbox|radio)")
_RANDOM_STEPS = 6


def launch(suite: str, options: Mapping[str, Any]) -> Launch:
    """The environment, with these options of it; it needs a browser. Sites given are live."""
    return Launch(
        _ENVIRONMENT,
        options=options,
        timeout_s=_STEP_S,
        is_live=options["sites"] is not None,
        problem=partial(lacks_browser, suite),
    )


def limits(turns: int) -> Limits:
    """Of one episode."""
    return Limits(
        turns=turns,
        counts_actions=True,
        wall_s=1800.0,
        observation_chars=16000,
        action_errors=turns,
    )


def passed_share(task: Task, trajectory: Trajectory, score: Score) -> float | None:
    """Progress: share of the task's evaluators that pass; None where one gave no verdict."""
    verdicts = [value for value in score.parts.values() if value is not None]
    if not verdicts or len(verdicts) < len(score.parts):
        return None
    return sum(verdict >= 1 for verdict in verdicts) / len(verdicts)


def random_step(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    """Clicks and types at random, then stops with a number."""
    elements = _ID.findall(history[-1].text)
    if not elements or rng.randrange(_RANDOM_STEPS) == 0:
        return Action(ANSWER, {"text": str(rng.randrange(1000, 10000))})
    number, role = rng.choice(elements)
    if role == "textbox":
        return Action("type", {"element": number, "text": "kettle", "enter": rng.random() < 0.5})
    return Action("click", {"element": number})
