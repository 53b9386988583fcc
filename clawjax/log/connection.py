"""Connections to the two databases that hold a turn log: SQLite and PostgreSQL.

Invariant: a transaction of a connection whose `info` says `writes` excludes every other writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from clawjax.errors import LogError

__all__ = ["chunks", "connect", "overwrite", "parse_url", "reason_of", "shown_url", "snapshots"]

_URL_FORMS = "write it as sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"

_CHUNK = 500
"""Keys per `IN (...)`; SQLite's limit on bound parameters is far above."""

_WRITERS = 0x636C6177
"""PostgreSQL's lock that a writing transaction holds; any number of our own."""


def parse_url(url: str) -> sa.URL:
    """The address of a turn log.

    Raises:
        LogError: no such address, or another database's.
    """
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError as error:
        msg = f"log.url is no database URL: {_URL_FORMS}"
        raise LogError(msg) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        msg = f"log.url names a {parsed.get_backend_name()} database: {_URL_FORMS}"
        raise LogError(msg)
    return parsed


def shown_url(parsed: sa.URL) -> str:
    """The address without its passwords, for people and files."""
    hidden = {name: "***" for name in parsed.query if "password" in name.lower()}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def connect(parsed: sa.URL, busy_timeout_s: float) -> sa.Engine:
    """An engine for a database; nothing is connected before it is used.

    Raises:
        ModuleNotFoundError: the database's driver is not installed.
        SQLAlchemyError: another database than these two cannot be used.
    """
    if parsed.get_backend_name() != "sqlite":
        return _connect_server(parsed, busy_timeout_s)
    engine = sa.create_engine(
        parsed,
        pool_timeout=busy_timeout_s,
        connect_args={"timeout": busy_timeout_s},
        hide_parameters=True,  # conversations stay out of tracebacks
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: waiting for it later, after reading, would fail.
        is_write = connection.info.get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def _connect_server(parsed: sa.URL, busy_timeout_s: float) -> sa.Engine:
    """PostgreSQL. Writers go one by one, as in SQLite.

    Otherwise a record could become visible after one with a later number, and a reader whose
    cursor has passed that number would never see it.
    """
    engine = sa.create_engine(
        parsed,
        pool_timeout=busy_timeout_s,
        pool_pre_ping=True,
        connect_args={"connect_timeout": max(2, int(busy_timeout_s))},
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.info.get("writes", False):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(1000 * busy_timeout_s)}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")

    return engine


def snapshots(engine: sa.Engine) -> sa.Engine:
    """The engine for reading, where all of a transaction sees one state, as in SQLite always."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ")


def overwrite(engine: sa.Engine) -> bool:
    """Let nothing of what was deleted be left in the files; whether that was possible just now.

    SQLite overwrites what is deleted, but the write-ahead log has it still. PostgreSQL keeps it
    until a vacuum.
    """
    if engine.dialect.name != "sqlite":
        return False
    connection = engine.raw_connection()
    try:
        is_busy, _, _ = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # locked for longer than the time-out
        return False
    finally:
        connection.close()
    return not is_busy


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Keys in parts that fit into one query."""
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]


def reason_of(error: Exception) -> str:
    """What the database said."""
    return str(getattr(error, "orig", None) or error)
