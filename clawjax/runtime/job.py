"""The main job: score held-out prompts, let the simulated user talk, score again, report.

Each part leaves its result in the run's folder, so that a run that was interrupted goes on with
the part it was in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawjax.config import RunConfig
from clawjax.config.hosts import url_of
from clawjax.config.secrets import read_key
from clawjax.envs.persona import load_persona
from clawjax.envs.user_settings import UserSettings
from clawjax.errors import ClawError
from clawjax.evals.asking import Asker
from clawjax.evals.drift import kl_from_base, logged_exchanges, policy_params
from clawjax.evals.personal import StyleResult, evaluate_style
from clawjax.evals.report import AFTER_FILE, BEFORE_FILE, RunFacts, write_report
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.load import LoadedModel, load_model
from clawjax.runtime.build import open_log
from clawjax.runtime.paths import RunPaths, read_json
from clawjax.runtime.provenance import git_sha, versions
from clawjax.runtime.supervisor import Supervisor
from clawjax.runtime.watch import Watch
from clawjax.weights import DirectoryWeightStore

if TYPE_CHECKING:
    from clawjax.models.transformer import Params

__all__ = ["personal_job", "report_run"]


async def personal_job(
    config: RunConfig, paths: RunPaths, supervisor: Supervisor, watch: Watch
) -> None:
    """Before, conversation, after. What was done in an earlier start is not done again.

    Raises:
        ClawError: the simulated user gave up.
        TimeoutError: the last weights were not served in time.
    """
    before = paths.root / BEFORE_FILE
    if not before.exists():
        watch.say(f"Scoring the base model on {config.user.held_out} held-out prompts")
        (await _evaluate(config)).save(before)
    watch.say("The simulated user starts talking")
    await _talk(config, paths, supervisor)
    # The learner stops first: the weights that are scored are the last ones.
    await asyncio.to_thread(supervisor.stop, "learn")
    newest = DirectoryWeightStore(paths.weights).latest()
    await watch.serving(0 if newest is None else newest.version)
    watch.say("Scoring the trained policy on the same prompts")
    (await _evaluate(config)).save(paths.root / AFTER_FILE)


async def _evaluate(config: RunConfig) -> StyleResult:
    asker = Asker(
        _base_url(config),
        config.model.name,
        api_key=read_key(config.gateway.api_key_env) or "none",
        concurrency=config.engine.slots,
    )
    return await evaluate_style(
        asker,
        load_persona(config.user.persona),
        n=config.user.held_out,
        seed=config.run.seed,
        temperature=config.user.temperature,
        max_tokens=config.user.max_tokens,
    )


async def _talk(config: RunConfig, paths: RunPaths, supervisor: Supervisor) -> None:
    settings = UserSettings(
        base_url=_base_url(config),
        run_dir=str(paths.root),
        parent_pid=os.getpid(),
        persona=config.user.persona,
        model=config.model.name,
        api_key_env=config.gateway.api_key_env,
        seed=config.run.seed,
        updates=config.user.updates,
        max_turns=config.user.max_turns,
        max_seconds=config.user.max_seconds,
        concurrency=config.user.concurrency,
        think_s=config.user.think_s,
        temperature=config.user.temperature,
        max_tokens=config.user.max_tokens,
    )
    file = paths.root / "user_settings.json"
    settings.write(file)
    supervisor.start(
        "user", "clawjax.envs.simulated_user", "--config", str(file), stdin="", is_restarted=False
    )
    code = await asyncio.to_thread(supervisor.wait, "user")
    if code != 0:
        msg = f"the simulated user ended with code {code}:\n{supervisor.tail('user')}"
        raise ClawError(msg)


def report_run(config: RunConfig, paths: RunPaths, objective: str) -> dict[str, Any]:
    """Measure the drift from the base model, then write the report."""
    log = open_log(config.log)
    store = DirectoryWeightStore(paths.weights)
    model = load_model(config.model, seed=config.run.seed)
    newest = store.latest()
    policy = model.params
    if newest is not None:
        policy = policy_params(model, *store.load(newest.version))
    monitor = JsonlMonitor(paths.metrics, source="evaluation")
    for name, params in ((BEFORE_FILE, model.params), (AFTER_FILE, policy)):
        _measure_drift(paths.root / name, model, params, log, monitor)
    monitor.close()
    clock = read_json(paths.clock)
    persona = load_persona(config.user.persona)
    facts = RunFacts(
        seed=config.run.seed,
        seconds=clock["seconds"],
        peak_rss_bytes=clock["peak_rss_bytes"],
        git_sha=git_sha(),
        policy_version=0 if newest is None else newest.version,
        model=config.model.name,
        persona=persona.name,
        wish=persona.description,
        objective=objective,
        reward_weights=config.reward.weights,
        versions=versions(),
    )
    report = write_report(paths.root, log, facts)
    log.close()
    return report


def _measure_drift(
    file: Path, model: LoadedModel, policy: Params, log: SqlTurnLog, monitor: JsonlMonitor
) -> None:
    """Complete an evaluation with its KL to the base, and record it; once."""
    result = StyleResult.load(file)
    if result is None or result.kl_per_token is not None:
        return
    exchanges = logged_exchanges(log, [reply.response_id for reply in result.replies])
    drift = kl_from_base(model.architecture, policy, model.params, exchanges)
    if drift is None:
        return
    dataclasses.replace(result, kl_per_token=drift.kl_per_token).save(file)
    metrics = {
        "eval/style_score": result.style_score,
        "eval/mean_words": result.mean_words,
        "eval/kl_per_token": drift.kl_per_token,
    }
    monitor.log(metrics, step=result.version)


def _base_url(config: RunConfig) -> str:
    return f"{url_of(config.gateway.host, config.gateway.port)}/v1"
