"""`clawjax forget` and `clawjax rollback`."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from test_cli import turn

from clawjax.cli import main
from clawjax.config import GatewayConfig, RunConfig, RunSection
from clawjax.config.databases import file_url
from clawjax.gateway.auth import Authenticator
from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, digest_of, new_key
from clawjax.log.store import SqlTurnLog
from clawjax.records import Outcome
from clawjax.runtime.provenance import config_yaml
from clawjax.testing import temporary_log
from clawjax.weights import DirectoryWeightStore


@pytest.fixture
def run_folder(tmp_path) -> str:
    log = temporary_log(tmp_path)
    log.append(turn("t1"), Outcome("t1", 1.0, trained_version=2), turn("t2", session="s2"))
    log.close()
    store = DirectoryWeightStore(tmp_path / "weights")
    for version in (1, 2, 3):
        store.publish(
            {"a": np.full((2,), version, np.float32)},
            version=version,
            parent=version - 1,
            step=version,
            base_model="model",
            kind="full",
            config={},
        )
    return str(tmp_path)


def test_what_goes_and_who_has_learnt_from_it(run_folder, capsys):
    assert main(["forget", run_folder, "--session", "s1", "--dry-run"]) == 0
    assert "1 turns would be forgotten" in capsys.readouterr().out
    assert main(["forget", run_folder, "--session", "s1"]) == 0
    said = capsys.readouterr().out
    assert "1 turns forgotten." in said
    assert "had learnt from them: 2 (1 turns)" in said
    assert "2 versions have learnt from them" in said
    assert "`clawjax rollback RUN 1`" in said
    assert main(["forget", run_folder, "--session", "s1"]) == 0
    told = capsys.readouterr()
    assert "0 turns forgotten" in told.out
    assert "its id has to be whole" in told.err


def test_the_versions_are_named_before_anything_goes(run_folder, capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clawjax.log.forgetting._remove", interrupted)
    assert main(["forget", run_folder, "--session", "s1"]) != 0
    told = capsys.readouterr()
    assert "had learnt from them: 2 (1 turns)" in told.out
    assert ("turns forgotten" in told.out, told.err) == (False, "Interrupted.\n")


def test_what_was_left_as_a_step_has_it_is_counted(run_folder, capsys):
    log = SqlTurnLog.open(f"sqlite:///{run_folder}/turns.db")
    log.claim(4, ["t2"])
    log.close()
    assert main(["forget", run_folder, "--older-than", "0"]) == 0
    said = capsys.readouterr().out
    assert "1 turns forgotten.\n1 more are old enough, and were left" in said


def test_a_key_is_named_by_its_name(run_folder, tmp_path, capsys):
    KeyFile(tmp_path / KEY_FILE).add(new_key("phone", [Role.CHAT], now=1.0).key)
    assert main(["forget", run_folder, "--key", "phone"]) == 0
    assert "0 turns forgotten" in capsys.readouterr().out
    assert main(["forget", run_folder, "--key", "local"]) == 0
    assert "2 turns forgotten" in capsys.readouterr().out


@pytest.mark.parametrize(
    "which", ["Phone", "7f52", "7F52C0A17F52C0A1", "Local", "", "7f52c0a1" * 3]
)
def test_a_key_that_is_none_of_the_runs_is_not_taken_for_an_id(run_folder, tmp_path, capsys, which):
    key = new_key("phone", [Role.CHAT], now=1.0).key
    KeyFile(tmp_path / KEY_FILE).add(key)
    assert main(["forget", run_folder, "--key", which]) == 2
    said = capsys.readouterr().err
    assert f"has the id or name {which!r}: give one of phone ({key.key_id})" in said


def test_what_has_the_form_of_an_id_is_one_also_where_its_key_is_in_no_file(run_folder, capsys):
    whose = digest_of(b"any")[:16]
    log = SqlTurnLog.open(f"sqlite:///{run_folder}/turns.db")
    log.append(replace(turn("t3"), scope=whose))
    log.close()
    assert main(["forget", run_folder, "--key", whose]) == 0
    assert "1 turns forgotten" in capsys.readouterr().out


def test_a_key_has_no_name_where_no_run_is_named(run_folder, tmp_path, capsys):
    key = new_key("phone", [Role.CHAT], now=1.0).key
    KeyFile(tmp_path / KEY_FILE).add(key)
    log = ["--log", f"sqlite:///{run_folder}/turns.db"]
    for name in ("phone", "environment"):
        assert main(["forget", *log, "--key", name]) == 2
        assert f"--key {name!r} is no key's id" in (said := capsys.readouterr().err)
        assert "give RUN too" in said
    assert main(["forget", run_folder, *log, "--key", "phone"]) == 0
    assert main(["forget", *log, "--key", key.key_id]) == 0
    assert main(["forget", *log, "--key", "local"]) == 0
    assert "2 turns forgotten" in capsys.readouterr().out


def test_the_key_of_the_environment_is_the_one_that_the_run_was_started_with(
    run_folder, tmp_path, capsys, monkeypatch
):
    config = RunConfig(run=RunSection(dir=run_folder), gateway=GatewayConfig(api_key_env="OWN_KEY"))
    (tmp_path / "config.yaml").write_text(config_yaml(config))
    log = SqlTurnLog.open(config.log.url)
    who = Authenticator(KeyRing(secret="s3cret")).admit({"authorization": "Bearer s3cret"})
    log.append(replace(turn("t3"), scope=who.scope))
    log.close()
    monkeypatch.delenv("OWN_KEY", raising=False)
    assert main(["forget", run_folder, "--key", "environment"]) == 2
    assert "the key in OWN_KEY, which is not set here" in capsys.readouterr().err
    monkeypatch.setenv("OWN_KEY", "s3cret ")
    assert main(["forget", run_folder, "--key", "environment"]) == 0
    assert "1 turns forgotten" in capsys.readouterr().out
    KeyFile(tmp_path / KEY_FILE).add(new_key("environment", [Role.CHAT], now=1.0).key)
    assert main(["forget", run_folder, "--key", "environment"]) == 2
    assert "'environment' names 2 keys" in capsys.readouterr().err


def test_what_cannot_be_forgotten_is_said(run_folder, capsys):
    assert main(["forget", run_folder]) == 2
    assert "give --session, --key or --older-than" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["-30", "-0.001", "nan", "inf"])
def test_an_age_that_is_none_forgets_nothing(run_folder, capsys, days):
    assert main(["forget", run_folder, f"--older-than={days}"]) == 2
    assert f"--older-than={days} is out of range" in capsys.readouterr().err
    assert main(["forget", run_folder, "--key", "local", "--dry-run"]) == 0
    assert "2 turns would be forgotten" in capsys.readouterr().out


def test_a_log_that_is_not_there_is_not_made(tmp_path, capsys):
    file = tmp_path / "typo.db"
    assert main(["forget", "--log", f"sqlite:///{file}", "--older-than", "30"]) == 2
    assert f"there is no turn log '{file}'" in capsys.readouterr().err
    assert not file.exists()


def test_a_database_of_something_else_is_left_as_it_is(tmp_path, capsys):
    file = tmp_path / "music.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE songs (name)")
    connection.commit()
    connection.close()
    before = file.read_bytes()
    assert main(["forget", "--log", f"sqlite:///{file}", "--session", "x"]) == 2
    assert "is a database of something else" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["music.db"]


def test_of_two_folders_of_similar_names_only_the_named_one_forgets(tmp_path, capsys):
    for name, turns in (("a%20b", 1), ("a b", 2), ("what?now", 3), ("what", 4)):
        (tmp_path / name).mkdir()
        log = SqlTurnLog.open(file_url(tmp_path / name / "turns.db"))
        log.append(*(turn(f"t{number}") for number in range(turns)))
        log.close()
    for name, turns in (("a%20b", 1), ("what?now", 3)):
        assert main(["forget", str(tmp_path / name), "--key", "local"]) == 0
        assert f"{turns} turns forgotten" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*"))) == 8
    for name, turns in (("a%20b", 0), ("a b", 2), ("what?now", 0), ("what", 4)):
        assert main(["export", "turns", str(tmp_path / name)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == turns


def test_an_address_that_ends_at_a_question_mark_is_refused(tmp_path, capsys):
    for path in ("what?now/turns.db", "what?now", "exp?lr=1/turns.db"):
        assert main(["forget", "--log", f"sqlite:///{tmp_path}/{path}", "--key", "local"]) == 2
        assert "write `?` as %3F" in capsys.readouterr().err


def test_rolling_back(run_folder, capsys):
    assert main(["rollback", run_folder, "1"]) == 0
    assert "Version 1 is served from now on, in place of 3" in capsys.readouterr().out
    assert main(["rollback", run_folder, "--list"]) == 0
    assert "rolled back" in capsys.readouterr().out
    assert main(["rollback", run_folder, "9"]) == 2
    assert main(["rollback", run_folder]) == 2
    assert "no version is named" in capsys.readouterr().err
