"""Does a learner that was killed on the way arrive at the same weights, bit for bit?

One recorded log, learnt from twice in real processes: once undisturbed, once with `kill -9` at
random moments. Compared are the weight files of every version, and which turn went into which.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from _config import composed
from _loops import served_version

from clawjax.config import RunConfig
from clawjax.log.store import SqlTurnLog
from clawjax.runtime.build import open_log
from clawjax.runtime.child import encode_config
from clawjax.runtime.endpoint import bind
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.supervisor import Supervisor
from clawjax.weights import DirectoryWeightStore

from .talking import ask, connected, messages_of

__all__ = ["Comparison", "compare", "resumed"]

_BATCH = 4
OVERRIDES = (
    "experiment=serve",
    "model=tiny",
    "engine=tiny",
    "learner=tiny",
    f"learner.batch_turns={_BATCH}",
    f"learner.min_turns={_BATCH}",
    "learner.max_staleness=1000",
    "run.max_restarts=1000",
    "run.max_restart_wait_s=0",
)
"""A step takes the next whole batch, whenever the learner looks."""
_TOKENS = 24
_TIMEOUT_S = 900.0
_POLL_S = 0.05
_LONGEST_LIFE_S = 1.5
"""Within so long of a new version, or of its start, the learner is killed."""


class Learnt(NamedTuple):
    """What a learner made of a log."""

    weights: dict[int, str]
    """Digest of each version's tensors."""
    trained: dict[str, int]
    """Version by turn."""
    kills: int


class Comparison(NamedTuple):
    """Two of them."""

    versions: int
    turns: int
    kills: int
    different_versions: int
    different_turns: int

    def as_row(self) -> dict[str, Any]:
        """A result's row."""
        return {"case": "resume", **self._asdict()}


def resumed(folder: Path, *, steps: int, kills: int, seed: int) -> Comparison:
    """Record a log, learn from it without and with kills, and compare."""
    recorded = folder / "recorded"
    _record(recorded, steps * _BATCH)
    undisturbed = _learn(recorded, folder / "undisturbed", steps, 0, seed)
    disturbed = _learn(recorded, folder / "disturbed", steps, kills, seed)
    return compare(undisturbed, disturbed)


def compare(one: Learnt, other: Learnt) -> Comparison:
    """Count what is in one of them, or differs."""

    def different(a: dict, b: dict) -> int:
        return sum(a.get(key) != b.get(key) for key in a.keys() | b.keys())

    return Comparison(
        versions=len(one.weights),
        turns=len(one.trained),
        kills=other.kills,
        different_versions=different(one.weights, other.weights),
        different_turns=different(one.trained, other.trained),
    )


def _config(folder: Path, *overrides: str) -> RunConfig:
    cache = f"engine.compilation_cache={folder.parent / 'xla'}"
    return composed(folder, *OVERRIDES, cache, "gateway.port=0", *overrides)


def _record(folder: Path, turns: int) -> None:
    """Have so many replies given and rated, with nobody to learn from them."""
    config = _config(folder)
    config.gateway.port = bind(config.gateway)
    paths = RunPaths(folder)
    paths.prepare()
    base_url = f"http://127.0.0.1:{config.gateway.port}/v1"
    with _supervised(paths) as supervisor:
        supervisor.start("serve", "clawjax.runtime.serve", stdin=encode_config(config))
        _until(supervisor, lambda: served_version(base_url) is not None)
        asyncio.run(_talk(base_url, turns))
        log = open_log(config.log)
        try:
            _until(supervisor, lambda: len(log.judged(limit=turns + 1)) == turns)
        finally:
            log.close()


async def _talk(base_url: str, turns: int) -> None:
    async with connected(base_url, 1) as client:
        for number in range(turns):
            body = {"model": "tiny", "messages": messages_of(number), "max_tokens": _TOKENS}
            answer = await ask(client, body | {"seed": number})
            rating = {"response_id": answer.response_id, "thumbs": ("up", "down")[number % 2]}
            (await client.post("/feedback", json=rating)).raise_for_status()


def _learn(recorded: Path, folder: Path, steps: int, kills: int, seed: int) -> Learnt:
    """Learn from a copy of the log until all is learnt."""
    folder.mkdir()
    for file in recorded.glob("turns.db*"):
        shutil.copy2(file, folder)
    config, paths = _config(folder, f"learner.max_steps={steps}"), RunPaths(folder)
    paths.prepare()
    store, log = DirectoryWeightStore(paths.weights), open_log(config.log)
    try:
        with _supervised(paths) as supervisor:
            supervisor.start("learn", "clawjax.runtime.learn", stdin=encode_config(config))
            killed = _kill_now_and_then(supervisor, store, kills, random.Random(seed))
            _until(supervisor, lambda: log.counts().trained == steps * _BATCH)
        return Learnt(_digests(store), _trained(log), killed)
    finally:
        log.close()


def _kill_now_and_then(
    supervisor: Supervisor, store: DirectoryWeightStore, kills: int, rng: random.Random
) -> int:
    """One kill after each of the first versions, at a random moment of the step that follows."""
    for number in range(kills):
        _until(supervisor, lambda n=number: len(store.versions()) > n)
        time.sleep(rng.uniform(0.0, _LONGEST_LIFE_S))
        os.kill(supervisor.pid("learn"), signal.SIGKILL)
        supervisor.wait("learn")
        supervisor.poll()
    return kills


def _digests(store: DirectoryWeightStore) -> dict[int, str]:
    return {
        found.version: hashlib.sha256(
            b"".join(file.read_bytes() for file in sorted(found.path.glob("*.safetensors")))
        ).hexdigest()
        for found in store.versions()
    }


def _trained(log: SqlTurnLog) -> dict[str, int]:
    return {
        turn_id: outcome.trained_version
        for turn_id, outcome in log.outcomes().items()
        if outcome.trained_version is not None
    }


@contextmanager
def _supervised(paths: RunPaths) -> Generator[Supervisor]:
    supervisor = Supervisor(paths, max_restarts=1000, max_restart_wait_s=0.0)
    try:
        yield supervisor
    finally:
        supervisor.stop_all()


def _until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not holds():
        supervisor.poll()
        if time.monotonic() > deadline:
            msg = f"nothing happened for {_TIMEOUT_S:g} s: see {supervisor.paths.root / 'logs'}"
            raise TimeoutError(msg)
        time.sleep(_POLL_S)
