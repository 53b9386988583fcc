"""Commands that only read: runs that cannot be written, that are live, of earlier versions."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from test_cli import link, turn

from clawjax.cli import main
from clawjax.config import RunConfig, RunSection
from clawjax.errors import LogError
from clawjax.log.reading import open_to_read
from clawjax.log.schema import SCHEMA_VERSION, cursors
from clawjax.records import Component, LinkKind, Message, Origin, Verdict
from clawjax.runtime.provenance import config_yaml
from clawjax.testing import temporary_log

READING = {
    "export": ["export", "turns"],
    "sessions": ["sessions", "--json"],
    "replay": ["replay", "--json"],
    "status": ["status", "--json"],
}
_NOBODY = 65534


@contextmanager
def as_somebody_else():
    """Without root's right to write everything; only for this process, and for a while."""
    if os.getuid() != 0:
        yield
        return
    os.setresgid(_NOBODY, _NOBODY, 0)
    os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


@contextmanager
def not_to_be_written(folder: Path):
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with as_somebody_else():
            yield
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def folder():
    """Of a run, where also others than the owner of the tests come to."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    folder = top / "what?now 50%"
    folder.mkdir()
    config = RunConfig(run=RunSection(dir=str(folder)))
    config.gateway.port = 9
    (folder / "config.yaml").write_text(config_yaml(config))
    yield folder
    shutil.rmtree(top)


@pytest.fixture
def log(folder):
    log = temporary_log(folder)
    log.append(turn("t1"), link("t1", LinkKind.NEW), Verdict("t1", "rules", 1.0, 111.0))
    yield log
    log.close()


def told(capsys, folder: Path) -> dict[str, str]:
    """What every command says; those of them that fail are missed."""
    found = {}
    for name, words in READING.items():
        assert main([*words, str(folder)]) in (0, 1), capsys.readouterr().err
        found[name] = capsys.readouterr().out
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_cannot_be_written_is_read(folder, log, capsys):
    log.close()
    as_usual = told(capsys, folder)
    assert '"turn_id": "t1"' in as_usual["export"]
    assert '"logged": 1' in as_usual["status"]
    with not_to_be_written(folder):
        assert told(capsys, folder) == as_usual
    assert names(folder) == ["config.yaml", "turns.db"]


def serve(folder, orders) -> None:
    """A run: it logs the turn that is ordered, until none is."""
    log = temporary_log(folder)
    for name in iter(orders.recv, None):
        log.append(turn(name))
        orders.send(log.counts().logged)
    os._exit(0)  # as if killed: what it wrote is in the write-ahead log only


def test_a_run_that_is_live_is_read_by_who_may_not_write(folder, capsys):
    orders, theirs = multiprocessing.Pipe()
    run = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, theirs))
    run.start()
    for number in range(1, 4):
        orders.send(f"t{number}")
        assert orders.recv() == number
        with not_to_be_written(folder):
            assert f"t{number}" in told(capsys, folder)["export"]
    assert "t3" in told(capsys, folder)["export"]
    orders.send("t4")
    assert orders.recv() == 4
    orders.send(None)
    run.join(60)
    assert names(folder) == ["config.yaml", "turns.db", "turns.db-shm", "turns.db-wal"]
    with not_to_be_written(folder):
        assert "t4" in told(capsys, folder)["export"]


def test_a_run_that_ended_in_the_middle_is_read_where_it_is_or_the_remedy_is_named(
    folder, log, capsys
):
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)  # with what only the write-ahead log has
    log.close()
    with not_to_be_written(copy):
        assert "t1" in told(capsys, copy)["export"]
    (copy / "turns.db-shm").unlink()
    with not_to_be_written(copy):
        assert main(["sessions", str(copy)]) == 2
    assert "copy both to a folder that can be written" in capsys.readouterr().err
    assert "t1" in told(capsys, copy)["export"]


def test_a_log_behind_a_link_is_read_with_what_is_beside_it(folder, log, capsys):
    other = folder.parent / "other"
    other.mkdir()
    (other / "turns.db").symlink_to(folder / "turns.db")
    with not_to_be_written(folder):
        assert main(["export", "turns", str(other)]) == 0
    assert '"turn_id": "t1"' in capsys.readouterr().out


@pytest.mark.parametrize("version", [2, 4, 5])
def test_a_log_of_an_earlier_version_is_read_and_left_to_the_version_that_wrote_it(
    folder, log, capsys, version
):
    _make_older(log, version)
    log.close()
    before = (folder / "turns.db").read_bytes()
    found = told(capsys, folder)
    assert '"module": "rules"' in found["export"]
    assert ('"link": null' in found["sessions"]) == (version == 2)
    with not_to_be_written(folder):
        assert told(capsys, folder) == found
    assert (folder / "turns.db").read_bytes() == before
    assert names(folder) == ["config.yaml", "turns.db"]


def test_a_log_of_a_later_version_is_refused(folder, log, capsys):
    log.move_cursor("schema", SCHEMA_VERSION + 1)
    assert main(["sessions", str(folder)]) == 2
    said = capsys.readouterr().err
    assert (
        f"has schema {SCHEMA_VERSION + 1}, this version of clawjax reads {SCHEMA_VERSION}" in said
    )


def test_what_is_no_turn_log_is_refused_and_what_is_about_to_be_one_is_empty(folder, capsys):
    (folder / "turns.db").touch()
    found = told(capsys, folder)
    assert (found["export"], found["sessions"]) == ("", "")
    assert '"logged": 0' in found["status"]
    connection = sqlite3.connect(folder / "turns.db")
    connection.execute("CREATE TABLE songs (name)")
    connection.close()
    assert main(["sessions", str(folder)]) == 2
    assert "has schema 0" in capsys.readouterr().err
    (folder / "turns.db").write_text("no database at all, but long enough to be looked at" * 9)
    assert main(["sessions", str(folder)]) == 2
    assert "file is not a database: make sure that it" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["sessions"], ["sessions", "--json"], ["export", "turns"]])
def test_what_clients_said_reaches_the_terminal_without_escape_codes(folder, log, capsys, words):
    evil = "x\x1b[2J\x9b31m\x7f"
    log.append(
        replace(turn("t2"), messages=(Message("user", evil),)),
        replace(link("t2", LinkKind.NEW), origin=Origin(client=evil, model=evil)),
        Verdict("t2", "rules", 1.0, 112.0, explanation=evil),
    )
    assert main([*words, str(folder)]) == 0
    shown = capsys.readouterr().out
    assert {c for c in shown if not c.isprintable()} == {"\n"}
    if len(words) > 1:
        assert repr(evil) in str([json.loads(line) for line in shown.splitlines()])


def test_who_reads_does_not_write(folder, log):
    reader = open_to_read(
        f"sqlite:///{folder}".replace("%", "%25").replace("?", "%3F") + "/turns.db"
    )
    for write in (lambda: reader.append(turn("t2")), lambda: reader.count("x")):
        with pytest.raises(LogError, match="readonly database"):
            write()
    assert reader.get("t1").turn == turn("t1")
    log.append(turn("t2"), Verdict("t2", "a", 1.0, 1.0, components=(Component("b", 1.0),)))
    assert reader.counts().logged == 2
    reader.close()


def test_to_read_makes_nothing(tmp_path):
    with pytest.raises(LogError, match=r"cannot open the turn log .*/turns\.db"):
        open_to_read(f"sqlite:///{tmp_path}/turns.db")
    assert not list(tmp_path.iterdir())


def _make_older(log, version: int) -> None:
    lacks = ["owners"] if "owners" in sa.inspect(log._engine).get_table_names() else []
    if version < 5:
        lacks += ["review_items", "review_leases", "review_labels"]
    if version < 3:
        lacks += ["links", "forgotten"]
    with log.writing() as connection:
        for table in lacks:
            connection.execute(sa.text(f"DROP TABLE {table}"))
        for column in ("components", "revision") if version < 5 else ():
            connection.execute(sa.text(f"ALTER TABLE verdicts DROP COLUMN {column}"))
        connection.execute(sa.update(cursors).values(position=version))
