"""WebArena as suites: `webarena` and `web`.

The first plays the published tasks on sites that somebody runs; the second our own tasks, in the
same format and scored by the same rules, on our own shop and forum.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clawjax.config.secrets import read_key
from clawjax.errors import ConfigError
from clawjax.evals.harness.parsing import reply_parser
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.tasks import Action, Reference, Task
from clawjax.evals.harness.trajectory import Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.webarena.acting import (
    SYSTEM,
    launch,
    limits,
    passed_share,
    random_step,
)
from clawjax.evals.suites.webarena.exploits import EXPLOITS
from clawjax.evals.suites.webarena.judge import JUDGE_KEY, EndpointJudge, Judge
from clawjax.evals.suites.webarena.local.store import DATA, changed_rows
from clawjax.evals.suites.webarena.records import (
    WebTask,
    addresses,
    data_version,
    find_tasks,
    placed,
    read_tasks,
)
from clawjax.evals.suites.webarena.scoring import evaluate
from clawjax.evals.web.grammar import (
    GRAMMAR,
    WEB_TOOLS,
    canonical,
    read_action,
    read_web_text,
    render_web,
)

__all__ = ["VERSION", "WebArenaOptions", "WebOptions", "build", "build_local"]

logger = logging.getLogger(__name__)

VERSION = "2"


@dataclass(frozen=True, slots=True)
class WebOptions:
    """`suite.options` of our own tasks."""

    turns: int = 30


@dataclass(frozen=True, slots=True)
class WebArenaOptions:
    """`suite.options` of the published tasks."""

    path: str | None = None
    """A `test.raw.json`; None: of an installed package."""
    sites: dict[str, str] = field(default_factory=dict)
    """Address of each site that is there: `shopping`, `shopping_admin`, `reddit`, `gitlab`, `map`,
    `wikipedia`. Tasks that need another one are left out."""
    states: str | None = None
    """Folder with the logged-in browsers' states, as WebArena's auto_login writes them."""
    hosts: list[str] | None = None
    """Names that the browser may look up besides; None: all."""
    shopping_admin: dict[str, str] = field(
        default_factory=lambda: {"username": "admin", "password": "admin1234"}
    )
    """Account of the shop's API, which helpers use; the default is WebArena's image's."""
    judge_url: str | None = None
    """Endpoint of the model that judges free answers, with the key in `CLAWJAX_JUDGE_API_KEY` if
    there is one; None: those tasks are left out."""
    judge_model: str = "gpt-4-1106-preview"
    settle_s: float = 2.0
    """Waited after each action, seconds."""
    turns: int = 30


def build_local(options: Mapping[str, Any]) -> Suite:
    """Our own tasks on our own sites."""
    chosen = read_options(WebOptions, options)
    content = (DATA / "tasks.json").read_bytes()
    tasks = read_tasks(content)
    return _suite(
        "web", tasks, data_version(content), chosen.turns, {"sites": None, "hosts": []}, None
    )


def build(options: Mapping[str, Any]) -> Suite:
    """The published tasks.

    Raises:
        UnavailableError: no tasks, or no sites.
        ConfigError: a site that WebArena does not have, or none that a task can do with.
    """
    chosen = read_options(WebArenaOptions, options)
    sites = addresses(chosen.sites)
    content = (find_tasks() if chosen.path is None else Path(chosen.path)).read_bytes()
    judge = None
    if chosen.judge_url is not None:
        judge = EndpointJudge(chosen.judge_url, chosen.judge_model, read_key(JUDGE_KEY))
    tasks = [placed(task, sites) for task in _playable(read_tasks(content), chosen)]
    states = None if chosen.states is None else str(Path(chosen.states).resolve())
    environment = {
        "sites": sites,
        "hosts": chosen.hosts,
        "states": states,
        "shopping_admin": chosen.shopping_admin,
        "settle_s": chosen.settle_s,
    }
    return _suite("webarena", tasks, data_version(content), chosen.turns, environment, judge)


def _playable(tasks: Sequence[WebTask], chosen: WebArenaOptions) -> list[WebTask]:
    here = [task for task in tasks if set(task.sites) <= set(chosen.sites)]
    kept = [task for task in here if chosen.judge_url is not None or not task.is_judged]
    if not kept:
        msg = f"no task can be played with suite.options.sites={sorted(chosen.sites)} alone"
        raise ConfigError(msg)
    if len(kept) < len(tasks):
        logger.warning(
            "%d of WebArena's %d tasks are left out: %d need sites that are not there, %d a judge",
            len(tasks) - len(kept),
            len(tasks),
            len(tasks) - len(here),
            len(here) - len(kept),
        )
    return kept


def _suite(
    name: str,
    records: Sequence[WebTask],
    version: str,
    turns: int,
    environment: Mapping[str, Any],
    judge: Judge | None,
) -> Suite:
    by_id = {str(record.task_id): record for record in records}
    return Suite(
        name=name,
        version=VERSION,
        tasks=tuple(_task(name, record, version, turns) for record in records),
        launch=launch(name, environment),
        parser=reply_parser(read_web_text),
        scorer=partial(_score, by_id, judge),
        oracle=partial(_oracle, by_id),
        random_action=random_step,
        exploits=EXPLOITS,
        noop=Action.answer(""),
        render=render_web,
        text_rules=GRAMMAR,
        inspection=partial(_inspection, by_id),
        side_effects=partial(_side_effects, by_id),
        progress=passed_share,
        scores_unfinished=True,
        licence="our own tasks: Apache-2.0" if name == "web" else "WebArena: Apache-2.0",
    )


def _task(suite: str, record: WebTask, version: str, turns: int) -> Task:
    written = _written(record)
    return Task(
        suite=suite,
        task_id=str(record.task_id),
        instruction=f"OBJECTIVE: {record.intent}",
        system=SYSTEM,
        tools=WEB_TOOLS,
        split="all",
        limits=limits(turns),
        options={
            "sites": list(record.sites),
            "start_urls": list(record.start_urls),
            "storage_state": record.storage_state if record.needs_login else None,
        },
        reference=Reference(
            answer=dict(record.reference_answers), actions=written, steps=len(written) or None
        ),
        metadata={
            "type": "+".join(record.evaluators),
            "sites": "+".join(record.sites),
            "template": record.template,
        },
        data_version=version,
    )


async def _score(
    records: Mapping[str, WebTask], judge: Judge | None, task: Task, trajectory: Trajectory
) -> Score:
    verdicts = await evaluate(
        records[task.task_id],
        answer=trajectory.answer or "",
        url=trajectory.after["url"],
        contents=trajectory.evidence.get("contents", ()),
        sites=trajectory.after["sites"],
        judge=judge,
    )
    judged = f"; judge: {judge.name}" if judge is not None else ""
    return Score(
        float(all(verdicts.values())),
        parts=verdicts,
        explanation=f"answer {trajectory.answer!r} at {trajectory.after['url']}{judged}",
    )


def _inspection(records: Mapping[str, WebTask], task: Task) -> Mapping[str, Any]:
    targets = [
        {"url": each.url, "locator": each.locator, "prep_actions": list(each.prep_actions)}
        for each in records[task.task_id].targets
    ]
    return {"targets": targets} if targets else {}


def _side_effects(
    records: Mapping[str, WebTask], task: Task, trajectory: Trajectory
) -> tuple[str, ...] | None:
    """Rows that changed in tables that the task has nothing to do with; of our own sites only."""
    if trajectory.is_lost or "rows" not in trajectory.before:
        return None
    allowed = records[task.task_id].extra.get("may_change", ())
    changed = changed_rows(trajectory.before["rows"], trajectory.after["rows"])
    return tuple(row for row in changed if row.partition("[")[0] not in allowed)


def _written(record: WebTask) -> tuple[Action, ...]:
    actions = [read_action(line) for line in record.extra.get("oracle", ())]
    if None in actions:
        msg = f"task {record.task_id}: the oracle has a line that is no action"
        raise ConfigError(msg)
    return tuple(canonical(action) for action in actions if action is not None)


def _oracle(records: Mapping[str, WebTask], task: Task) -> Sequence[Action]:
    """The written solution; of published tasks, which have none, the reference URL and answer."""
    if task.reference.actions:
        return task.reference.actions
    record = records[task.task_id]
    visits = [Action("goto", {"url": record.reference_url.split(" |OR| ")[0]})]
    said = record.reference_answers.values()
    answer = " ".join(each if isinstance(each, str) else ", ".join(each) for each in said)
    return (*(visits if record.reference_url else ()), Action.answer(answer))
