"""One learner for each turn log: the run that owns it, by the id in its folder.

Owns the file `log_owner`. A run that is moved takes the file along, and stays the owner.
"""

from __future__ import annotations

import uuid

from clawjax.config import LogConfig, RunConfig
from clawjax.errors import ConfigError
from clawjax.files import replace_file
from clawjax.log.connection import parse_url, shown_url
from clawjax.log.owner import Owner, own, owner_of
from clawjax.log.store import SqlTurnLog
from clawjax.runtime.build import open_log
from clawjax.runtime.paths import RunPaths

__all__ = ["check_owner", "known_id", "open_own_log"]


def check_owner(config: RunConfig, paths: RunPaths) -> None:
    """Open the run's turn log to see that its learner may; nothing is owned by that.

    Raises:
        ConfigError: another run owns the log.
        LogError: it cannot be opened.
    """
    log = open_log(config.log)
    try:
        found = owner_of(log)
    finally:
        log.close()
    mine = Owner(known_id(paths), str(paths.root.resolve()))
    if found is not None and not config.log.takes_over:
        _refuse_other(config.log, mine, found)


def open_own_log(config: RunConfig, paths: RunPaths) -> SqlTurnLog:
    """The run's turn log, for its learner, and for no other run's from then on.

    Raises:
        ConfigError: another run owns the log.
        LogError: it cannot be opened or written.
    """
    log = open_log(config.log)
    try:
        mine = Owner(_lasting_id(paths), str(paths.root.resolve()))
        _refuse_other(config.log, mine, own(log, mine, takes_over=config.log.takes_over))
    except BaseException:
        log.close()
        raise
    return log


def _refuse_other(config: LogConfig, mine: Owner, found: Owner) -> None:
    if found.owner_id == mine.owner_id:
        return
    msg = (
        f"the turn log {shown_url(parse_url(config.url))} is that of the run in {found.run} "
        f"(log_owner {found.owner_id}), and this run is in {mine.run} (log_owner "
        f"{mine.owner_id or 'not made yet'}): two runs that learn from one log train its turns "
        "twice, so give each a database or a schema of its own by log.url or CLAWJAX_LOG_URL, or "
        "use log=sqlite. If the other run has ended for good, start once with log.takes_over=true"
    )
    raise ConfigError(msg)


def known_id(paths: RunPaths) -> str:
    """The run's id; empty before its learner has first started."""
    return paths.log_owner.read_text().strip() if paths.log_owner.exists() else ""


def _lasting_id(paths: RunPaths) -> str:
    """The run's id, made where there is none; on the disk before any log has it."""
    if not known_id(paths):
        replace_file(paths.log_owner, f"{uuid.uuid4().hex}\n")
    return known_id(paths)
