"""`clawjax forget` and `clawjax rollback`."""

import numpy as np
import pytest
from test_cli import turn

from clawjax.cli import main
from clawjax.keys import KEY_FILE, KeyFile, Role, new_key
from clawjax.records import Outcome
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
    assert "trained on them: 2 (1 turns)" in said
    assert "2 versions have learnt from them" in said
    assert "`clawjax rollback RUN 1`" in said
    assert main(["forget", run_folder, "--session", "s1"]) == 0
    assert "0 turns forgotten" in capsys.readouterr().out


def test_a_key_is_named_by_its_name(run_folder, tmp_path, capsys):
    KeyFile(tmp_path / KEY_FILE).add(new_key("phone", [Role.CHAT], now=1.0).key)
    assert main(["forget", run_folder, "--key", "phone"]) == 0
    assert "0 turns forgotten" in capsys.readouterr().out
    assert main(["forget", run_folder, "--key", "local"]) == 0
    assert "2 turns forgotten" in capsys.readouterr().out


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


def test_rolling_back(run_folder, capsys):
    assert main(["rollback", run_folder, "1"]) == 0
    assert "Version 1 is served from now on, in place of 3" in capsys.readouterr().out
    assert main(["rollback", run_folder, "--list"]) == 0
    assert "rolled back" in capsys.readouterr().out
    assert main(["rollback", run_folder, "9"]) == 2
    assert main(["rollback", run_folder]) == 2
    assert "no version is named" in capsys.readouterr().err
