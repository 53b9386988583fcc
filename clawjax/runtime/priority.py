"""What training leaves of the processor to others: `learner.nice` and `learner.cpu_cores`."""

from __future__ import annotations

import os

from clawjax.config import LearnerConfig

__all__ = ["step_back"]

_BEGAN_WITH = os.nice(0)
"""Niceness of this process before anything was asked of it."""


def step_back(config: LearnerConfig) -> None:
    """Be as nice as configured, on as many cores; before jax counts them and starts its threads.

    Asked again, as by each job of a multirun, a process does not become nicer each time. Threads
    that jax has by then stay on the cores of the first job.

    Raises:
        PermissionError: `learner.nice` is lower than this user may go.
    """
    os.nice(_BEGAN_WITH + config.nice - os.nice(0))
    if config.cpu_cores is not None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-config.cpu_cores :])
