"""The turn log of a run that trains on a data set: begun by it, and gone on with by nobody else.

Turns and batches have no run's name in such a log. In another run's, the turns that wait there
would be learnt from, and as many batches passed over as were taken there.
"""

from __future__ import annotations

from clawjax.config import RunConfig
from clawjax.config.checks import require
from clawjax.learner.offline.trainer import CURSOR
from clawjax.log.connection import parse_url, shown_url
from clawjax.log.owner import owner_of
from clawjax.log.store import SqlTurnLog
from clawjax.runtime.build import open_log
from clawjax.runtime.owning import known_id, open_own_log
from clawjax.runtime.paths import RunPaths

__all__ = ["open_offline_log"]


def open_offline_log(config: RunConfig, paths: RunPaths, *, is_begun: bool) -> SqlTurnLog:
    """As `open_own_log`, but for another run's turns and batches, whoever takes them over.

    Args:
        config: names the log.
        paths: the run's folder.
        is_begun: whether the folder has begun to train on its data set.

    Raises:
        ConfigError: the log is another run's, or holds batches that the folder knows nothing of.
        LogError: it cannot be opened or written.
    """
    log = open_log(config.log)
    try:
        owner, batches = owner_of(log), log.cursor(CURSOR)
        holds_any = batches > 0 or bool(log.turns(limit=1))
    finally:
        log.close()
    shown, mine = shown_url(parse_url(config.log.url)), known_id(paths)
    if owner is not None:
        require(
            owner.owner_id == mine or not holds_any,
            f"the turn log {shown} holds turns of the run in {owner.run} (log_owner "
            f"{owner.owner_id}), and training on a data set takes over none, also with "
            "log.takes_over=true: give this run a database or a schema of its own by log.url or "
            f"CLAWJAX_LOG_URL, or use log=sqlite. If the log is this run's and {paths.log_owner} "
            f"was lost, write {owner.owner_id} there",
        )
    require(
        is_begun or batches == 0,
        f"the turn log {shown} holds {batches} batches of a data set that run.dir={paths.root} has "
        "not begun with (it has no offline.json of that): use another run.name, and with "
        "log=postgres a database or a schema of its own",
    )
    return open_own_log(config, paths)
