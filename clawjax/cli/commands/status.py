"""Say what a run is doing, and whether it learns: loops, turns, version, praise, keys.

    clawjax status runs/serve
    clawjax status runs/serve --json
    clawjax status runs/serve --log "$CLAWJAX_LOG_URL"    (with log=postgres)

Exit code 0 while replies can be sampled, 1 otherwise. Works on runs that have stopped as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clawjax.cli.learning import describe_learning, learning_lines
from clawjax.cli.run_config import base_url, kept_config, other_run, read_health
from clawjax.cli.run_log import LOG_FILE, open_log
from clawjax.config import RunConfig
from clawjax.errors import LogError
from clawjax.keys import KEY_FILE, KeyFile
from clawjax.log.store import SqlTurnLog
from clawjax.texts import clean
from clawjax.weights import DirectoryWeightStore, Lineage

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the form."""
    parser.add_argument("run", type=Path, help="the run's folder, e.g. runs/serve")
    parser.add_argument("--log", metavar="URL", help="the turn log, where it is not in that folder")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print it."""
    status = _status(options)
    if options.json:
        sys.stdout.write(json.dumps(status) + "\n")
    else:
        sys.stdout.writelines(f"{clean(line)}\n" for line in _lines(status))
    return 0 if status["is_serving"] else 1


def _status(options: argparse.Namespace) -> dict[str, Any]:
    folder: Path = options.run
    config = kept_config(folder)
    health = read_health(config) or {}
    other = other_run(health, config)
    if other is not None:
        health = {}
    loops = health.get("loops") or _processes(folder)
    return {
        "run": str(folder),
        "url": base_url(config),
        "is_serving": bool(health.get("ok", False)),
        "served_there": other,
        "model": config.model.name,
        "objective": config.objective.name,
        "engine": health.get("engine", {}),
        "loops": {name: loop.get("state") for name, loop in loops.items()},
        "reasons": {name: loop["reason"] for name, loop in loops.items() if loop.get("reason")},
        **_of_the_log(options, config, health),
        "weights": _weights(folder, health.get("version")),
        "hacking": _hacking(folder),
        "live_keys": sum(key.revoked_at is None for key in KeyFile(folder / KEY_FILE).read()),
    }


def _processes(folder: Path) -> dict[str, dict[str, Any]]:
    """Those that were not running when the run's supervisor last looked."""
    told = _kept(folder / "processes.json")
    return {name: state for name, state in told.items() if state["state"] != "running"}


def _kept(file: Path) -> dict[str, Any]:
    """What a file of the run's has; empty where it is not there, or a power cut emptied it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _of_the_log(
    options: argparse.Namespace, config: RunConfig, health: Mapping[str, Any]
) -> dict[str, Any]:
    """Balance and learning; an endpoint that answers says the balance of a log that is elsewhere.

    Raises:
        LogError: the log is there, cannot be read, and nobody else knows.
    """
    counts = health.get("counts")
    try:
        with _log(options) as log:
            counts = counts or ({} if log is None else log.counts()._asdict())
            learning = describe_learning(options.run, config, log)
            return {"turns": counts, "learning": learning, "unread": None}
    except LogError as error:
        if not counts:
            raise
        learning = describe_learning(options.run, config, None)
        return {"turns": counts, "learning": learning, "unread": str(error)}


@contextmanager
def _log(options: argparse.Namespace) -> Generator[SqlTurnLog | None]:
    """The run's turn log, to be read; None where it is not in the folder and none was named."""
    if options.log is None and not (options.run / LOG_FILE).is_file():
        yield None
        return
    log = open_log(options, is_read_only=True)
    try:
        yield log
    finally:
        log.close()


def _weights(folder: Path, served: int | None) -> dict[str, int]:
    """What was put into the store; what it points to is served where nobody says what is."""
    if not (folder / "weights").is_dir():
        return {"served": served or 0, "made": 0, "refused": 0}
    store = DirectoryWeightStore(folder / "weights")
    lineage, latest = Lineage.of_store(store), store.latest()
    if served is None:
        served = 0 if latest is None else latest.version
    return {"served": served, "made": lineage.newest, "refused": len(lineage.refused)}


def _hacking(folder: Path) -> dict[str, Any] | None:
    """What the run's watch found last; None where there was too little to look at."""
    return _kept(folder / "hack_watch.json") or None


def _lines(status: dict[str, Any]) -> Iterator[str]:
    is_there = status["is_serving"] or bool(status["engine"])
    state = "serving" if status["is_serving"] else "not able to answer" if is_there else "not there"
    trouble = status["engine"].get("trouble")
    if status["is_serving"] and trouble:
        state = "serving, degraded"
    yield f"{status['run']}: {state}, {status['url']}, {status['model']}, {status['objective']}"
    if status["served_there"] is not None:
        yield f"  port     the run {status['served_there']} answers there"
    if engine := status["engine"]:
        yield (
            f"  engine   {engine['running']} running, {engine['waiting']} waiting, "
            f"{engine['slots']} slots, {engine['tokens_per_s']} tokens/s{_known(engine)}"
        )
    if trouble:
        yield f"           {trouble}"
    if loops := status["loops"]:
        yield "  loops    " + ", ".join(f"{name} {state}" for name, state in loops.items())
    for name, reason in status["reasons"].items():
        yield f"           {name}: {reason}"
    if turns := status["turns"]:
        dropped = sum(turns["dropped"].values())
        yield (
            f"  turns    {turns['logged']} logged, {turns['trained']} trained, "
            f"{dropped} dropped, {turns['pending']} pending"
        )
    weights = status["weights"]
    yield (
        f"  weights  version {weights['served']} served, {weights['made']} made, "
        f"{weights['refused']} refused"
    )
    yield from learning_lines(status["learning"])
    if status["unread"] is not None:
        yield f"  log      {status['unread']}"
    if hacking := status["hacking"]:
        state = "may be gamed" if hacking["is_alarm"] else "no alarm"
        yield f"  reward   {state}: {hacking['said']}"
    yield f"  keys     {status['live_keys']} live in {KEY_FILE}"


def _known(engine: dict[str, Any]) -> str:
    """How much of the prompts need not be read, where there were any."""
    rate = engine.get("prefix_hit_rate")
    return "" if rate is None else f", {rate:.0%} of prompt tokens known before"
