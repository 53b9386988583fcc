"""Settings and state survive the disk, and nonsense does not pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clawjax.envs.user_settings import UserSettings, UserState, read_settings
from clawjax.errors import ConfigError

SettingsFor = Callable[..., UserSettings]


def test_settings_survive_their_file(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for("http://127.0.0.1:1/v1", persona="brief", concurrency=3)
    settings.write(tmp_path / "user.json")
    assert read_settings(["--config", str(tmp_path / "user.json")]) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "cannot read"),
        ("[]", "holds a list"),
        ('{"base_url": "x", "run_dir": ".", "concurency": 2}', "unknown key 'concurency'"),
        ('{"base_url": "x"}', "run_dir"),
        ('{"base_url": "x", "run_dir": ".", "updates": 0}', "updates=0 is too small"),
        ('{"base_url": "x", "run_dir": ".", "updates": "many"}', "user.json"),
    ],
)
def test_faulty_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "user.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_settings(["--config", str(tmp_path / "user.json")])


def test_state_survives_its_file(settings_for: SettingsFor) -> None:
    settings = settings_for("http://x/v1")
    state = UserState(next_session=4, turns=9, elapsed_s=2.5)
    state.add_errors({"503": 2, "connection": 1})
    state.save(settings)
    assert UserState.load(settings) == state
    assert state.status_errors == {"503": 2}
    assert state.connection_errors == 1


def test_state_of_another_user_is_not_taken_over(settings_for: SettingsFor) -> None:
    UserState(turns=9).save(settings_for("http://x/v1", seed=1))
    with pytest.raises(ConfigError, match="seed 1, not brief with seed 2"):
        UserState.load(settings_for("http://x/v1", seed=2))


def test_a_damaged_state_is_not_taken_for_a_fresh_one(settings_for: SettingsFor) -> None:
    settings = settings_for("http://x/v1")
    for damage in ("{", json.dumps({"turns": 1}), "[]"):
        settings.state_path.write_text(damage)
        with pytest.raises(ConfigError, match="delete it to start afresh"):
            UserState.load(settings)
