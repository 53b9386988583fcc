"""Suites of tasks, played by one agent: episodes, reports, metrics, one table.

Each suite has a folder of its own in the run's; the same command goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clawjax.config import RunConfig, SuiteConfig
from clawjax.config.additions import drop_unset_additions
from clawjax.errors import EvalError, UnavailableError
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode, Selection, run, select
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.reporting import read_prices, write_report
from clawjax.evals.reporting.markdown import render_overview
from clawjax.evals.suites import build_suite
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.runtime.agents import Measured, open_agents
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.scoring import RunningScore, finish, mirrored_scores, unscored

__all__ = ["check_task_suites", "run_task_suites"]

logger = logging.getLogger(__name__)


def run_task_suites(config: RunConfig, suites: Sequence[SuiteConfig]) -> list[dict[str, Any]]:
    """Play each of `suites` with the agent of `config`; their summaries.

    The mean of their scores is the evaluation's (`score.json`).

    Of several, those that this machine cannot play are left out, and the log says why.

    Raises:
        ConfigError: an unknown suite or agent, data that is missing, a folder of something else, or
            none of the suites can be played.
        EvalError: more than `max_error_share` of a suite's episodes broke down; its reports are
            written all the same.
    """
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    with unscored(paths), mirrored_scores(config, paths) as forward:
        summaries = asyncio.run(_run(config, suites, paths, forward))
        finish(paths, [summary["score"]["value"] for summary in summaries])
    return summaries


def check_task_suites(config: RunConfig, suites: Sequence[SuiteConfig]) -> list[Suite]:
    """Those of `suites` that this machine can play, each with tasks that it has; says which not.

    Raises:
        ConfigError: an unknown suite, option or task, data that is missing, or none of the suites
            can be played.
    """
    lacking: dict[str, UnavailableError] = {}
    playable: list[Suite] = []
    for chosen in suites:
        try:
            suite = build_suite(chosen.name, chosen.options)
        except UnavailableError as missing:
            lacking[chosen.name] = missing
            sys.stdout.write(f"{chosen.name} would not be played: {missing}\n")
            continue
        select(suite.tasks, _selection(config, chosen))
        playable.append(suite)
    _check_any(suites, lacking)
    return playable


async def _run(
    config: RunConfig,
    suites: Sequence[SuiteConfig],
    paths: RunPaths,
    forward: Callable[[], object],
) -> list[dict[str, Any]]:
    monitor = JsonlMonitor(paths.metrics, source="evaluation")
    running = RunningScore(monitor, forward)
    played: list[SuiteConfig] = []
    reasons: list[str] = []
    summaries: list[dict[str, Any]] = []
    lacking: dict[str, UnavailableError] = {}
    try:
        async with open_agents(config) as measured:
            for chosen in suites:
                try:
                    summary, reason = await _one(config, chosen, measured, paths, running)
                except UnavailableError as missing:
                    lacking[chosen.name] = missing
                    logger.warning("%s is not played: %s", chosen.name, missing)
                    continue
                played.append(chosen)
                reasons.append(reason)
                summaries.append(summary)
                monitor.log(_metrics(summary), step=measured.version)
    finally:
        monitor.close()
    _check_any(suites, lacking)
    overview = render_overview(summaries)
    (paths.root / "results.md").write_text(overview, encoding="utf-8")
    sys.stdout.write(overview)
    for chosen, summary, reason in zip(played, summaries, reasons, strict=True):
        if summary["error_share"] > chosen.max_error_share:
            page = paths.root / summary["suite"] / "report.html"
            msg = (
                f"{summary['error_share']:.0%} of the episodes of {chosen.name} broke down, over "
                f"suite.max_error_share={chosen.max_error_share}: {reason}; each is in "
                f"{page}, and the same command plays them again"
            )
            raise EvalError(msg)
    return summaries


def _check_any(suites: Sequence[SuiteConfig], lacking: Mapping[str, UnavailableError]) -> None:
    """Refuse an evaluation of which nothing can be played here."""
    if len(lacking) < len(suites):
        return
    if len(suites) == 1:
        raise lacking[suites[0].name]
    told = "\n".join(f"- {name}: {missing}" for name, missing in lacking.items())
    msg = f"this machine can play none of suite.suites=[{', '.join(lacking)}]:\n{told}"
    raise UnavailableError(msg)


async def _one(
    config: RunConfig,
    chosen: SuiteConfig,
    measured: Measured,
    paths: RunPaths,
    running: RunningScore,
) -> tuple[dict[str, Any], str]:
    """The suite's summary, and why most of its unscored episodes are."""
    limits = chosen.limits.given()
    suite = _within(limits, build_suite(chosen.name, chosen.options))
    store = EpisodeStore(paths.root / suite.name)
    selection = _selection(config, chosen)
    settings = _settings(config, chosen, measured.version)
    async with measured.agent(suite) as agent:
        episodes = await run(
            suite,
            agent,
            store,
            selection,
            concurrency=chosen.concurrency,
            settings=settings,
            on_score=lambda score: running.add(score.value),
        )
    summary = write_report(suite, episodes, store, prices=read_prices(settings["agent"]))
    return summary, _commonest_failure(episodes)


def _commonest_failure(episodes: Sequence[Episode]) -> str:
    """What most of those said that have no score; empty where all have one."""
    told = Counter(
        (each.score.error or each.score.explanation).partition("\n")[0]
        for each in episodes
        if each.score.value is None
    )
    if not told:
        return ""
    (reason, count), *others = told.most_common()
    return reason if not others else f"{reason} ({count} of {told.total()})"


def _selection(config: RunConfig, chosen: SuiteConfig) -> Selection:
    return Selection(
        task_ids=tuple(chosen.tasks),
        split=chosen.split,
        limit=chosen.limit,
        trials=chosen.trials,
        seed=config.run.seed,
    )


def _settings(config: RunConfig, chosen: SuiteConfig, version: int | None) -> dict[str, Any]:
    """What decides how episodes go, for the manifest.

    Of a policy, also which model and version it is: its name may be another's as well. Manifests
    that left it out are refused, as nothing tells whose episodes they are about.
    """
    found: dict[str, Any] = {"suite": chosen.options, "agent": dataclasses.asdict(config.agent)}
    if ":" in chosen.name:
        found["path"] = chosen.name
    if limits := chosen.limits.given():
        found["limits"] = limits
    if config.agent.kind == "policy":
        found["model"] = dataclasses.asdict(config.model)
        found["version"] = version
        engine = config.engine
        found["engine"] = {"weights_dtype": engine.weights_dtype, "cache_dtype": engine.cache_dtype}
        drop_unset_additions(found)
    return found


def _within(limits: Mapping[str, Any], suite: Suite) -> Suite:
    """The suite with these limits in place of its own."""
    tasks = [
        dataclasses.replace(task, limits=dataclasses.replace(task.limits, **limits))
        for task in suite.tasks
    ]
    return dataclasses.replace(suite, tasks=tuple(tasks))


def _metrics(summary: dict[str, Any]) -> dict[str, float]:
    episodes = summary["episodes"]
    found = {
        "success": summary["success"]["value"],
        "score": summary["score"]["value"],
        "unscored": summary["unscored"] / episodes if episodes else None,
    }
    name = summary["suite"]
    return {f"suite/{name}/{key}": value for key, value in found.items() if value is not None}
