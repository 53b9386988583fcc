"""The learning process: `python -m clawjax.runtime.learn`, configuration on standard input."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from clawjax.config import RunConfig
from clawjax.errors import ConfigError, LearnerError
from clawjax.evals.material import fixed_text
from clawjax.learner.build import build_learner
from clawjax.learner.loop import Learner
from clawjax.log.store import SqlTurnLog
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.models.devices import expects_tpu, say_devices
from clawjax.models.load import load_model
from clawjax.models.processes import (
    any_of,
    come_together,
    is_leader,
    led,
    led_call,
    one_fate,
)
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.child import parent_is_alive, run_child
from clawjax.runtime.owning import open_own_log
from clawjax.runtime.paths import RunPaths, note_json
from clawjax.runtime.priority import step_back
from clawjax.weights import DirectoryWeightStore

__all__ = ["learn"]

_PREDECESSOR_S = 900.0
"""How long the step may take that a learner without supervisor is still in."""


class Pulse:
    """Asks the learner to stop, and leaves a heartbeat each time it looks.

    Of several processes all stop when one of them is asked to; the first leaves the heartbeat.
    """

    def __init__(self, paths: RunPaths, *, is_noted: bool) -> None:
        """Beat into the run's folder, if it is to be noted there."""
        self._paths = paths
        self._is_noted = is_noted
        self._stopped = threading.Event()

    def set(self) -> None:
        """Stop after the step under way."""
        self._stopped.set()

    def is_set(self) -> bool:
        """Whether to stop; also when a supervisor is gone. All processes have to ask."""
        self._note()
        return any_of(self._stopped.is_set() or not parent_is_alive(), "stop")

    def give_up(self, reason: str) -> None:
        """Leave word that nothing more will be learnt, and why."""
        self._note(stopped=reason)

    def wait(self, timeout: float) -> bool:
        """Sleep, but not past the wish to stop."""
        return self._stopped.wait(timeout)

    def _note(self, **more: str) -> None:
        if self._is_noted:
            status = {"pid": os.getpid(), "at": time.time()} | more
            note_json(self._paths.learner_status, status)


def learn(config: RunConfig, paths: RunPaths) -> None:
    """Train until told to stop; a step that has begun is finished.

    A learner whose supervisor was killed is waited for: two would train the same turns.
    """
    step_back(config.learner)
    come_together(config.learner.distributed)
    with one_fate(config.learner.distributed), _alone(config, paths):
        pulse = Pulse(paths, is_noted=_leads(config))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: pulse.set())
        _learn(config, paths, pulse)


def _learn(config: RunConfig, paths: RunPaths, pulse: Pulse) -> None:
    use_compilation_cache(config)
    say_devices("the learner", used=_used(config), is_tpu_expected=expects_tpu(os.environ))
    if _leads(config):
        limit = config.monitor.max_file_bytes
        monitor = JsonlMonitor(paths.metrics, source="learner", max_bytes=limit)
        log = open_own_log(config, paths)
    else:
        log, monitor = None, None
    learner = _build(config, paths, log, monitor)
    try:
        learner.run(pulse)
    except LearnerError as error:
        pulse.give_up(str(error))
        raise
    while not pulse.is_set():  # all steps taken: keep the process, or it would be started again
        pulse.wait(1.0)
    if monitor is not None and log is not None:
        monitor.close()
        log.close()


def _used(config: RunConfig) -> int | None:
    """Devices of the learner's mesh; None where it takes what there is."""
    sizes = config.learner.mesh.sizes().values()
    return None if -1 in sizes else math.prod(sizes)


def _alone(config: RunConfig, paths: RunPaths) -> AbstractContextManager[None]:
    """Hold the run for this learner; of several processes, the leader does."""
    if not _leads(config):
        return nullcontext()
    return paths.locked("learner.lock", wait_s=_PREDECESSOR_S)


def _leads(config: RunConfig) -> bool:
    return not config.learner.distributed.enabled or is_leader()


def _build(
    config: RunConfig, paths: RunPaths, log: SqlTurnLog | None, monitor: JsonlMonitor | None
) -> Learner:
    """Resume the run's learner; log and monitor are the leader's.

    Raises:
        ConfigError: the folder's checkpoints are of another model or method.
    """
    store = DirectoryWeightStore(paths.weights, keep=config.learner.keep_versions)
    try:
        return build_learner(
            model=load_model(config.model, seed=config.run.seed, mesh=config.learner.mesh),
            objective=config.objective,
            learner=config.learner,
            reward=config.reward,
            log=led(log, "log"),
            store=led(store, "store", own=("load",)),
            monitor=led(monitor, "monitor"),
            run_dir=paths.root,
            seed=config.run.seed,
            fixed_text=fixed_text(),
            engine=config.engine,
            gateway=config.gateway,
            clock=led_call(time.time, "clock"),
            profile_steps=config.run.profile_steps,
        )
    except LearnerError as error:
        raise ConfigError(str(error)) from error


if __name__ == "__main__":
    run_child(learn)
