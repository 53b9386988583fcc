"""Sweeps: what may be tried, a study that is killed and goes on, and the summary."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sweep_runs import wait_for

from clawjax.cli import main as command
from clawjax.errors import ConfigError
from clawjax.sweeps.record import best, command_line, read_sweep
from clawjax.sweeps.space import Choice, Interval, grid, read_space, write_space

optuna = pytest.importorskip("optuna")

ROOT = Path(__file__).parents[2]
OBJECTIVE = Path(__file__).with_name("objective.py")
sys.path.insert(0, str(ROOT / "experiments"))

from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.core.config_store import ConfigStore  # noqa: E402
from sweep import read_arguments  # noqa: E402

from clawjax.config import hydra_schema  # noqa: E402
from clawjax.config.sweeping import SweepConfig  # noqa: E402
from clawjax.sweeps.pruning import RunningMedianPruner  # noqa: E402
from clawjax.sweeps.study import (  # noqa: E402
    _claim,
    _create,
    _Driver,
    _driver_name,
    _program,
    run_sweep,
)


def arguments(folder, *more):
    return [
        f"sweep.dir={folder}",
        f"sweep.entry={OBJECTIVE}",
        "x=interval(0, 10)",
        "mode=choice(a, b)",
        *more,
    ]


def sweep(folder, *more):
    """The driver, as a person starts it."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / "sweep.py"), *arguments(folder, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def states(folder):
    with sqlite3.connect(folder / "study.db") as database:
        return [state for (state,) in database.execute("select state from trials order by number")]


def test_ranges_are_read_in_hydras_grammar():
    _, space, fixed = read_arguments(
        [
            "suite=tau",
            "a=tag(log, interval(1e-5, 1e-2))",
            "b=int(interval(1, 8))",
            "c=range(1, 4)",
            "d=range(0.0, 1.0, 0.25)",
            "objective=binary_rl,opd",
            "+e=choice([1,2],'x y')",
        ]
    )
    assert fixed == ["suite=tau"]
    assert space == {
        "a": Interval(1e-5, 1e-2, is_log=True),
        "b": Interval(1, 8, is_whole=True),
        "c": Interval(1, 3, is_whole=True, step=1),  # without its end, as in Hydra
        "d": Interval(0, 0.75, step=0.25),
        "objective": Choice(("binary_rl", "opd")),
        "+e": Choice(("[1,2]", "x\\ y")),
    }
    assert read_space(json.loads(json.dumps(write_space(space)))) == space
    assert grid({"c": space["c"], "d": space["d"]}) == {"c": [1, 2, 3], "d": [0, 0.25, 0.5, 0.75]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hydra.sweep.dir=x", "a trial's folder is the sweep's"),
        ("x=interval(3, 1)", "is empty"),
        ("x=tag(log, interval(0, 1))", "has no logarithm"),
        ("x=choice(a)", "a choice among"),
        ("sweep.trials=0", "sweep.trials=0 is too small"),
        ("sweep.sampler=magic", "sweep.sampler='magic' is unknown"),
        ("sweep.trails=3", "trails"),
        ("+sweep.space.x=3", "is no range"),
    ],
)
def test_what_cannot_be_swept_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        read_arguments([given])


@pytest.mark.parametrize(
    "given",
    [
        "suite.options.password=hunter2",
        "suite.options={password: hunter2}",
        "suite.options.password=hunter2,hunter3",
        "suite.options={password: hunter2},{password: hunter3}",
        "sweep.fixed=['+suite.options.password=hunter2']",
        "+sweep.space={suite.options: 'choice({password: hunter2}, {a: 1})'}",
    ],
)
def test_a_secret_is_refused_before_the_sweep_writes_anything(given):
    with pytest.raises(ConfigError, match="would be saved with the run") as caught:
        read_arguments([given])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "conf" / "sweep").glob("*.yaml")))
def test_shipped_sweeps_compose(name):
    config, space, fixed = read_arguments([f"sweep={name}", "sweep.dir=/tmp/x"])
    assert config.name == name
    assert len(space) >= 2
    assert any(each.startswith("suite=") for each in fixed)


def test_a_folder_of_ones_own_is_searched_by_the_sweep_and_by_its_trials(tmp_path):
    own = tmp_path / "what's mine, 50%"
    (own / "sweep").mkdir(parents=True)
    (own / "sweep" / "own.yaml").write_text("name: own\nfixed: [suite=mine]\nspace: {x: 'a,b'}\n")
    (own / "suite").mkdir()
    (own / "suite" / "mine.yaml").write_text("name: tau\nlimit: 7\n")
    config, space, fixed = read_arguments(["sweep=own"], own)
    assert (config.name, list(space)) == ("own", ["x"])
    ConfigStore.instance().store(name="schema", node=hydra_schema())
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        trial = compose("evaluate", [*fixed, "run.dir=/tmp/x"])
    assert trial.suite.limit == 7
    with pytest.raises(ConfigError, match=r"is no folder"):
        read_arguments(["sweep=own"], tmp_path / "missing")


def test_a_sweep_that_is_killed_goes_on(tmp_path, capsys):
    killed = sweep(tmp_path, "sweep.trials=6", "pause=0.1", "sweep.pruner=none")
    wait_for(lambda: (tmp_path / "trials/0001/process.json").exists(), killed)
    wait_for((tmp_path / "trials/0001/metrics.jsonl").exists, killed)
    orphan = json.loads((tmp_path / "trials/0001/process.json").read_text())["pid"]
    killed.send_signal(signal.SIGKILL)
    killed.wait(300)
    assert states(tmp_path) == ["COMPLETE", "RUNNING"]
    other = sweep(tmp_path, "sweep.trials=6", "pause=0", "sweep.pruner=none")
    assert "holds another sweep" in other.communicate(timeout=300)[0]
    assert other.returncode == 2

    again = sweep(tmp_path, "sweep.trials=6", "pause=0.1", "sweep.pruner=none", "sweep.jobs=3")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    found = states(tmp_path)
    assert found[:3] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert found.count("COMPLETE") == 6
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)

    record = read_sweep(tmp_path)
    rows = record.rows
    assert rows[1].values == rows[2].values
    assert rows[1].state == "cut off, tried again"
    assert len({str(row.values) for row in rows}) == len(rows) - 1  # nothing is drawn twice
    top = best(record)
    assert top is not None
    expected = -abs(float(top.values["x"]) - 3) - (top.values["mode"] != "b")
    assert top.score == pytest.approx(expected)
    assert command(["sweep", "summary", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert command_line(record, top) in told
    assert "Importance (PED-ANOVA" in told
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_trials_are_pruned_and_failures_end_the_sweep(tmp_path):
    pruned = sweep(
        tmp_path / "a", "sweep.trials=8", "pause=0.12", "sweep.pruner_trials=2", "sweep.jobs=2",
        "sweep.sampler=random", "sweep.pruner_steps=0",
    )  # fmt: skip
    failing = sweep(tmp_path / "b", "sweep.trials=8", "pause=0", "+die=1", "sweep.max_failures=2")
    said, _ = failing.communicate(timeout=300)
    assert failing.returncode == 1
    assert "2 trials in a row failed" in said
    assert "no such luck" in said
    said, _ = pruned.communicate(timeout=300)
    assert pruned.returncode == 0, said
    assert "PRUNED" in states(tmp_path / "a")
    for row in read_sweep(tmp_path / "a").rows:
        has_score = (tmp_path / "a" / "trials" / f"{int(row.name):04d}" / "score.json").exists()
        assert has_score or row.state != "complete"


def began(*scores, direction="maximize", others=()):
    """Whether a trial with these scores so far is pruned, beside others that ran to their end."""
    study = optuna.create_study(direction=direction)
    for each in others:
        values = dict(enumerate(each, 1))
        study.add_trial(optuna.trial.create_trial(value=each[-1], intermediate_values=values))
    trial = study.ask()
    for step, score in enumerate(scores, 1):
        trial.report(score, step)
    frozen = study.get_trials()[-1]
    return RunningMedianPruner(trials=3, steps=2).prune(study, frozen)


def test_a_trial_that_began_well_is_pruned_once_it_is_behind():
    others = [[0.5, 0.6, 0.7]] * 3
    assert not began(1.0, 0.7, others=others)
    assert began(1.0, 0.5, others=others), "its best score was the best of all"
    assert not began(1.0, 0.5, 0.7, others=others)
    assert began(0.5, float("nan"), others=others)
    assert not began(0.5, 0.5, direction="minimize", others=others)
    assert began(0.5, 0.7, direction="minimize", others=others)
    assert not began(0.1, others=others), "nothing before step 2"
    assert not began(0.1, 0.1, others=others[:2]), "two trials tell nothing"


def test_several_drivers_of_a_study_draw_their_own_values(tmp_path):
    config = SweepConfig(name="s", storage=f"sqlite:///{tmp_path / 'study.db'}", sampler="random")
    space = {"x": Interval(0.0, 1.0)}
    drawn = []
    for name in ("one", "two"):
        study = _create(config, tmp_path / name, space)
        drawn.append(study.sampler._rng.rng.random())
    assert drawn[0] != drawn[1]


def test_a_trial_cut_off_before_it_had_its_values_gets_them_again(tmp_path):
    config = SweepConfig(name="s", sampler="grid")
    space = {"x": Choice(("1", "2"))}
    study = _create(config, tmp_path, space)
    trial = study.ask()
    trial.set_user_attr("driver", _driver_name(tmp_path))
    _Driver(config, space, [], tmp_path, lambda: False).take_back(study)
    waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
    assert sorted(each.system_attrs["fixed_params"]["x"] for each in waiting) == ["1", "2"]


def test_a_sweep_that_was_moved_takes_back_what_it_left(tmp_path, monkeypatch):
    """Also to another machine, as a container is at each start."""
    config, space = SweepConfig(name="s", sampler="grid"), {"x": Choice(("1", "2"))}
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    _claim(before, config, space, [])
    left = _Driver(config, space, [], before, lambda: False)._next(_create(config, before, space))
    assert left is not None
    before.rename(after)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    study = _create(config, after, space)
    assert read_sweep(after).rows[0].state == "running"
    driver = _Driver(config, space, [], after, lambda: False)
    driver.take_back(study)
    assert read_sweep(after).rows[0].state == "cut off, tried again"
    again = [driver._next(study) for _ in range(2)]
    assert sorted(trial.params["x"] for trial in again) == ["1", "2"]
    folders = {trial.params["x"]: trial.user_attrs["folder"] for trial in again}
    assert folders[left.params["x"]] == str(after / "trials" / "0000")
    assert all(Path(each).parent == after / "trials" for each in folders.values())


def test_a_trial_that_is_not_begun_again_is_not_said_to_be(tmp_path):
    config, space = SweepConfig(name="s", sampler="grid", retries=0), {"x": Choice(("1", "2"))}
    _claim(tmp_path, config, space, [])
    study = _create(config, tmp_path, space)
    driver = _Driver(config, space, [], tmp_path, lambda: False)
    assert driver._next(study) is not None
    driver.take_back(study)
    assert [row.state for row in read_sweep(tmp_path).rows] == ["cut off", "waiting"]


def test_a_grid_is_walked_once_and_not_again(tmp_path):
    """In a folder whose name Hydra's grammar cannot read as it is."""
    folder = tmp_path / "é (1)"
    for _ in range(2):
        done = subprocess.run(
            [
                sys.executable,
                str(ROOT / "experiments" / "sweep.py"),
                f"sweep.dir='{folder}'",
                f"sweep.entry={OBJECTIVE}",
                "sweep.sampler=grid",
                "sweep.jobs=2",
                "x=range(1, 3)",
                "mode=a,b",
                "pause=0",
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        rows = read_sweep(folder).rows
        assert sorted((row.values["x"], row.values["mode"]) for row in rows) == [
            ("1", "a"), ("1", "b"), ("2", "a"), ("2", "b"),
        ]  # fmt: skip
        assert {row.state for row in rows} == {"complete"}


def test_a_point_of_a_grid_that_fails_is_not_replaced_by_another(tmp_path):
    given = ["sweep.sampler=grid", "x=range(1, 3)", "+die=0,1", "pause=0"]
    for _ in range(2):
        said, _ = sweep(tmp_path, *given).communicate(timeout=300)
        assert sorted(states(tmp_path)) == ["COMPLETE"] * 4 + ["FAIL"] * 4, said


def test_a_grid_without_end_claims_no_folder(tmp_path):
    config = SweepConfig(dir=str(tmp_path / "s"), sampler="grid", entry=str(OBJECTIVE))
    with pytest.raises(ConfigError, match="cannot list all of x"):
        run_sweep(config, {"x": Interval(0.0, 1.0)}, ["mode=b", "pause=0"])
    study, _ = run_sweep(config, {"x": Interval(1.0, 2.0, step=1.0)}, ["mode=b", "pause=0"])
    assert len(study.trials) == 2


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("dir", "file/s", r"sweep\.dir=.*file/s cannot be written \(Not a directory\)"),
        ("entry", "nope.py", r"sweep\.entry=nope\.py is no file"),
    ],
)
def test_what_no_trial_can_run_by_claims_no_folder(tmp_path, monkeypatch, setting, value, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    config = SweepConfig(**({"dir": "s", "entry": str(OBJECTIVE)} | {setting: value}))
    with pytest.raises(ConfigError, match=says):
        run_sweep(config, {"x": Choice(("1", "2"))}, ["mode=b", "pause=0"])
    assert not (tmp_path / "s").exists()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no sweep"):
        read_sweep(tmp_path)


def test_an_entry_point_of_the_checkout_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _program("experiments/run.py") == str(ROOT / "experiments" / "run.py")
    (tmp_path / "own.py").touch()
    assert _program("own.py") == "own.py"
    assert _program("nowhere.py") == "nowhere.py"
