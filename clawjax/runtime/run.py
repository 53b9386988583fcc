"""One run from start to end: check, start the loops, do the job, stop them, report.

Owns the order of things. Invariants: nothing is started before every check has passed; whatever
happens, every process that was started is stopped, in order.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.envs.persona import load_persona
from clawjax.errors import ConfigError, LogError
from clawjax.files import replace_file
from clawjax.gateway.redaction import Redactor
from clawjax.learner.credit import build_credit
from clawjax.learner.describe import describe
from clawjax.metrics.mirroring import Mirroring
from clawjax.models.devices import (
    ONE_PROCESS_A_CHIP,
    SHARED_MEMORY,
    expects_gpu,
    expects_tpu,
    takes_all_memory,
)
from clawjax.models.load import load_tokenizer
from clawjax.plan import find_architecture, render_plan, require_fit
from clawjax.rendering.formats.registry import named_format
from clawjax.rewards.registry import build_rewards, by_name
from clawjax.runtime.child import configure_logging, encode_config
from clawjax.runtime.console import connection_lines
from clawjax.runtime.endpoint import bind, open_keys
from clawjax.runtime.job import personal_job, report_run
from clawjax.runtime.owning import check_owner
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.provenance import config_yaml
from clawjax.runtime.rehearsal import rehearse_model
from clawjax.runtime.scoring import finish, mirrored, unscored
from clawjax.runtime.settings import hold_settings
from clawjax.runtime.supervisor import Supervisor
from clawjax.runtime.watch import Watch
from clawjax.tasks import task_group

__all__ = ["print_objective", "print_plan", "run"]


def run(config: RunConfig) -> float | None:
    """Run what is configured; with a simulated user, return the held-out style score after.

    With `run.plan` or `run.dry` nothing is run.

    Raises:
        ConfigError: the configuration, or this machine, does not allow it; nothing was started.
        ClawError: a loop could not be kept running.
    """
    if config.run.plan:
        print_plan(config)
        return None
    if config.run.dry:
        print_objective(config)
        return None
    objective = _objective(config)
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    with unscored(paths):
        config = _checked(config, paths)
        if config.user.enabled:
            hold_settings(config, paths)
        configure_logging(paths.process_log("supervisor"))
        report: dict[str, Any] | None = None
        sys.stdout.write(objective + "\n\n")
        with _saved(config, paths), mirrored(config, paths, _shown(paths)) as mirroring:
            if asyncio.run(_supervise(config, paths, mirroring)):
                report = report_run(config, paths, objective)
                finish(paths, [report["after"]["style_score"]])
            mirroring.finish(summary=report, plot=paths.root / "report.png")
    if report is None:
        sys.stdout.write(f"Stopped. Everything is in {paths.root}; the same command resumes.\n")
        return None
    sys.stdout.write((paths.root / "report.md").read_text())
    return report["after"]["style_score"]


def print_plan(config: RunConfig) -> None:
    """Say what a run would take of its devices.

    Raises:
        ConfigError: it does not fit, or the model's shape is not known here.
    """
    plan = require_fit(find_architecture(config.model), config)
    sys.stdout.write(render_plan(plan) + "\n")


def print_objective(config: RunConfig) -> None:
    """Say what would be learnt by, once judges, persona, key and model were found to be in order.

    Raises:
        ConfigError: one of them is not.
    """
    _check_parts(config)
    rehearse_model(config)
    sys.stdout.write(_objective(config) + "\n")


def _objective(config: RunConfig) -> str:
    return describe(config.objective, config.learner, by_name(config.reward))


def _checked(config: RunConfig, paths: RunPaths) -> RunConfig:
    """Everything that can be known to fail, before anything is started; fixes the port."""
    _check_parts(config)
    _check_devices(config)
    load_tokenizer(config.model)
    try:
        check_owner(config, paths)
    except LogError as error:
        raise ConfigError(str(error)) from error
    port = bind(config.gateway)
    return dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, port=port))


def _check_devices(config: RunConfig) -> None:
    """Whether serving and learning, two processes, can share what they would compute on.

    No device is claimed by looking.

    Raises:
        ConfigError: both would need the same TPU.
    """
    if config.engine.kind != "embedded":
        return
    require(not expects_tpu(os.environ), ONE_PROCESS_A_CHIP)
    if expects_gpu(os.environ) and takes_all_memory(os.environ):
        sys.stdout.write(f"Note: {SHARED_MEMORY}\n\n")


def _check_parts(config: RunConfig) -> None:
    """What is known to fail without reading a model, opening a port or writing a file."""
    open_keys(config)
    build_rewards(config.reward, env=os.environ)
    build_credit(config.objective)
    Redactor(config.gateway.redacted)
    named_format(config.gateway.tool_parser)
    if config.user.enabled:
        load_persona(config.user.persona)


@contextmanager
def _saved(config: RunConfig, paths: RunPaths) -> Generator[None]:
    """Keep the resolved configuration beside the results, unless the run is refused for it."""
    before = paths.config.read_text() if paths.config.is_file() else None
    _save(paths.config, config_yaml(config))
    try:
        yield
    except ConfigError:
        if before is not None:
            _save(paths.config, before)
        raise


def _save(file: Path, text: str) -> None:
    """Raises ConfigError: the disk refuses; what the file held is still there."""
    try:
        replace_file(file, text)
    except OSError as error:
        msg = f"{file} cannot be written ({error.strerror}): make room there, and start again"
        raise ConfigError(msg) from error


def _shown(paths: RunPaths) -> dict[str, Any]:
    """The saved configuration."""
    container = OmegaConf.to_container(OmegaConf.load(paths.config), resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


async def _supervise(config: RunConfig, paths: RunPaths, mirroring: Mirroring) -> bool:
    """Returns whether the job was finished, rather than stopped by a signal."""
    supervisor = Supervisor(
        paths,
        config.run.max_restarts,
        config.run.max_restart_wait_s,
        max_log_bytes=config.monitor.max_file_bytes,
    )
    wire = encode_config(config)
    with Watch(config, paths, supervisor, mirroring) as watch:
        try:
            supervisor.start("serve", "clawjax.runtime.serve", stdin=wire)
            supervisor.start("learn", "clawjax.runtime.learn", stdin=wire, is_needed=False)
            async with task_group() as group:
                looking = group.create_task(watch.run())
                finished = await _until_signalled(_job(config, paths, supervisor, watch))
                looking.cancel()
            return finished
        finally:
            await asyncio.to_thread(supervisor.stop_all)


async def _job(config: RunConfig, paths: RunPaths, supervisor: Supervisor, watch: Watch) -> None:
    watch.say("Loading and compiling the model")
    await watch.serving()
    if config.user.enabled:
        await personal_job(config, paths, supervisor, watch)
        return
    watch.say(connection_lines(config, has_key=open_keys(config).is_required))
    await asyncio.Event().wait()  # until a signal


async def _until_signalled(job: Coroutine[Any, Any, None]) -> bool:
    """Await the job; an interrupt or a request to terminate cancels it."""
    task = asyncio.ensure_future(job)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    is_signalled = False

    def cancel() -> None:
        nonlocal is_signalled
        is_signalled = True
        task.cancel()

    for number in signals:
        loop.add_signal_handler(number, cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not is_signalled:
            raise
        return False
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    return True
