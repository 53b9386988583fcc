"""Whose a log is, of which schema and where; and what is said of one that cannot be opened."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from log_records import user_said
from turn_records import make_turn

from clawjax.errors import LogError
from clawjax.log.owner import Owner, own, owner_of
from clawjax.log.reading import open_to_read
from clawjax.log.schema import SCHEMA_VERSION
from clawjax.log.store import SqlTurnLog
from clawjax.records import (
    Component,
    Link,
    LinkKind,
    Origin,
    Verdict,
)


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match=r"cannot open the turn log .*file/turns\.db"):
        SqlTurnLog.open(f"sqlite:///{tmp_path}/file/turns.db")


def test_a_log_from_before_there_were_links_is_opened_and_goes_on(log, url):
    log.append(make_turn("t1"), user_said("t1"))
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE links"))
        connection.execute(sa.text("UPDATE cursors SET position = 2 WHERE name = 'schema'"))
    again = SqlTurnLog.open(url)
    assert again.cursor("schema") == SCHEMA_VERSION
    assert again.get("t1").turn == make_turn("t1")
    assert again.links(["t1"]) == {}
    again.append(make_turn("t2"), Link("t2", LinkKind.NEW, "why", "why main", Origin()))
    assert again.links(["t1", "t2"]).keys() == {"t2"}
    again.close()
    SqlTurnLog.open(url).close()


def test_a_log_from_before_verdicts_had_parts_is_opened_and_goes_on(log, url):
    log.append(make_turn("t1"), Verdict("t1", "rules", 1.0, 111.0))
    with log.writing() as connection:
        for column in ("components", "revision"):
            connection.execute(sa.text(f"ALTER TABLE verdicts DROP COLUMN {column}"))
        connection.execute(sa.text("UPDATE cursors SET position = 4 WHERE name = 'schema'"))
    log.close()
    again = SqlTurnLog.open(url)
    composed = Verdict("t1", "composite", 1.0, 112.0, components=(Component("rules", 1.0),))
    again.append(composed)
    assert set(again.get("t1").verdicts) == {Verdict("t1", "rules", 1.0, 111.0), composed}
    assert again.cursor("schema") == SCHEMA_VERSION
    again.close()


def test_a_log_belongs_to_one_run_until_another_takes_it_over(log, url):
    first, second = Owner("1", "/runs/a"), Owner("2", "/runs/b")
    assert owner_of(log) is None
    assert own(log, first) == first
    again = SqlTurnLog.open(url)
    assert own(again, second) == owner_of(again) == first
    moved = Owner("1", "/runs/c")
    assert own(again, moved) == owner_of(log) == moved
    assert own(again, second, takes_over=True) == second
    assert own(log, moved) == owner_of(log) == second
    again.close()


def test_of_runs_that_start_on_a_new_log_together_one_owns_it(url):
    logs = [SqlTurnLog.open(url) for _ in range(8)]
    with ThreadPoolExecutor(len(logs)) as threads:
        wanted = [Owner(str(number), f"/runs/{number}") for number in range(len(logs))]
        found = set(threads.map(own, logs, wanted))
    assert found == {owner_of(logs[0])}
    for each in logs:
        each.close()


def test_a_log_from_before_there_were_owners_is_anybodys(log, url):
    log.append(make_turn("t1"))
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE owners"))
        connection.execute(sa.text("UPDATE cursors SET position = 5 WHERE name = 'schema'"))
    again = SqlTurnLog.open(url)
    assert again.cursor("schema") == SCHEMA_VERSION
    assert own(again, Owner("1", "/runs/a")) == owner_of(again) == Owner("1", "/runs/a")
    assert again.counts().logged == 1
    again.close()


def test_a_log_of_another_schema_is_refused(log, url):
    log.move_cursor("schema", 99)
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE owners"))
    with pytest.raises(LogError, match="schema 99"):
        SqlTurnLog.open(url)
    assert "owners" not in sa.inspect(log._engine).get_table_names(), "nothing was changed"


def test_who_only_reads_sees_what_is_written_and_changes_nothing(log, url):
    reader = open_to_read(url)
    log.append(make_turn("t1"))
    assert reader.get("t1").turn == make_turn("t1")
    assert reader.counts().logged == 1
    with pytest.raises(LogError, match=r"read-?only"):
        reader.append(make_turn("t2"))
    reader.close()


def test_to_read_a_log_of_an_earlier_schema_is_not_to_upgrade_it(log, url):
    with log.writing() as connection:
        connection.execute(sa.text("DROP TABLE links"))
        connection.execute(sa.text("UPDATE cursors SET position = 2 WHERE name = 'schema'"))
    if url.startswith("sqlite"):
        reader = open_to_read(url)
        assert reader.links(["t1"]) == {}
        reader.close()
    else:
        with pytest.raises(LogError, match=r"schema 2.*, or start its run with this one"):
            open_to_read(url)
    assert log.cursor("schema") == 2


def test_passwords_stay_out_of_messages():
    with pytest.raises(LogError) as caught:
        SqlTurnLog.open("postgresql+psycopg://me:hunter2@127.0.0.1:1/x")  # made-up-secret
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://127.0.0.1/x", ""])
def test_other_databases_are_refused(url):
    with pytest.raises(LogError, match="write it as sqlite:///FILE or postgresql://"):
        SqlTurnLog.open(url)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LogError, match=r'pip install "psycopg\[binary\]"') as caught:
        SqlTurnLog.open("postgresql+psycopg://user:secret@127.0.0.1:1/turns")  # made-up-secret
    assert "secret" not in str(caught.value)
