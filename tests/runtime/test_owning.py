"""One learner for each turn log: other runs are refused, the same run is not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clawjax.config import GatewayConfig, LogConfig, ModelConfig, RunConfig, RunSection
from clawjax.errors import ConfigError
from clawjax.log.owner import owner_of
from clawjax.runtime import learn
from clawjax.runtime import run as run_module
from clawjax.runtime.build import open_log
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.owning import check_owner, open_own_log
from clawjax.runtime.paths import RunPaths


def run_in(folder: Path, name: str, **log: object) -> tuple[RunConfig, RunPaths]:
    """A run of its own folder, on the log that all of them share."""
    paths = RunPaths(folder / name)
    paths.prepare()
    url = f"sqlite:///{folder}/shared.db"
    config = RunConfig(
        run=RunSection(name=name, dir=str(paths.root)),
        model=ModelConfig(name="tiny", path="random:llama"),
        gateway=GatewayConfig(port=0),
        log=LogConfig(url=url, **log),  # pyright: ignore[reportArgumentType]
    )
    return config, paths


def learns(config: RunConfig, paths: RunPaths) -> str:
    """Start a learner and end it; the run's id."""
    open_own_log(config, paths).close()
    return paths.log_owner.read_text().strip()


def test_a_second_run_does_not_free_what_the_first_is_training_on(tmp_path):
    first, second = run_in(tmp_path, "a"), run_in(tmp_path, "b")
    log = open_own_log(*first)
    log.claim(6, ["t1"])
    with pytest.raises(ConfigError) as refused:
        open_own_log(*second)
    assert log.claimed() == 1
    log.close()
    told = str(refused.value)
    for _, paths in (first, second):
        assert str(paths.root) in told
        assert paths.log_owner.read_text().strip() in told
    assert f"sqlite:///{tmp_path}/shared.db" in told
    assert "a database or a schema of its own" in told
    assert "log.takes_over=true" in told


def test_a_run_on_anothers_log_is_refused_before_anything_is_started(tmp_path, monkeypatch):
    learns(*run_in(tmp_path, "a"))
    config, paths = run_in(tmp_path, "b")
    monkeypatch.setattr(run_module, "_supervise", lambda *_: pytest.fail("it was started"))
    with pytest.raises(ConfigError, match=r"is that of the run in .*/a .*log_owner not made yet"):
        run_module.run(config)
    assert not paths.config.exists()
    assert not paths.log_owner.exists()


def test_a_learner_on_anothers_log_ends_before_it_settles_anything(tmp_path, monkeypatch):
    learns(*run_in(tmp_path, "a"))
    monkeypatch.setattr(learn, "_build", lambda *_: pytest.fail("it was resumed"))
    with pytest.raises(ConfigError, match="two runs that learn from one log"):
        learn._learn(*run_in(tmp_path, "b"), learn.Pulse(RunPaths(tmp_path), is_noted=False))


async def test_loops_in_one_process_are_refused_as_well(tmp_path):
    learns(*run_in(tmp_path, "a"))
    with pytest.raises(ConfigError, match="two runs that learn from one log"):
        async with Lockstep.open(*run_in(tmp_path, "b"), None):
            pass


def test_a_run_that_starts_again_or_was_moved_keeps_its_log(tmp_path):
    config, paths = run_in(tmp_path, "a")
    owner_id = learns(config, paths)
    check_owner(config, paths)
    assert learns(config, paths) == owner_id
    moved = RunPaths(Path(shutil.move(paths.root, tmp_path / "elsewhere")))
    check_owner(config, moved)
    assert learns(config, moved) == owner_id
    log = open_log(config.log)
    assert owner_of(log) == (owner_id, str(moved.root))
    log.close()


def test_a_copy_of_a_run_goes_on_with_the_copy_of_its_log(tmp_path):
    config, paths = run_in(tmp_path, "a")
    config = replace(config, log=LogConfig(url=f"sqlite:///{paths.root}/turns.db"))
    learns(config, paths)
    copied = RunPaths(Path(shutil.copytree(paths.root, tmp_path / "branch")))
    branch = replace(config, log=LogConfig(url=f"sqlite:///{copied.root}/turns.db"))
    for one, where in ((branch, copied), (config, paths), (branch, copied)):
        check_owner(one, where)
        log = open_own_log(one, where)
        assert owner_of(log) == (where.log_owner.read_text().strip(), str(where.root))
        log.close()


def test_what_only_looks_owns_nothing_and_is_not_refused(tmp_path):
    config, paths = run_in(tmp_path, "a")
    check_owner(config, paths)
    open_log(config.log).close()
    assert not paths.log_owner.exists()
    other = run_in(tmp_path, "b")
    learns(*other)
    open_log(config.log).close()


def test_the_log_of_a_run_that_is_gone_is_taken_over_when_that_is_asked(tmp_path):
    config, paths = run_in(tmp_path, "a")
    learns(config, paths)
    shutil.rmtree(paths.root)
    config, paths = run_in(tmp_path, "a", takes_over=True)
    check_owner(config, paths)
    learns(config, paths)
    as_ever = replace(config, log=replace(config.log, takes_over=False))
    check_owner(as_ever, paths)
    learns(as_ever, paths)


def test_a_step_that_the_run_before_did_not_finish_counts_for_nobody(tmp_path):
    log = open_own_log(*run_in(tmp_path, "a"))
    log.claim(1, ["t1"])
    log.close()
    log = open_own_log(*run_in(tmp_path, "b", takes_over=True))
    assert log.claimed() == 0
    assert log.recover(step=7) == []
    assert log.outcomes() == {}
    log.claim(8, ["t1"])
    log.close()
    log = open_own_log(*run_in(tmp_path, "b", takes_over=True))
    assert log.claimed_by("t1") == 8, "one's own step is settled or freed by its checkpoint"
    log.close()


def test_an_id_that_a_power_cut_emptied_is_made_anew(tmp_path):
    config, paths = run_in(tmp_path, "a")
    paths.log_owner.write_text("")
    assert learns(config, paths)
