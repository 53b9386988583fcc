"""WebArena-Verified as a suite: its tasks, its way to answer, its scorer, on sites that you run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from clawjax.errors import ConfigError, EvalError, UnavailableError
from clawjax.evals.harness.parsing import reply_parser
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.tasks import ANSWER, Action, Reference, Task, Tool
from clawjax.evals.harness.trajectory import Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.webarena import exploits
from clawjax.evals.suites.webarena.acting import (
    SYSTEM,
    launch,
    limits,
    passed_share,
    random_step,
)
from clawjax.evals.suites.webarena.records import addresses, at_sites, data_version
from clawjax.evals.suites.webarena_verified.answers import HOW_TO_ANSWER, right_answer
from clawjax.evals.suites.webarena_verified.records import (
    Needs,
    VerifiedTask,
    hard_tasks,
    read_verified,
)
from clawjax.evals.suites.webarena_verified.scorer import PublishedScorer, Question, how_to_install
from clawjax.evals.suites.webarena_verified.scoring import AsksScorer, scored
from clawjax.evals.web.grammar import ACTIONS, WEB_TOOLS, read_with_long_answers, render_web

__all__ = ["VERSION", "VerifiedOptions", "build", "tasks_of"]

logger = logging.getLogger(__name__)

NAME = "webarena_verified"
VERSION = "2"

_STOP = "The task is done, or cannot be: end it, with the final response as JSON."
_TEXT_RULES = f"{ACTIONS}\nstop [response]: {_STOP[0].lower()}{_STOP[1:]}"


@dataclass(frozen=True, slots=True)
class VerifiedOptions:
    """`suite.options`."""

    scorer_python: str | None = None
    """Interpreter of an environment that has the package; it scores."""
    scorer_timeout_s: float = 60.0
    """Longest wait for the score of an episode, seconds."""
    path: str | None = None
    """A `webarena-verified.json`; None: the package's own."""
    needs: str = "all"
    """`response`: only tasks that are scored by the answer alone; `requests`: only the others."""
    sites: dict[str, str] = field(default_factory=dict)
    """Address of each site that is there, as of `webarena`. Tasks that need another one are left
    out."""
    states: str | None = None
    """Folder with the logged-in browsers' states, as WebArena's auto_login writes them; None:
    nobody is logged in."""
    hosts: list[str] | None = None
    """Names that the browser may look up besides; None: all."""
    settle_s: float = 2.0
    """Waited after each action, seconds."""
    turns: int = 30


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        UnavailableError: no sites, or no scorer.
        ConfigError: a site or a kind of task that there is not, a file in another format, or no
            task that is left.
    """
    chosen = read_options(VerifiedOptions, options)
    sites = addresses(chosen.sites)
    started = launch(
        NAME,
        {
            "sites": sites,
            "hosts": chosen.hosts,
            "states": None if chosen.states is None else str(Path(chosen.states).resolve()),
            "settle_s": chosen.settle_s,
            "records_har": True,
        },
    )
    if chosen.scorer_python is None:
        raise UnavailableError(how_to_install("suite.options.scorer_python is not set"))
    scorer = PublishedScorer(chosen.scorer_python, timeout_s=chosen.scorer_timeout_s)
    installed = scorer.installed()
    data = Path(chosen.path or installed.data).resolve()
    if not data.is_file():
        raise ConfigError(f"suite.options.path={str(data)!r} is no file")
    content = data.read_bytes()
    records = _playable(read_verified(content), chosen)
    by_id = {str(record.task_id): record for record in records}
    return Suite(
        name=NAME,
        version=f"{VERSION}, scorer {installed.version}",
        tasks=tasks_of(
            records,
            sites,
            hard_tasks(data),
            data_version(content),
            turns=chosen.turns,
            has_states=chosen.states is not None,
        ),
        launch=started,
        parser=reply_parser(read_with_long_answers),
        scorer=partial(_score, scorer, by_id, data),
        oracle=partial(_oracle, by_id, sites),
        random_action=random_step,
        exploits=_EXPLOITS,
        noop=Action.answer(""),
        render=render_web,
        text_rules=_TEXT_RULES,
        inspection=lambda task: {"har": True},
        progress=passed_share,
        licence="WebArena-Verified: Apache-2.0",
    )


def tasks_of(
    records: Sequence[VerifiedTask],
    sites: Mapping[str, str],
    hard: frozenset[int] | None,
    version: str,
    *,
    turns: int = 30,
    has_states: bool = False,
) -> tuple[Task, ...]:
    """Records as tasks.

    Args:
        records: what is played.
        sites: addresses by placeholder.
        hard: numbers of the hard ones, which are a split; None: they are not known.
        version: of the data.
        turns: of an episode.
        has_states: whether somebody is logged in where there is a login.
    """
    return tuple(
        Task(
            suite=NAME,
            task_id=str(record.task_id),
            instruction=f"OBJECTIVE: {at_sites(record.intent, sites)}\n\n{HOW_TO_ANSWER}",
            system=SYSTEM,
            tools=_TOOLS,
            split="all" if hard is None else "hard" if record.task_id in hard else "non-hard",
            limits=limits(turns),
            options={
                "sites": list(record.sites),
                "start_urls": list(record.start_urls),
                "storage_state": record.storage_state if has_states else None,
            },
            reference=Reference(answer=dict(record.expected)),
            metadata={
                "type": record.expected["task_type"].lower(),
                "needs": str(record.needs),
                "sites": "+".join(record.sites),
                "template": record.template,
                "revision": record.revision,
            },
            data_version=version,
        )
        for record in records
    )


def _playable(records: Sequence[VerifiedTask], chosen: VerifiedOptions) -> list[VerifiedTask]:
    if chosen.needs not in ("all", *Needs):
        msg = f"suite.options.needs={chosen.needs!r} is unknown: use all, {', '.join(Needs)}"
        raise ConfigError(msg)
    wanted = [record for record in records if chosen.needs in ("all", record.needs)]
    here = [record for record in wanted if set(record.sites) <= set(chosen.sites)]
    if not here:
        msg = (
            f"no task can be played with suite.options.sites={sorted(chosen.sites)} and "
            f"needs={chosen.needs}"
        )
        raise ConfigError(msg)
    if len(here) < len(wanted):
        missing = len(wanted) - len(here)
        logger.warning("%d of %d tasks need sites that are not there", missing, len(wanted))
    return here


async def _score(
    scorer: AsksScorer,
    records: Mapping[str, VerifiedTask],
    data: Path,
    task: Task,
    trajectory: Trajectory,
) -> Score:
    record = records[task.task_id]
    har = _kept_har(record, Path(trajectory.evidence["har"]))
    sites = {name: [url.rstrip("/")] for name, url in trajectory.after["sites"].items()}
    question = Question(data, record.task_id, trajectory.answer, har, sites)
    return await scored(scorer, record, question)


def _kept_har(record: VerifiedTask, har: Path) -> Path | None:
    if har.is_file():
        return har
    if record.needs is Needs.REQUESTS:
        raise EvalError(f"task {record.task_id} has no score: its requests are gone from {har}")
    return None


def _oracle(
    records: Mapping[str, VerifiedTask], sites: Mapping[str, str], task: Task
) -> Sequence[Action]:
    """A right answer, after visits of the pages that the task wants to be asked for.

    Solves what the answer alone decides, and navigation; what has to be sent is left out.
    """
    record = records[task.task_id]
    urls = [each["url"] for each in record.events if each.get("http_method", "GET") == "GET"]
    firsts = [url if isinstance(url, str) else url[0] for url in urls]
    visits = [Action("goto", {"url": url}) for url in firsts if url.startswith("__")]
    return (*visits, Action.answer(at_sites(right_answer(record), sites)))


def _says(**response: Any) -> Sequence[Action]:
    return (Action.answer(json.dumps(response)),)


_EXPLOITS = {
    "leaves": exploits.EXPLOITS["leaves"],
    "claims_success": lambda task: _says(
        task_type="RETRIEVE", status="SUCCESS", retrieved_data=["*", "^.*$", None]
    ),
    "breaks_the_scorer": lambda task: _says(task_type=1, status=["SUCCESS"], retrieved_data={}),
}
"""Ways to be paid for nothing. Not among them is to say that nothing was found, which is right for
24 of the 324 tasks that the answer alone decides."""


def _with_response(tool: Tool) -> Tool:
    return replace(tool, description=_STOP) if tool.name == ANSWER else tool


_TOOLS = tuple(map(_with_response, WEB_TOOLS))
