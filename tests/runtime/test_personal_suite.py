"""The personal suite on the tiny model: it runs, resumes, and its books balance."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from clawjax.config import (
    GatewayConfig,
    ModelConfig,
    RewardConfig,
    RunConfig,
    RunSection,
    SuiteConfig,
)
from clawjax.config.additions import drop_unset_additions
from clawjax.envs import persona as personas
from clawjax.errors import ConfigError
from clawjax.evals.personal_summary import trial_rows
from clawjax.evals.trials import read_trials
from clawjax.metrics.jsonl import read_jsonl
from clawjax.runtime import personal_suite

ROOT = Path(__file__).resolve().parents[2]


def evaluate(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments" / "evaluate.py"),
            "suite=tiny",
            "model=tiny",
            "engine=tiny",
            "learner=tiny",
            "user.max_tokens=16",
            f"run.dir={folder}",
            f"hydra.run.dir={folder}",
            *overrides,
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow
def test_the_suite_measures_every_trial_once(tmp_path: Path) -> None:
    first = evaluate(tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    files = sorted((tmp_path / "trials").glob("*.json"))
    assert [file.stem for file in files] == ["brief-base-0", "brief-combined-0", "brief-prompted-0"]
    found = {file.stem.split("-")[1]: json.loads(file.read_text()) for file in files}
    assert found["base"]["version"] == 0
    assert found["base"]["retention"]["kl_per_token"] == pytest.approx(0.0, abs=1e-6)
    trained = found["combined"]["training"]
    assert trained["logged"] == (
        trained["trained"] + sum(trained["dropped"].values()) + trained["pending"]
    )
    assert "stale" not in trained["dropped"]
    assert trained["lost"] == 0
    assert trained["turns_by_round"] == [6, 12]
    assert len(trained["style_by_round"]) == 2
    rows = {row["method"]: row for row in trial_rows(read_trials([tmp_path]))}
    assert rows.keys() == {"base", "prompted", "combined"}
    assert rows["combined"]["gain"] == (
        found["combined"]["style"]["style_score"] - found["base"]["style"]["style_score"]
    )
    assert rows["combined"]["training"]["trained"] == trained["trained"]
    assert "## brief" in (tmp_path / "results.md").read_text()
    written = [file.stat().st_mtime_ns for file in files]
    again = evaluate(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [file.stat().st_mtime_ns for file in files] == written
    other = evaluate(tmp_path, "learner.learning_rate=1e-5")
    assert other.returncode == 2
    assert "combined-0.json was measured with other settings: use another run" in other.stderr
    assert not (tmp_path / "score.json").exists(), "it would pass for that of the other settings"
    untrained = evaluate(tmp_path, "learner.learning_rate=1e-5", "suite.methods=[base,prompted]")
    assert untrained.returncode == 0, "what was not trained does not depend on how one would train"
    assert [file.stat().st_mtime_ns for file in files] == written


@pytest.mark.slow
def test_the_policy_that_talks_can_be_kept_behind_the_newest(tmp_path: Path) -> None:
    rounds = ("suite.updates=3", "suite.staleness=2", "suite.methods=[sft,binary_rl]")
    done = evaluate(tmp_path, *rounds, "objective.off_policy.preset=none")
    assert done.returncode == 0, done.stdout + done.stderr
    trial = json.loads((tmp_path / "trials" / "brief-sft-0.json").read_text())
    steps = [
        line
        for line in read_jsonl(tmp_path / "runs" / "brief-sft-0" / "metrics.jsonl")
        if "train/staleness_max" in line
    ]
    assert trial["version"] == len(steps)  # the newest is measured, whatever was talked to
    assert [line["train/staleness_max"] for line in steps] == [0, 1, 2][: len(steps)]
    assert by_the_base(tmp_path, "sft") == by_the_base(tmp_path, "binary_rl")


def by_the_base(folder: Path, method: str) -> dict[tuple[int, int], tuple[int, float]]:
    """What the first round's replies were like: the same seed draws the same before a step."""
    turns = read_jsonl(folder / "runs" / f"brief-{method}-0" / "user.jsonl")[:6]
    return {(t["session"], t["turn"]): (t["words"], t["style"]) for t in turns}


def test_an_unknown_persona_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    refused = evaluate(tmp_path, "suite.personas=[nobody]")
    assert refused.returncode == 2
    assert "persona 'nobody' is neither a file nor one of" in refused.stderr


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The personas of the trials that were measured, all by nothing."""
    found: list[str] = []

    def live(config: RunConfig, paths: Any, trial: personal_suite.Trial, model: Any) -> Any:
        found.append(config.user.persona)

        async def result() -> dict[str, Any]:
            return {"style": {"style_score": 0.5, "n": 1}}

        return result()

    monkeypatch.setattr(personal_suite, "load_model", lambda *given, **options: None)
    monkeypatch.setattr(personal_suite, "use_compilation_cache", lambda config: None)
    monkeypatch.setattr(personal_suite, "_live", live)
    return found


def measure(folder: Path, *chosen: str) -> list[dict[str, Any]]:
    config = RunConfig(
        run=RunSection(name="x", dir=str(folder)),
        model=ModelConfig(name="tiny", path="random:llama"),
        suite=SuiteConfig(personas=list(chosen), methods=["base"], seeds=[0]),
    )
    return personal_suite.run_suite({"base": config})


def test_a_persona_of_ones_own_is_measured_once_in_each_run(
    tmp_path: Path, measured: list[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    shutil.copy(Path(personas.__file__).parent / "personas" / "brief.yaml", mine)
    for _ in range(2):
        found = measure(tmp_path / "one", str(mine), "formal")
    assert measured == [str(mine), "formal"]
    assert [each["persona"] for each in found] == ["mine", "formal"]
    assert ["persona_file" in each for each in found] == [True, False]
    measure(tmp_path / "two", str(mine))
    assert len(measured) == 3
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["mine.yaml"]
    assert len(read_trials([tmp_path / "one"])) == 2
    mine.write_text(mine.read_text().replace("75", "50"))
    with pytest.raises(ConfigError, match=r"mine-base-0\.json was measured with other settings"):
        measure(tmp_path / "two", str(mine))


@pytest.mark.parametrize(
    ("changes", "is_other"),
    [
        ({"default_turn_kind": "side"}, True),
        ({"redact": ["email"]}, True),
        ({"session_idle_s": 5.0, "port": 1, "api_key_env": "MINE"}, False),
    ],
)
def test_a_trial_is_known_by_what_decides_it(
    tmp_path: Path, measured: list[str], changes: dict[str, Any], is_other: bool
) -> None:
    measure(tmp_path, "formal")
    config = RunConfig(
        run=RunSection(name="x", dir=str(tmp_path)),
        model=ModelConfig(name="tiny", path="random:llama"),
        suite=SuiteConfig(personas=["formal"], methods=["base"], seeds=[0]),
        gateway=GatewayConfig(**changes),
    )
    with pytest.raises(ConfigError, match="other settings") if is_other else nullcontext():
        personal_suite.run_suite({"base": config})
    assert len(measured) == 1


def test_places_for_what_is_ones_own_decide_nothing_while_they_are_empty() -> None:
    trial = personal_suite.Trial("formal", "binary_rl", 0)
    config = RunConfig(run=RunSection(name="x", dir="x"))
    settings = dataclasses.asdict(config)
    drop_unset_additions(settings)
    assert "own" not in settings["reward"], "trials from before there was such a place count"
    later = {"cache_dtype", "key_by"}
    assert not any(name in str(settings) for name in later), "nor were there these"
    digests = {personal_suite._digest(config, trial)}
    for options in ({}, {"words": ["thanks"]}):
        own = {"polite": {"path": "judges:Polite", "options": options}}
        config.reward = RewardConfig(modules=["polite"], own=own)
        digests.add(personal_suite._digest(config, trial))
    assert len(digests) == 3
    config.engine.cache_dtype = "bfloat16"
    assert personal_suite._digest(config, trial) not in digests


def test_personas_whose_trials_would_share_a_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"names brief and /me/brief\.yaml, whose trials"):
        SuiteConfig(personas=["brief", "/me/brief.yaml"])
