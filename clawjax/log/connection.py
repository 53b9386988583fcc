"""Connections to the two databases that hold a turn log: SQLite and PostgreSQL.

Invariant: a transaction of a connection whose `info` says `writes` excludes every other writer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from clawjax.errors import LogError
from clawjax.log.upgrade import lend_missing

__all__ = [
    "chunks",
    "connect",
    "opening",
    "overwrite",
    "parse_url",
    "queued",
    "reason_of",
    "schema_held",
    "shown_url",
    "snapshots",
]

_URL_FORMS = "write it as sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"

_CHUNK = 500
"""Keys per `IN (...)`; SQLite's limit on bound parameters is far above."""

_LOOKS = 10
_LOOK_S = 0.1
"""How often, and after what pause, it is tried to empty the write-ahead log."""

_WRITERS = 0x636C6177
"""PostgreSQL's lock that a writing transaction holds; any number of our own."""


def parse_url(url: str) -> sa.URL:
    """The address of a turn log.

    Raises:
        LogError: no such address, another database's, or a path that was cut at its `?`.
    """
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError as error:
        msg = f"log.url is no database URL: {_URL_FORMS}"
        raise LogError(msg) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        msg = f"log.url names a {parsed.get_backend_name()} database: {_URL_FORMS}"
        raise LogError(msg)
    _, mark, options = url.partition("?")
    is_path = mark and ("/" in options or "=" not in options)
    if parsed.get_backend_name() == "sqlite" and is_path:
        msg = f"log.url={url!r} ends at its `?`, which is no path's: write `?` as %3F, `%` as %25"
        raise LogError(msg)
    return parsed


def shown_url(parsed: sa.URL) -> str:
    """The address without its passwords, for people and files."""
    hidden = {name: "***" for name in parsed.query if "password" in name.lower()}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


@contextmanager
def opening(shown: str, fix: str) -> Generator[None]:
    """Say which log cannot be opened, why, and what to do.

    Raises:
        LogError: it cannot.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        msg = (
            f"the turn log {shown} needs the package {error.name}, which is not installed: "
            'run pip install "psycopg[binary]" for PostgreSQL, or use log=sqlite'
        )
        raise LogError(msg) from error
    except (SQLAlchemyError, LogError) as error:
        msg = f"cannot open the turn log {shown}: {reason_of(error)}: {fix}"
        raise LogError(msg) from error


def connect(parsed: sa.URL, busy_timeout_s: float, *, is_read_only: bool = False) -> sa.Engine:
    """An engine for a database; nothing is connected before it is used.

    Raises:
        ModuleNotFoundError: the database's driver is not installed.
        SQLAlchemyError: another database than these two cannot be used.
    """
    if parsed.get_backend_name() != "sqlite":
        server = _connect_server(parsed, busy_timeout_s)
        return server.execution_options(postgresql_readonly=True) if is_read_only else server
    engine = sa.create_engine(
        _to_read(parsed) if is_read_only else parsed,
        pool_timeout=busy_timeout_s,
        connect_args={"timeout": busy_timeout_s},
        hide_parameters=True,  # conversations stay out of tracebacks
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        if is_read_only:
            lend_missing(connection)
            connection.execute("PRAGMA query_only=ON")
            return
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: waiting for it later, after reading, would fail.
        is_write = connection.info.get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")

    return engine


def schema_held(parsed: sa.URL, busy_timeout_s: float) -> int | None:
    """The schema of the log that is there, read without changing anything.

    Returns:
        None where nothing is there yet, 0 of an SQLite file that holds something else.
    """
    is_file = parsed.get_backend_name() == "sqlite"
    file = Path(parsed.database or "")
    if is_file and "uri" not in parsed.query and not (file.is_file() and file.stat().st_size):
        return None
    engine = connect(parsed, busy_timeout_s, is_read_only=True)
    try:
        tables = sa.inspect(engine).get_table_names()
        if "cursors" not in tables:
            return 0 if is_file and tables else None
        with engine.connect() as connection:
            query = sa.text("SELECT position FROM cursors WHERE name = 'schema'")
            return connection.execute(query).scalar()
    finally:
        engine.dispose()


def _to_read(parsed: sa.URL) -> sa.URL:
    """The address of an SQLite file that is there already, and that is not to be changed.

    Where nothing can be written SQLite cannot make the index of the write-ahead log, so it is told
    that the file stays as it is; only while no such log says that somebody writes. Where it could,
    `mode=ro` would leave the index behind, so the connection itself refuses to write.
    """
    if not parsed.database or "uri" in parsed.query:
        return parsed
    file = Path(parsed.database).resolve()  # the write-ahead log is beside what a link points to
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        how = {"mode": "rw"}
    elif os.path.exists(f"{file}-wal"):
        how = {"mode": "ro"}
    else:
        how = {"mode": "ro", "immutable": "1"}
    return parsed.set(database=f"file:{quote(str(file))}").update_query_dict({**how, "uri": "1"})


def _connect_server(parsed: sa.URL, busy_timeout_s: float) -> sa.Engine:
    """PostgreSQL. Writers go one by one, as in SQLite.

    Otherwise a record could become visible after one with a later number, and a reader whose
    cursor has passed that number would never see it.
    """
    engine = sa.create_engine(
        parsed,
        pool_timeout=busy_timeout_s,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": max(2, int(busy_timeout_s)),
            "tcp_user_timeout": int(1000 * busy_timeout_s),  # of a server that has gone silent
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
        },
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


@contextmanager
def queued(one_writer: threading.Lock, busy_timeout_s: float) -> Generator[None]:
    """A process's writers one by one; each waits for those before it, but no longer than this.

    Raises:
        LogError: they have taken too long.
    """
    if not one_writer.acquire(timeout=busy_timeout_s):
        msg = (
            "cannot write the turn log: other writes of this process have taken "
            f"log.busy_timeout_s={busy_timeout_s:g} s, as where somebody keeps the database "
            "locked: end what does, or raise the time-out"
        )
        raise LogError(msg)
    try:
        yield
    finally:
        one_writer.release()


def overwrite(engine: sa.Engine) -> bool:
    """Let nothing of what was deleted be left in the files; whether that was possible just now.

    SQLite overwrites what is deleted, but the write-ahead log has it still. PostgreSQL keeps it
    until a vacuum. Nobody is kept waiting while this waits for readers.
    """
    if engine.dialect.name != "sqlite":
        return False
    connection = engine.raw_connection()
    try:
        with _not_waiting(connection.cursor()) as cursor:
            for look in range(_LOOKS):
                if look:
                    time.sleep(_LOOK_S)
                if _is_emptied(cursor):
                    return True
    finally:
        connection.close()
    return False


@contextmanager
def _not_waiting(cursor: Any) -> Generator[Any]:
    """A connection of SQLite's that gives up at once: it would hold the writers' lock meanwhile."""
    (busy_timeout_ms,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        yield cursor
    finally:
        cursor.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")


def _is_emptied(cursor: Any) -> bool:
    """Empty the write-ahead log; False where somebody reads or writes it."""
    try:
        is_busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not is_busy


def chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Keys in parts that fit into one query."""
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]


def reason_of(error: Exception) -> str:
    """What the database said."""
    return str(getattr(error, "orig", None) or error)
