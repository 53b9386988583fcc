"""A suite as small as one can be: bring a counter to a number, then say the number."""

from __future__ import annotations

import math
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.harness.parsing import ACTION_RULES, parse_action_text, reply_parser
from clawjax.evals.harness.protocols import Launch, Suite
from clawjax.evals.harness.tasks import Action, Brief, Limits, Reference, Setup, Task, Tool
from clawjax.evals.harness.trajectory import Message, Score, StepResult, Trajectory

ADD = Tool(
    "add",
    "Add to the counter.",
    {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)
ANSWER = Tool(
    "answer",
    "Say the number.",
    {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
)


def broken_once(breaks: str) -> Path | None:
    """The file that an environment which breaks once leaves behind."""
    return Path(breaks.removeprefix("once ")) if breaks.startswith("once ") else None


def _sleeper(is_forked: bool) -> int:
    """The number of a process in a session of its own."""
    if not is_forked:
        return subprocess.Popen(["sleep", "300"], start_new_session=True).pid
    pid = os.fork()
    if not pid:
        os.setsid()
        time.sleep(300)
        os._exit(0)
    return pid


class CounterEnvironment:
    """Counts; breaks in the way it is told to."""

    def __init__(self, noise: str = "") -> None:
        self.value = 0
        self.touched = 0
        self.breaks = ""
        self.noise = noise

    def reset(self, setup: Setup) -> str:
        self.value, self.touched = setup.options.get("start", 0), 0
        self.breaks = setup.options.get("breaks", "")
        self.log = setup.options.get("log")
        if self.breaks == "reset":
            raise RuntimeError("there is no world")
        if self.noise:
            print(self.noise)  # noqa: T201
        return f"The counter is at {self.value}."

    def step(self, action: Action) -> StepResult:
        if self.log is not None:
            with Path(self.log).open("a") as log:
                log.write(f"{action.name}\n")
        mark = broken_once(self.breaks)
        if mark is not None and not mark.exists():
            mark.touch()
            os._exit(3)
        if self.breaks == "raise":
            raise RuntimeError("the world ended")
        if self.breaks == "outside":
            raise OutsideFailure("somebody else is away")
        if self.breaks == "die":
            os._exit(3)
        if self.breaks.startswith("litter "):
            _, way, litter = self.breaks.split(" ", 2)
            Path(litter).write_text(f"{_sleeper(way == 'forks')} {tempfile.mkdtemp()}")
            if way != "hangs":
                os._exit(3)
        if self.breaks.startswith(("hang", "litter")):
            time.sleep(60)
        if action.name == "answer":
            return StepResult("", is_done=True)
        if action.arguments["n"] < 0:
            return StepResult("No.", is_valid=False, error="negative", state=str(self.value))
        self.value += action.arguments["n"]
        self.touched += 1
        return StepResult(
            f"The counter is at {self.value}.",
            reward=math.nan if self.breaks == "nan" else None,
            progress=math.inf if self.breaks == "nan" else None,
            state=str(self.value),
        )

    def snapshot(self) -> Mapping[str, Any]:
        return {"value": self.value}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.breaks == "inspect":
            raise RuntimeError("nothing can be seen")
        if self.breaks == "inspect outside":
            raise OutsideFailure("the site is away")
        return {"is_right": request["answer"] == request["gold"]}

    def close(self) -> None:
        pass


def toy_task(number: int, **options: Any) -> Task:
    limits = options.pop("limits", Limits(turns=4, wall_s=30.0))
    return Task(
        suite="toy",
        task_id=f"count-{number}",
        instruction=f"Bring the counter to {number}, then say the number.",
        tools=(ADD, ANSWER),
        limits=limits,
        options=options,
        reference=Reference(
            answer=str(number),
            actions=(Action("add", {"n": number}), Action.answer(str(number))),
            steps=2,
        ),
        split="dev" if number < 3 else "test",
        data_version="0",
    )


async def score_toy(task: Task, trajectory: Trajectory) -> Score:
    if task.options.get("breaks") == "scorer":
        raise ValueError("no score")
    is_right = trajectory.evidence["is_right"] and trajectory.after["value"] == int(
        task.reference.answer
    )
    return Score(float(is_right))


def random_toy(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    if len(history) > 4:
        return Action.answer(str(rng.randrange(1000, 2000)))
    return Action("add", {"n": rng.randrange(10)})


def toy_suite(*tasks: Task, timeout_s: float = 30.0, noise: str = "") -> Suite:
    return Suite(
        name="toy",
        version="1",
        tasks=tasks or tuple(toy_task(number) for number in (1, 2, 3, 4)),
        launch=Launch(
            "toy_suite:CounterEnvironment", options={"noise": noise}, timeout_s=timeout_s
        ),
        parser=reply_parser(parse_action_text),
        scorer=score_toy,
        oracle=lambda task: task.reference.actions,
        random_action=random_toy,
        exploits={"says_only": lambda task: (Action.answer(task.reference.answer),)},
        noop=Action.answer(""),
        text_rules=ACTION_RULES,
        inspection=lambda task: {"gold": task.reference.answer},
    )
