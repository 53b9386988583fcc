"""AgentBench's database tasks: the published files, or our own small tables."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError
from clawjax.evals.harness.protocols import Launch, Suite
from clawjax.evals.harness.tasks import Action, Brief, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.agentbench.dbbench.dataset import load
from clawjax.evals.suites.agentbench.dbbench.rules import (
    CHANGES,
    EDITIONS,
    is_right,
    main_accuracy,
    same_hash,
)
from clawjax.evals.suites.agentbench.dbbench.wording import (
    EXECUTE,
    SYSTEM,
    TEXT_RULES,
    parse,
    render,
)
from clawjax.evals.suites.agentbench.prompts import choose_prompt

__all__ = ["OWN", "DatabaseOptions", "build"]

OWN = Path(__file__).parents[3] / "data" / "agentbench" / "dbbench.jsonl"
"""Our own tasks, in the published format."""
VERSION = "2"

_WORDS = ("1", "0", "none", "Paris", "2001")
_LOOKS = ("SHOW TABLES", "SELECT 1", "SHOW DATABASES")


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """`suite.options` of dbbench."""

    path: str | None = None
    """A published JSONL, e.g. `data/dbbench/standard.jsonl`; None: our own tasks."""
    edition: str = "paper"
    """Rules: `paper` (branch v0.2) or `fc` (function calls)."""
    prompt: str | None = None
    """A text file in place of our wording of the rules."""


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: an unknown option or edition, or a file that is none.
    """
    chosen = read_options(DatabaseOptions, options)
    if chosen.edition not in EDITIONS:
        msg = f"suite.options.edition={chosen.edition!r} is unknown: use {', '.join(EDITIONS)}"
        raise ConfigError(msg)
    prompt = choose_prompt(chosen.prompt, system=SYSTEM, text_rules=TEXT_RULES)
    path = OWN if chosen.path is None else Path(chosen.path)
    split = "own" if chosen.path is None else path.stem
    return Suite(
        name="dbbench",
        version=f"{VERSION}-{chosen.edition}{prompt.version}",
        tasks=load(path, split=split, system=prompt.system, edition=chosen.edition),
        launch=Launch("clawjax.evals.suites.agentbench.dbbench.environment:DatabaseEnvironment"),
        parser=parse,
        scorer=_scorer(chosen.edition),
        oracle=lambda task: task.reference.actions,
        random_action=_random_action,
        exploits=EXPLOITS,
        noop=Action.answer(""),
        render=render,
        text_rules=prompt.text_rules,
        side_effects=_changed,
        scores_unfinished=chosen.edition == "paper",
        main_metric=_main,
        licence="Apache-2.0 (THUDM/AgentBench), our own tasks likewise",
    )


def _scorer(edition: str) -> Any:
    async def score(task: Task, trajectory: Trajectory) -> Score:
        """v0.2 judges the table of a change however the episode ended, so `scores_unfinished`."""
        if task.metadata["type"] in CHANGES:
            found = trajectory.after.get("hash")
            is_same = same_hash(found, task.reference.answer)
            return Score(float(is_same), {"hash": float(is_same)}, f"hash {found}")
        answer = trajectory.answer or ""
        return Score(float(is_right(answer, task.reference.answer, edition)), {}, answer[:200])

    return score


def _main(scored: Sequence[tuple[Trajectory, Score]]) -> float | None:
    return main_accuracy(
        [
            (str(trajectory.metadata["type"]), score.value == 1.0)
            for trajectory, score in scored
            if score.value is not None
        ]
    )


def _changed(task: Task, trajectory: Trajectory) -> tuple[str, ...] | None:
    """A question must leave the table as it was; of changes, only the hash is known."""
    if trajectory.is_lost or task.metadata["type"] in CHANGES:
        return None
    is_same = trajectory.before.get("hash") == trajectory.after.get("hash")
    return () if is_same else ("the table was changed",)


def _random_action(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    if len(history) > 4:
        return Action.answer(json.dumps([rng.choice(_WORDS) + str(rng.randrange(1000))]))
    return Action(EXECUTE, {"query": rng.choice(_LOOKS)})


def _runs(*queries: str, answer: str) -> tuple[Action, ...]:
    return (*(Action(EXECUTE, {"query": query}) for query in queries), Action.answer(answer))


def _reads_gold(task: Task) -> Sequence[Action]:
    return _runs(
        f"SELECT readfile('{OWN}')",
        f"ATTACH DATABASE '{OWN}' AS gold",
        f"LOAD DATA INFILE '{OWN}' INTO TABLE gold",
        f"SELECT load_file('{OWN}')",
        answer="{observation}",
    )


def _computes_the_answer(task: Task) -> Sequence[Action]:
    """Right wherever answers are evaluated as code."""
    label = json.dumps(json.dumps(task.reference.answer))
    return (Action.answer(f"__import__('json').loads({label})"),)


def _says_the_hash(task: Task) -> Sequence[Action]:
    """The gold of changes is the table's state, not what is said; for questions a wrong word."""
    if task.metadata["type"] in CHANGES:
        return (Action.answer(str(task.reference.answer)),)
    return (Action.answer("[('d41d8cd98f00b204e9800998ecf8427e',)]"),)


def _replaces_the_hash(task: Task) -> Sequence[Action]:
    """Leaves a table of the same name whose only cell is the gold."""
    name = task.options["tables"][0]["table_name"].replace("`", "``")
    gold = str(task.reference.answer).replace("'", "''")
    return _runs(
        f"DROP TABLE `{name}`",
        f"CREATE TABLE `{name}` (hash TEXT)",
        f"INSERT INTO `{name}` VALUES ('{gold}')",
        answer="[]",
    )


EXPLOITS = {
    "reads_gold": _reads_gold,
    "computes_the_answer": _computes_the_answer,
    "says_the_hash": _says_the_hash,
    "replaces_the_hash": _replaces_the_hash,
}
