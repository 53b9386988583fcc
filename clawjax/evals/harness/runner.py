"""A suite played by an agent: which episodes, how many at once, what is still missing.

Invariant: an episode that is on record is not played again, unless it was not the agent's doing how
it ended; every trajectory on record has a score of the suite's present version. A scorer that
broke down is asked again by the next run, and takes no score away.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from clawjax.errors import ConfigError
from clawjax.evals.harness.episode import play
from clawjax.evals.harness.outcome import RETRIED, UNSCORED, Outcome
from clawjax.evals.harness.process import EnvironmentPool
from clawjax.evals.harness.protocols import Agent, Suite
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Task
from clawjax.evals.harness.trajectory import Score, Trajectory

__all__ = ["Episode", "Selection", "on_record", "rescore", "run", "score", "select"]

logger = logging.getLogger(__name__)

_TRACE_CHARACTERS = 2000


class Episode(NamedTuple):
    """A task as it was played, and what came of it."""

    task: Task
    trajectory: Trajectory
    score: Score


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks, and how often."""

    task_ids: tuple[str, ...] = ()
    """These only; empty: all."""
    split: str | None = None
    limit: int | None = None
    """A quick look: so many, always the same ones, spread over the suite."""
    trials: int = 1
    seed: int = 0


def select(tasks: Sequence[Task], selection: Selection) -> list[Task]:
    """The tasks of a selection, in the suite's order.

    Raises:
        ConfigError: a task that does not exist, or nothing is left.
    """
    known = {task.task_id for task in tasks}
    for task_id in selection.task_ids:
        if task_id not in known:
            msg = f"suite.tasks names {task_id!r}, which is unknown, e.g. {sorted(known)[:3]}"
            raise ConfigError(msg)
    found = [
        task
        for task in tasks
        if (not selection.task_ids or task.task_id in selection.task_ids)
        and selection.split in (None, task.split)
    ]
    if not found:
        splits = sorted({task.split for task in tasks})
        msg = f"suite.split={selection.split} leaves no task: use one of {splits}"
        raise ConfigError(msg)
    if selection.limit is None or selection.limit >= len(found):
        return found
    by_hash = sorted(found, key=lambda task: hashlib.sha256(task.task_id.encode()).digest())
    kept = {task.task_id for task in by_hash[: selection.limit]}
    return [task for task in found if task.task_id in kept]


async def run(
    suite: Suite,
    agent: Agent,
    store: EpisodeStore,
    selection: Selection,
    *,
    concurrency: int = 4,
    settings: Mapping[str, Any] | None = None,
    on_score: Callable[[Score], None] = lambda score: None,
    pool: EnvironmentPool | None = None,
) -> list[Episode]:
    """Play and score what is missing.

    Args:
        suite: what is played.
        agent: by whom.
        store: where it is kept; one that holds part of the same evaluation is gone on with.
        selection: which tasks, how often.
        concurrency: episodes at once.
        settings: of the agent, for the manifest.
        on_score: told of each score in the order of the selection, as soon as those before it
            are there: after as many scores, two runs have played the same tasks.
        pool: environments of this suite that somebody else ends; None: some for this run.

    Returns:
        All episodes of the selection, by task and trial.

    Raises:
        ConfigError: the selection is empty, or the store holds another evaluation.
    """
    tasks = select(suite.tasks, selection)
    store.claim(
        {
            "suite": suite.name,
            "suite_version": suite.version,
            "data_version": sorted({task.data_version for task in suite.tasks}),
            "agent": agent.name,
            "settings": dict(settings or {}),
            "seed": selection.seed,
        }
    )
    wanted = [(task, trial) for trial in range(selection.trials) for task in tasks]
    held = store.trajectories()
    missing = [
        (task, trial, _next_attempt(held.get((task.task_id, trial))))
        for task, trial in wanted
        if _is_missing(held.get((task.task_id, trial)))
    ]
    again = {(task.task_id, trial) for task, trial, _ in missing}
    kept = [(task, trial) for task, trial in wanted if (task.task_id, trial) not in again]
    told = _InOrder(wanted, on_score)
    for episode in await _collect(suite, store, kept, asks_again=True):
        told.add(episode.task, episode.trajectory.trial, episode.score)
    async with AsyncExitStack() as exits:
        if pool is None:
            pool = await exits.enter_async_context(EnvironmentPool.open(suite.launch, concurrency))
        await _play_all(suite, agent, store, missing, selection.seed, concurrency, told, pool)
    return await _collect(suite, store, wanted)


async def rescore(suite: Suite, store: EpisodeStore) -> list[Episode]:
    """Score everything on record again, without playing anything.

    Where the scorer breaks down, a score of the same version stays.
    """
    by_id = {task.task_id: task for task in suite.tasks}
    held, episodes, failed = store.scores(), [], 0
    for each in store.trajectories().values():
        if each.task_id not in by_id:
            continue
        made = await score(suite, by_id[each.task_id], each)
        if made.error is not None:
            failed += 1
            version, earlier = held.get((*each.key, each.attempt), (None, made))
            made = earlier if version == suite.version else made
        episodes.append(Episode(by_id[each.task_id], each, made))
    if failed:
        told = "%s: %d of %d episodes could not be scored; scores of version %s are kept"
        logger.warning(told, suite.name, failed, len(episodes), suite.version)
    store.replace_scores(((each.trajectory, each.score) for each in episodes), suite.version)
    return episodes


def on_record(suite: Suite, store: EpisodeStore) -> list[Episode]:
    """Episodes with the scores that they have; those without one are left out."""
    by_id = {task.task_id: task for task in suite.tasks}
    scores = store.scores()
    return [
        Episode(by_id[each.task_id], each, found[1])
        for each in store.trajectories().values()
        if (found := scores.get((*each.key, each.attempt))) and each.task_id in by_id
    ]


async def score(suite: Suite, task: Task, trajectory: Trajectory) -> Score:
    """What the suite makes of an episode; a scorer that breaks down makes it unscored, not 0."""
    if trajectory.outcome in UNSCORED:
        return Score(None, explanation=f"{trajectory.outcome}: {trajectory.detail}")
    is_final = trajectory.outcome is Outcome.COMPLETED or (
        suite.scores_unfinished
        and trajectory.outcome is not Outcome.BROKE_ENVIRONMENT
        and not trajectory.is_lost
    )
    if not is_final:
        return Score(0.0, explanation=f"ended by {trajectory.outcome}: {trajectory.detail}")
    try:
        return _checked(await suite.scorer(task, trajectory))
    except Exception as error:  # the boundary: it becomes a scorer error of this episode
        logger.exception("%s cannot score %s", suite.name, task.task_id)
        trace = traceback.format_exc()[-_TRACE_CHARACTERS:]
        return Score(None, error=f"{type(error).__name__}: {error}\n{trace}")


def _checked(made: Score) -> Score:
    """NaN and infinities are no scores, and no JSON."""
    given = {"the score": made.value, "the judge's opinion": made.judged, **made.parts}
    for name, value in given.items():
        if value is not None and not math.isfinite(value):
            return Score(None, error=f"{name} is {value}, where a number in [0, 1] has to be")
    return made


class _InOrder:
    """Scores as they come, told in the order that they are wanted in."""

    def __init__(
        self, wanted: Iterable[tuple[Task, int]], on_score: Callable[[Score], None]
    ) -> None:
        self._ahead = deque((task.task_id, trial) for task, trial in wanted)
        self._early: dict[tuple[str, int], Score] = {}
        self._on_score = on_score

    def add(self, task: Task, trial: int, score: Score) -> None:
        """Tell it, and those that waited for it, unless it has to wait itself."""
        self._early[task.task_id, trial] = score
        while self._ahead and self._ahead[0] in self._early:
            self._on_score(self._early.pop(self._ahead.popleft()))


async def _play_all(
    suite: Suite,
    agent: Agent,
    store: EpisodeStore,
    missing: Sequence[tuple[Task, int, int]],
    seed: int,
    concurrency: int,
    told: _InOrder,
    pool: EnvironmentPool,
) -> None:
    session = hashlib.sha256(str(store.folder.resolve()).encode()).hexdigest()[:12]
    gate = asyncio.Semaphore(concurrency)

    async def one(task: Task, trial: int, attempt: int) -> None:
        async with gate:
            trajectory = await play(
                suite,
                task,
                agent,
                pool,
                trial=trial,
                attempt=attempt,
                seed=_episode_seed(seed, task.task_id, trial),
                session=session,
                folder=store.episode(task.task_id, trial, attempt),
                keep=store.keep,
            )
            made = await score(suite, task, trajectory)
            store.keep_score(trajectory, made, suite.version)
            told.add(task, trial, made)
            _tell(trajectory)

    async with asyncio.TaskGroup() as group:
        for task, trial, attempt in missing:
            group.create_task(one(task, trial, attempt))


def _tell(trajectory: Trajectory) -> None:
    """How an episode ended; at once and aloud where that was nobody's doing."""
    ended = f"{trajectory.suite} {trajectory.task_id} {trajectory.trial}: {trajectory.outcome}"
    if trajectory.outcome in UNSCORED:
        logger.warning("%s: %s", ended, trajectory.detail.partition("\n")[0])
    else:
        logger.info("%s", ended)


async def _collect(
    suite: Suite,
    store: EpisodeStore,
    wanted: Iterable[tuple[Task, int]],
    *,
    asks_again: bool = False,
) -> list[Episode]:
    """Episodes on record, scored where that is missing; `asks_again`: or where it failed."""
    held, scores = store.trajectories(), store.scores()
    episodes = []
    for task, trial in wanted:
        trajectory = held[task.task_id, trial]
        found = scores.get((task.task_id, trial, trajectory.attempt))
        is_failed = asks_again and found is not None and found[1].error is not None
        if found is None or found[0] != suite.version or is_failed:
            made = await score(suite, task, trajectory)
            store.keep_score(trajectory, made, suite.version)
        else:
            made = found[1]
        episodes.append(Episode(task, trajectory, made))
    return episodes


def _is_missing(trajectory: Trajectory | None) -> bool:
    return trajectory is None or trajectory.outcome in RETRIED


def _next_attempt(trajectory: Trajectory | None) -> int:
    return 0 if trajectory is None else trajectory.attempt + 1


def _episode_seed(seed: int, task_id: str, trial: int) -> int:
    return random.Random(f"episode:{seed}:{task_id}:{trial}").randrange(2**31)
