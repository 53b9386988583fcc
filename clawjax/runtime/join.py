"""The part of a learner that a further host does: started, started again when it dies, ended.

Invariant: when one of a learner's processes dies, all of them end, and each host starts its own
again; they come together and go on from the checkpoint.
"""

from __future__ import annotations

import socket
import sys

from clawjax.config import DistributedConfig, RunConfig
from clawjax.errors import ClawError
from clawjax.runtime.child import encode_config
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.supervisor import Supervisor
from clawjax.stopping import stop_signals

__all__ = ["join"]

_POLL_S = 0.5


def join(config: RunConfig, paths: RunPaths) -> None:
    """Learn as one of several processes until all of them end, or this one is told to stop.

    Raises:
        ConfigError: the configuration cannot run, or the others do not come.
        ClawError: it died too often, or does not trust its own step.
    """
    paths.prepare()
    name = _name(config.learner.distributed)
    supervisor = Supervisor(
        paths, config.run.max_restarts, config.run.max_restart_wait_s, is_noted=False
    )
    with stop_signals() as stopped:
        where = paths.process_log(name)
        sys.stdout.write(f"Learning with other hosts; what it says is in {where}\n")
        sys.stdout.flush()
        supervisor.start(name, "clawjax.runtime.learn", stdin=encode_config(config), may_end=True)
        try:
            while not (supervisor.has_ended(name) or stopped.wait(_POLL_S)):
                supervisor.poll()
            reason = supervisor.left_stopped(name)
        finally:
            supervisor.stop_all()
    if reason:
        raise ClawError(reason)


def _name(config: DistributedConfig) -> str:
    """All write to one folder: a host's name, or the process's number where that is given."""
    who = socket.gethostname() if config.process_id is None else str(config.process_id)
    return f"learn-{who}"
