"""A run with a simulated user goes on with the settings that it began with, or not at all."""

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clawjax.config import (
    GatewayConfig,
    LogConfig,
    ModelConfig,
    ObjectiveConfig,
    RunConfig,
    RunSection,
    UserConfig,
)
from clawjax.config.objective import Baseline
from clawjax.errors import ConfigError
from clawjax.evals.report import BEFORE_FILE
from clawjax.runtime import run as run_module
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.run import run
from clawjax.runtime.settings import hold_settings

MODELS = Path(__file__).parents[1] / "models" / "data"


@pytest.fixture
def paths(tmp_path):
    found = RunPaths(tmp_path / "sweep" / "0")
    found.prepare()
    return found


@pytest.fixture
def config(paths):
    return RunConfig(
        run=RunSection(name="sweep", dir=str(paths.root)),
        model=ModelConfig(name="tiny", path="random:llama"),
        gateway=GatewayConfig(port=0),
        log=LogConfig(url=f"sqlite:///{paths.root}/turns.db"),
        objective=ObjectiveConfig(baseline=Baseline.none),
        user=UserConfig(enabled=True),
    )


def changed(config, group, **values):
    return replace(config, **{group: replace(getattr(config, group), **values)})


def measure(paths):
    """What the first part of the job leaves."""
    (paths.root / BEFORE_FILE).write_text("{}")


def test_results_of_one_objective_are_not_told_as_anothers(config, paths):
    hold_settings(config, paths)
    measure(paths)
    other = changed(config, "objective", baseline=Baseline.ema, kl_coef=0.0)
    with pytest.raises(ConfigError) as refused:
        hold_settings(other, paths)
    told = str(refused.value)
    assert "objective.baseline='none' there, 'ema' now" in told
    assert "objective.kl_coef=0.02 there, 0.0 now" in told
    assert "use another run.name, or delete the folder" in told
    hold_settings(config, paths)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("run", {"seed": 1}),
        ("model", {"context_length": 512}),
        ("learner", {"learning_rate": 1e-5}),
        ("reward", {"modules": ["next_state"]}),
        ("reward", {"weights": {"next_state": 0.5}}),
        ("user", {"persona": "plain"}),
        ("user", {"held_out": 4}),
    ],
)
def test_whatever_decides_what_is_learnt_is_held(config, paths, group, values):
    hold_settings(config, paths)
    measure(paths)
    [name] = values
    with pytest.raises(ConfigError, match=rf"{group}\.{name}="):
        hold_settings(changed(config, group, **values), paths)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("user", {"updates": 80, "max_turns": 999, "max_seconds": 9.0, "think_s": 0.0}),
        ("run", {"name": "moved", "dir": "/elsewhere", "max_restarts": 0}),
        ("gateway", {"host": "localhost", "port": 1}),
        ("monitor", {"live": False}),
        ("learner", {"max_steps": 99, "micro_batch_tokens": 256}),
        ("engine", {"slots": 1}),
    ],
)
def test_a_run_may_go_further_or_elsewhere(config, paths, group, values):
    hold_settings(config, paths)
    measure(paths)
    hold_settings(changed(config, group, **values), paths)


def test_options_of_ones_own_modules_are_held(config, paths):
    def options(**given):
        own = {"polite": {"path": "judges:Polite", "options": given}}
        return changed(config, "reward", modules=["polite"], own=own)

    hold_settings(options(words=["thanks"]), paths)
    measure(paths)
    hold_settings(options(words=["thanks"]), paths)
    with pytest.raises(ConfigError, match=r"reward\.own=.*thanks.* there, .*great.* now"):
        hold_settings(options(words=["great"]), paths)


def test_a_models_files_may_be_moved_but_it_stays_the_same(config, paths, tmp_path):
    moved = shutil.copytree(MODELS / "qwen2", tmp_path / "moved")
    hold_settings(changed(config, "model", path=str(MODELS / "qwen2")), paths)
    measure(paths)
    hold_settings(changed(config, "model", path=str(moved)), paths)
    with pytest.raises(ConfigError, match=r"model='qwen2@\w+' there, 'llama@\w+' now"):
        hold_settings(changed(config, "model", path=str(MODELS / "llama")), paths)


def test_before_anything_is_measured_settings_may_change(config, paths):
    hold_settings(config, paths)
    other = changed(config, "objective", kl_coef=0.0)
    hold_settings(other, paths)
    measure(paths)
    with pytest.raises(ConfigError, match="kl_coef"):
        hold_settings(config, paths)


def test_a_run_of_a_version_that_kept_no_settings_goes_on_and_keeps_them(config, paths):
    measure(paths)
    hold_settings(config, paths)
    with pytest.raises(ConfigError, match="kl_coef"):
        hold_settings(changed(config, "objective", kl_coef=0.0), paths)


def test_a_setting_that_the_version_before_did_not_have_is_no_difference(config, paths):
    hold_settings(config, paths)
    measure(paths)
    held = json.loads(paths.settings.read_text())
    del held["objective.kl_coef"]
    paths.settings.write_text(json.dumps(held | {"objective.gone": 1}))
    hold_settings(config, paths)
    assert "objective.kl_coef" in json.loads(paths.settings.read_text())


def test_a_run_is_refused_before_it_is_started_and_keeps_what_it_said(config, paths, monkeypatch):
    hold_settings(config, paths)
    measure(paths)
    paths.config.write_text("of the first run")
    paths.score.write_text('{"score": 0.9}')
    monkeypatch.setattr(run_module, "_supervise", lambda *_: pytest.fail("it was started"))
    with pytest.raises(ConfigError, match=r"objective\.kl_coef"):
        run(changed(config, "objective", kl_coef=0.0))
    assert paths.config.read_text() == "of the first run"
    assert not paths.score.exists()


async def finished(*_):
    return False


def test_who_serves_people_may_change_settings(config, paths, monkeypatch):
    monkeypatch.setattr(run_module, "_supervise", finished)
    config = changed(config, "user", enabled=False)
    measure(paths)
    assert run(config) is None
    assert run(changed(config, "objective", kl_coef=0.0)) is None
    assert not paths.settings.exists()


def test_a_start_on_a_full_disk_leaves_what_ran_on_record(config, paths, monkeypatch):
    talking = changed(config, "user", enabled=False)
    monkeypatch.setattr(run_module, "_supervise", finished)
    run(talking)
    before = paths.config.read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with (
            pytest.raises(ConfigError, match=r"config\.yaml cannot be written .*make room"),
            run_module._saved(changed(talking, "objective", kl_coef=0.0), paths),
        ):
            pytest.fail("it was started")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert paths.config.read_text() == before


def test_a_refused_resume_leaves_what_ran_on_record(config, paths, monkeypatch):
    """The learner alone sees that it does not go on from its checkpoint."""

    async def refused(*_):
        raise ConfigError("was trained with base_model=a, this run has b")

    async def finished(*_):
        return False

    talking = changed(config, "user", enabled=False)
    monkeypatch.setattr(run_module, "_supervise", finished)
    run(talking)
    before = paths.config.read_text()
    other = changed(talking, "objective", kl_coef=0.0)
    monkeypatch.setattr(run_module, "_supervise", refused)
    with pytest.raises(ConfigError, match="base_model"):
        run(other)
    assert paths.config.read_text() == before
    monkeypatch.setattr(run_module, "_supervise", finished)
    run(other)
    assert paths.config.read_text() != before
