"""A turn log for who only reads: also one that cannot be written, and that of an earlier version.

Invariant: nothing of the log is changed, so that the run, and the clawjax that wrote it, go on.
"""

from __future__ import annotations

import sqlalchemy as sa

from clawjax.errors import LogError
from clawjax.log.connection import connect, opening, parse_url, shown_url
from clawjax.log.schema import SCHEMA_VERSION, UPGRADED_BY_ADDING
from clawjax.log.store import SqlTurnLog

__all__ = ["open_to_read"]

_FIX = (
    "make sure that it exists and can be read, and where a -wal file is beside it, copy both to a "
    "folder that can be written"
)


def open_to_read(url: str, *, busy_timeout_s: float = 30.0) -> SqlTurnLog:
    """Connect to a log that is there, which a run may be writing; writing to it fails.

    Raises:
        LogError: unreachable or unreadable, or written by another schema version. What a log of an
            earlier one lacks reads as empty in SQLite; in PostgreSQL it is refused.
    """
    parsed = parse_url(url)
    shown = shown_url(parsed)
    with opening(shown, _FIX):
        engine = connect(parsed, busy_timeout_s, is_read_only=True)
        log = SqlTurnLog(engine, busy_timeout_s=busy_timeout_s)
        found = log.cursor("schema")
        is_lent = engine.dialect.name == "sqlite" and found in UPGRADED_BY_ADDING
        is_new = found == 0 and not sa.inspect(engine).get_table_names()
    if found == SCHEMA_VERSION or is_lent or is_new:
        return log
    fix = "use the clawjax that wrote it"
    if found in UPGRADED_BY_ADDING:
        fix += ", or start its run with this one, which adds what is missing"
    msg = (
        f"the turn log {shown} has schema {found}, this version of clawjax reads "
        f"{SCHEMA_VERSION}: {fix}"
    )
    raise LogError(msg)
