"""tau2's published tasks: reference runs by our tools, beside the states that upstream's leave.

Invariant: a run is a whole episode, in an environment's own process, scored by the suite's scorer;
only the user is silent.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from clawjax.evals.agents.scripted import oracle_agent
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.suites.tau.suite import build

__all__ = ["agreeing_tasks", "published_suite"]


def published_suite(domain: str) -> Suite:
    """All published tasks of `airline` or `retail`.

    Raises:
        UnavailableError: the package `inspect-evals` is not installed.
    """
    return build({"domain": domain, "silent_users": True})


def agreeing_tasks(suite: Suite, states: Mapping[str, str]) -> set[str]:
    """Tasks whose reference run scores 1 and ends in a given state.

    Args:
        suite: whose tasks are played.
        states: digest of the database by task.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(Path(folder))
        episodes = asyncio.run(run(suite, oracle_agent(suite), store, Selection(), concurrency=1))
    return {
        task.task_id
        for task, trajectory, score in episodes
        if score.value == 1.0 and trajectory.after["hash"] == states.get(task.task_id)
    }
