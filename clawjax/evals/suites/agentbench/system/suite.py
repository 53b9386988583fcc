"""AgentBench's tasks on a machine: published files, the repaired copy, or our own tasks."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Launch, Suite
from clawjax.evals.harness.tasks import Action, Brief, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.agentbench.prompts import choose_prompt
from clawjax.evals.suites.agentbench.system.dataset import inspect_items, load
from clawjax.evals.suites.agentbench.system.environment import prepared
from clawjax.evals.suites.agentbench.system.exploits import EXPLOITS
from clawjax.evals.suites.agentbench.system.machine import machine_problem
from clawjax.evals.suites.agentbench.system.wording import (
    BASH,
    FINISH,
    SYSTEM,
    TEXT_RULES,
    parse,
    render,
)

__all__ = ["OWN", "SystemOptions", "build", "is_match", "oracle"]

OWN = Path(__file__).parents[3] / "data" / "agentbench" / "os.json"
"""Our own tasks, in the published format."""
VERSION = "3"

_SOURCES = ("own", "inspect", "file")
_LOOKS = ("ls -la", "pwd", "id", "uname -a", "df -h", "ps aux")


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """`suite.options` of os."""

    source: str = "own"
    """`own` tasks, those in the package `inspect-evals` (`inspect`), or a `file` of AgentBench."""
    part: str = "test"
    """Of `inspect`: `dev` or `test`."""
    path: str | None = None
    """`file`: e.g. `data/os_interaction/data/1/stock.json`."""
    scripts: str | None = None
    """`file`: folder with its scripts, e.g. `data/os_interaction/scripts/1`."""
    prompt: str | None = None
    """A text file in place of our wording of the rules."""
    timeout_s: float = 30.0
    """Of one command."""


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: an unknown option, or data that is not there.
    """
    chosen = read_options(SystemOptions, options)
    prompt = choose_prompt(chosen.prompt, system=SYSTEM, text_rules=TEXT_RULES)
    return Suite(
        name="os",
        version=f"{VERSION}{prompt.version}",
        tasks=_tasks(chosen, prompt.system),
        launch=Launch(
            "clawjax.evals.suites.agentbench.system.environment:MachineEnvironment",
            options={"timeout_s": chosen.timeout_s},
            timeout_s=60.0 + 12 * chosen.timeout_s,
            problem=_lacks_namespaces,
        ),
        parser=parse,
        scorer=_score,
        oracle=oracle,
        random_action=_random_action,
        exploits=EXPLOITS,
        noop=Action(FINISH, {"thought": ""}),
        render=render,
        text_rules=prompt.text_rules,
        inspection=_inspection,
        progress=_progress,
        licence="Apache-2.0 (THUDM/AgentBench), MIT (inspect-evals), our own tasks Apache-2.0",
    )


def is_match(answer: str | None, rule: Mapping[str, Any]) -> bool:
    """Whether an answer is the wanted one: `{answer or regex, strip}`, as published."""
    if answer is None:
        return False
    text = answer.strip() if rule.get("strip") else answer
    if "answer" in rule:
        return text == str(rule["answer"])
    return re.search(str(rule["regex"]), text) is not None


def oracle(task: Task) -> Sequence[Action]:
    """The wanted answer, or the published example.

    Where the example computes the answer, it is run on a machine of its own.
    """
    wanted = task.reference.extra
    rule = wanted.get("match", {})
    if "answer" in rule:
        return (Action.answer(str(rule["answer"])),)
    asked = wanted.get("expected") or (wanted["example"] if rule else None)
    if asked is None:
        language, code = wanted["example"]
        assert language == "bash", language
        return Action(BASH, {"script": code}), Action(FINISH, {"thought": ""})
    machine = prepared(task.options)
    try:
        found = machine.run(*asked)
    finally:
        machine.close()
    return (Action.answer(found.output.strip()),)


def _lacks_namespaces() -> str | None:
    problem = machine_problem()
    return None if problem is None else f"suite os needs Linux namespaces: {problem}"


def _tasks(chosen: SystemOptions, system: str) -> tuple[Task, ...]:
    match chosen.source:
        case "own":
            return load(OWN, None, split="own", system=system)
        case "inspect":
            return inspect_items(chosen.part, system=system)
        case "file" if chosen.path is not None:
            path = Path(chosen.path)
            scripts = None if chosen.scripts is None else Path(chosen.scripts)
            return load(path, scripts, split=path.stem, system=system)
    msg = (
        f"suite.options.source={chosen.source!r}, path={chosen.path!r}: use one of "
        f"{', '.join(_SOURCES)}, and for file a path"
    )
    raise ConfigError(msg)


def _inspection(task: Task) -> Mapping[str, Any]:
    checks = task.reference.extra.get("check")
    return {} if checks is None else {"check": checks}


def _progress(task: Task, trajectory: Trajectory, score: Score) -> float | None:
    """Share of the checks that pass, without those that only print what is expected."""
    wanted = task.reference.extra
    if "check" not in wanted or "steps" not in trajectory.evidence:
        return None
    decides = [each != wanted["expected"] for each in wanted["check"]]
    steps = trajectory.evidence["steps"]  # up to the first that fails
    passed = [
        each["exit_code"] == 0 for each, counts in zip(steps, decides, strict=False) if counts
    ]
    return sum(passed) / sum(decides)


async def _score(task: Task, trajectory: Trajectory) -> Score:
    rule = task.reference.extra.get("match")
    if rule is not None:
        return Score(float(is_match(trajectory.answer, rule)), {}, str(trajectory.answer)[:200])
    steps = trajectory.evidence["steps"]
    passed = [each["exit_code"] == 0 for each in steps]
    is_solved = all(passed) and len(steps) == trajectory.evidence["wanted"]
    return Score(float(is_solved), {}, f"{sum(passed)} of {trajectory.evidence['wanted']} checks")


def _random_action(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    if len(history) > 4:
        return Action.answer(str(rng.randrange(100, 1000)))
    return Action(BASH, {"script": rng.choice(_LOOKS)})
