"""Take turns out of a run's log: of a session, of a key, or older than so many days.

    clawjax forget runs/serve --session trip-to-rome --dry-run
    clawjax forget runs/serve --key phone
    clawjax forget runs/serve --older-than 30

Removes texts, tokens, reactions and verdicts, and keeps what was not trained on yet from being so,
also while the run goes on. Says first which versions had learnt from them: what these have learnt
stays in them, and in every version that descends from them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from clawjax.cli.run_config import kept_config
from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.config import GatewayConfig
from clawjax.config.secrets import read_key
from clawjax.errors import ConfigError
from clawjax.keys import (
    ENVIRONMENT,
    KEY_FILE,
    LOCAL_SCOPE,
    KeyFile,
    environment_key,
    has_form_of_scope,
)
from clawjax.log.forgetting import Forgotten, forget
from clawjax.log.store import SqlTurnLog
from clawjax.weights import DirectoryWeightStore, Lineage

__all__ = ["add_arguments", "run"]

_DAY_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log, and which turns."""
    add_log_arguments(parser)
    parser.add_argument("--session", metavar="ID", help="its whole id; see `clawjax sessions`")
    parser.add_argument("--key", help="all turns of this key: its id, or its name in RUN")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="turns that ended before")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")


def run(options: argparse.Namespace) -> int:
    """Forget, and say what that means."""
    if options.session is None and options.key is None and options.older_than is None:
        msg = "nothing is named: give --session, --key or --older-than"
        raise ConfigError(msg)
    days = options.older_than
    if days is not None and not 0 <= days < math.inf:
        msg = f"--older-than={days:g} is out of range: expected a number of days, 0 or more"
        raise ConfigError(msg)
    log = open_log(options)
    try:
        ahead = _forget(log, options, is_dry=True)
        _say(_learnt(ahead, options))  # who is interrupted below could not be told any more
        gone = ahead if options.dry_run else _forget(log, options, is_dry=False)
    finally:
        log.close()
    if gone.trained != ahead.trained:
        _say(_learnt(gone, options))
    _say(_removed(gone, options))
    if options.session is not None and not gone.turn_ids:
        sys.stderr.write("No turn is of that session: its id has to be whole, see --help.\n")
    return 0


def _say(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def _forget(log: SqlTurnLog, options: argparse.Namespace, *, is_dry: bool) -> Forgotten:
    now = time.time()
    return forget(
        log,
        now=now,
        scope=None if options.key is None else _scope(options.run, options.key),
        session_id=options.session,
        before=None if options.older_than is None else now - options.older_than * _DAY_S,
        is_dry=is_dry,
    )


def _scope(run: Path | None, which: str) -> str:
    """The id of a key, revoked or not, by its id or name.

    What has the form of an id is one, whether its key is known or not: where none is asked for,
    callers may bring any.

    Raises:
        ConfigError: no key has that name, or several have had it.
    """
    keys = () if run is None else KeyFile(run / KEY_FILE).read()
    ids = [key.key_id for key in keys if which == key.name]
    if not ids and has_form_of_scope(which):
        return which
    if run is None:
        msg = (
            f"--key {which[:80]!r} is no key's id, and names are in the run's folder: give RUN "
            "too, or the id, 16 digits of 0-9 and a-f, as `clawjax keys list RUN` shows it"
        )
        raise ConfigError(msg)
    if which == ENVIRONMENT:
        ids += _ids_of_environment(run, is_needed=not ids)
    if len(ids) > 1:
        msg = f"{which!r} names {len(ids)} keys: give the id of one, of {', '.join(ids)}"
        raise ConfigError(msg)
    if not ids:
        known = "".join(f"{key.name} ({key.key_id}), " for key in keys)
        msg = (
            f"no key of {run} has the id or name {which[:80]!r}: give one of {known}{ENVIRONMENT}, "
            f"or {LOCAL_SCOPE} for what was asked without a key"
        )
        raise ConfigError(msg)
    return ids[0]


def _ids_of_environment(run: Path, *, is_needed: bool) -> list[str]:
    """The id of the key in `gateway.api_key_env`, which no file holds.

    Raises:
        ConfigError: it is needed and not set here, or the run's configuration cannot be read.
    """
    is_kept = (run / "config.yaml").is_file()
    variable = (kept_config(run).gateway if is_kept else GatewayConfig()).api_key_env
    secret = read_key(variable)
    if secret is None and is_needed:
        msg = (
            f"--key {ENVIRONMENT} is the key in {variable}, which is not set here: set it as for "
            "the run, or give the key's id, the `scope` in `clawjax sessions RUN --json`"
        )
        raise ConfigError(msg)
    return [] if secret is None else [environment_key(secret).key_id]


def _removed(gone: Forgotten, options: argparse.Namespace) -> Iterator[str]:
    verb = "would be forgotten" if options.dry_run else "forgotten"
    yield f"{len(gone.turn_ids)} turns {verb}."
    if gone.left:
        yield (
            f"{gone.left} more are old enough, and were left: a step has them now, or had when "
            "its process ended. They are free when it is done, or when the run starts again: "
            "run the command then."
        )
    if gone.turn_ids and not options.dry_run and not gone.is_overwritten:
        yield (
            "The database's files may still have their bytes: a reader was busy (run the command "
            "again when the run has stopped), or it is PostgreSQL (VACUUM FULL overwrites them)."
        )


def _learnt(gone: Forgotten, options: argparse.Namespace) -> Iterator[str]:
    if not gone.trained:
        yield "No version had learnt from any of them."
        return
    counts = ", ".join(f"{version} ({turns} turns)" for version, turns in gone.trained.items())
    yield f"Versions that had learnt from them: {counts}."
    folder = None if options.run is None else options.run / "weights"
    if folder is not None and folder.is_dir():
        yield _what_is_free_of_them(DirectoryWeightStore(folder), gone)


def _what_is_free_of_them(store: DirectoryWeightStore, gone: Forgotten) -> str:
    """Which versions have learnt from the turns, and which is the newest that has not."""
    lineage = Lineage.of_store(store)
    versions = lineage.versions.values()
    has_learnt = {
        version.version
        for version in versions
        if any(lineage.descends(version.version, trained) for trained in gone.trained)
    }
    free = [v.version for v in versions if v.version not in has_learnt and v.refused is None]
    return (
        f"{len(has_learnt)} versions have learnt from them or descend from one that has; the "
        f"newest that has not is {max(free, default=0)}: `clawjax rollback RUN "
        f"{max(free, default=0)}` serves it, and training goes on from there."
    )
