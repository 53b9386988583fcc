"""The real database, locked by somebody or on a full disk: refused, and over once that is over."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from clawjax.errors import LogError
from clawjax.log.store import SqlTurnLog

from .helpers import assistant, user

BUSY_S = 0.1


@pytest.fixture
def impatient_log(tmp_path) -> Iterator[SqlTurnLog]:
    log = SqlTurnLog.open(f"sqlite:///{tmp_path}/turns.db", busy_timeout_s=BUSY_S)
    yield log
    log.close()


@contextmanager
def locked(log: SqlTurnLog) -> Iterator[None]:
    """Another process keeps the database for longer than anybody waits."""
    other = sqlite3.connect(log._engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def full(log: SqlTurnLog) -> Iterator[None]:
    """No page more: SQLite then says what it says where the disk has no room."""

    def limit(connection: sqlite3.Connection, *_) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}")

    def no_limit(connection: sqlite3.Connection, *_) -> None:
        connection.execute("PRAGMA max_page_count=1073741823")

    sa.event.listen(log._engine, "checkout", limit)
    try:
        yield
    finally:
        sa.event.remove(log._engine, "checkout", limit)
        sa.event.listen(log._engine, "checkout", no_limit)


@pytest.mark.parametrize(
    ("trouble", "said"), [(locked, "database is locked"), (full, "database or disk is full")]
)
async def test_what_cannot_be_kept_is_refused_and_afterwards_all_is_well(
    make_gateway, impatient_log, trouble: Callable, said: str, caplog
):
    gateway = make_gateway(with_log=impatient_log)
    first = await gateway.say(user("a"))
    history = [user("a"), assistant("hello there"), user("b")]
    kept = 1
    with trouble(impatient_log):
        while (answer := await gateway.chat(user("c" * 200), stream=kept % 2)).status_code == 200:
            assert kept < 100, "nothing is refused"
            is_whole = "[DONE]" in answer.text or '"finish_reason":"stop"' in answer.text
            if not is_whole:
                break
            kept += 1
        assert (await gateway.chat(*history)).status_code == 500
        assert said in caplog.text
        health = await gateway.client.get("/healthz")
        assert health.json()["ok"], "the engine serves; only the log does not"
    assert impatient_log.counts().logged == kept
    second = await gateway.say(*history)
    assert second["session_id"] == first["session_id"]
    assert impatient_log.counts().logged == kept + 1
    assert [event.kind for event in gateway.events(gateway.turns()[0].turn_id)] == ["user"]


def test_many_writers_wait_together_for_a_log_that_is_locked(tmp_path):
    busy_s, writers = 1.0, 8
    log = SqlTurnLog.open(f"sqlite:///{tmp_path}/turns.db", busy_timeout_s=busy_s)

    def refused_after(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(LogError, match=r"write the turn log: (database is|other writes)"):
            log.count(f"writer {number}")
        return time.monotonic() - began

    with locked(log), ThreadPoolExecutor(writers) as pool:
        waits = list(pool.map(refused_after, range(writers)))
    assert max(waits) < 2.5 * busy_s, waits
    log.count("afterwards")
    log.close()
