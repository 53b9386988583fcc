"""Suites of tasks, from the configuration to the table."""

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint
from sqlalchemy import create_engine, text

from clawjax.config import (
    AgentConfig,
    EngineConfig,
    EpisodeLimitsConfig,
    LogConfig,
    ModelConfig,
    RunConfig,
    RunSection,
    SuiteConfig,
)
from clawjax.errors import ConfigError, EvalError, UnavailableError
from clawjax.evals import suites as suites_module
from clawjax.evals.__main__ import main as command
from clawjax.evals.suites import SUITES
from clawjax.metrics.jsonl import JsonlMonitor, read_jsonl
from clawjax.runtime import task_suites
from clawjax.runtime.agents import Measured
from clawjax.runtime.scoring import RunningScore
from clawjax.runtime.task_suites import check_task_suites, run_task_suites


def config(folder, **agent):
    return RunConfig(
        run=RunSection(name="x", dir=str(folder)),
        model=ModelConfig(name="tiny", path="random:llama", context_length=2048),
        engine=EngineConfig(slots=2, live_buckets=[2048], warm_up=False, max_response_tokens=16),
        log=LogConfig(url=f"sqlite:///{folder}/turns.db"),
        agent=AgentConfig(**agent),
    )


def chosen(name="tau", **options):
    return SuiteConfig(name=name, limit=2, concurrency=1, **options)


def test_suites_make_one_table_and_metrics(tmp_path, capsys):
    parts = [chosen(), chosen("gaia")]
    found = run_task_suites(config(tmp_path, kind="oracle"), parts)
    assert [summary["success"]["value"] for summary in found] == [1.0, 1.0]
    assert (tmp_path / "results.md").read_text() == capsys.readouterr().out
    logged = read_jsonl(tmp_path / "metrics.jsonl")
    by_key = {key: entry[key] for entry in logged for key in entry}
    assert by_key["suite/tau/success"] == by_key["suite/gaia/success"] == 1.0
    assert [entry["evaluation/parts"] for entry in logged if "evaluation/parts" in entry] == [
        1, 2, 3, 4,
    ]  # fmt: skip
    assert json.loads((tmp_path / "score.json").read_text()) == {"score": 1.0}
    assert by_key["evaluation/score"] == 1.0


def test_an_unscored_part_is_a_step_and_in_no_mean(tmp_path):
    monitor = JsonlMonitor(tmp_path / "metrics.jsonl")
    running = RunningScore(monitor)
    for value in (None, 1.0, None, 0.0):
        running.add(value)
    monitor.close()
    logged = read_jsonl(tmp_path / "metrics.jsonl")
    assert [(entry["evaluation/parts"], entry["evaluation/score"]) for entry in logged] == [
        (2, 1.0), (3, 1.0), (4, 0.5),
    ]  # fmt: skip


def test_of_several_those_that_this_machine_lacks_are_left_out(tmp_path, monkeypatch):
    def unavailable(options):
        raise UnavailableError("no such hardware")

    monkeypatch.setattr(suites_module, "lacking", unavailable, raising=False)
    monkeypatch.setitem(SUITES, "lacking", f"{suites_module.__name__}:lacking")
    found = run_task_suites(config(tmp_path, kind="oracle"), [chosen("lacking"), chosen()])
    assert [summary["suite"] for summary in found] == ["tau"]
    monkeypatch.setitem(SUITES, "also", f"{suites_module.__name__}:lacking")
    for lacking, told in (
        ([chosen("lacking")], "^no such hardware"),
        ([chosen("lacking"), chosen("also")], r"none of suite\.suites=\[lacking, also\]:\n- lack"),
    ):
        with pytest.raises(UnavailableError, match=told):
            run_task_suites(config(tmp_path, kind="oracle"), lacking)
        with pytest.raises(UnavailableError, match=told):
            check_task_suites(config(tmp_path, kind="oracle"), lacking)
    assert not (tmp_path / "score.json").exists()


@pytest.mark.parametrize("selection", [{"tasks": ["open-1"]}, {"split": "dev"}])
def test_what_selects_tasks_of_one_suite_is_refused_of_several(selection):
    SuiteConfig(name="gaia", **selection)
    with pytest.raises(ConfigError, match=f"suite.{next(iter(selection))}=.* quick lists 2"):
        SuiteConfig(name="quick", suites=["gaia", "tau"], **selection)


@pytest.mark.slow
def test_suites_that_are_listed_take_options_by_their_names(tmp_path):
    def quick(*overrides):
        entry = str(Path(__file__).parents[2] / "experiments" / "evaluate.py")
        chosen = ["suite=quick", "suite.suites=[personal_agent]", "agent=oracle", *overrides]
        command = [sys.executable, entry, *chosen, f"hydra.run.dir={tmp_path}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    found = quick("+suite.options.personal_agent.personas=[brief]")
    assert found.returncode == 0, found.stderr
    report = json.loads((tmp_path / "personal_agent" / "report.json").read_text())
    assert (report["tasks"], report["success"]["value"]) == (2, 1.0)
    refused = quick("+suite.options.tasks=all")
    assert refused.returncode == 2
    assert "suite.options.tasks is no suite's" in refused.stderr


def test_records_are_scored_again_and_compared(tmp_path, capsys):
    for name in ("oracle", "noop"):
        run_task_suites(config(tmp_path / name, kind=name), [chosen()])
    capsys.readouterr()
    assert command(["rescore", str(tmp_path / "oracle" / "tau")]) == 0
    assert "1.000" in capsys.readouterr().out
    folders = [str(tmp_path / name / "tau") for name in ("noop", "oracle")]
    assert command(["compare", *folders]) == 0
    assert "+1.000" in capsys.readouterr().out
    assert command(["rescore", str(tmp_path)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err


def calculates(messages):
    """Slowly, and never answers; two tokens by the endpoint's count."""
    time.sleep(0.2)
    return 'Action: calculator\nArguments: {"expression": "1000 * 1000"}'


@pytest.mark.parametrize(
    ("limits", "detail"),
    [
        ({"turns": 2, "observation_chars": 3}, "turns: 2"),
        ({"tokens": 3}, "tokens: 4 of 3"),
        ({"wall_s": 1.0}, "wall time: 1 s"),
    ],
)
async def test_an_episode_ends_at_the_limits_that_are_set(tmp_path, limits, detail):
    limited = SuiteConfig(name="gaia", limit=1, limits=EpisodeLimitsConfig(**limits))
    async with ScriptedEndpoint(calculates).serving() as endpoint:
        agent = {"model": "m", "base_url": endpoint.base_url, "uses_tools": False}
        measured = config(tmp_path, kind="endpoint", **agent)
        await asyncio.to_thread(run_task_suites, measured, [limited])
        with pytest.raises(ConfigError, match="limits"):
            await asyncio.to_thread(run_task_suites, measured, [SuiteConfig(name="gaia", limit=1)])
    [episode] = read_jsonl(tmp_path / "gaia" / "trajectories.jsonl")
    assert (episode["outcome"], episode["detail"]) == ("task_limit", detail)
    [executed] = episode["steps"][0]["executed"]
    is_cut = "observation_chars" in limits
    whole, cut = "1000000", "100\n[4 more characters are not shown]"
    assert executed["result"]["observation"] == (cut if is_cut else whole)


@pytest.mark.slow
def test_the_policy_is_measured_and_nothing_of_it_is_trained_on(tmp_path):
    measured = config(tmp_path, kind="policy", max_tokens=8, uses_tools=False)
    [summary] = run_task_suites(measured, [chosen("gaia")])
    assert summary["agent"] == "tiny@0"
    assert summary["scored"] == 2
    with create_engine(measured.log.url).connect() as connection:
        kinds = connection.execute(text("select distinct kind from turns")).scalars().all()
    assert kinds == ["side"]


async def play(monkeypatch, measured, version=0):
    """As `agent=policy`, with somebody else's words."""
    async with ScriptedEndpoint(lambda messages: "I do not know.").serving() as endpoint:

        @asynccontextmanager
        async def served(config):
            yield Measured(config.agent, endpoint.base_url, config.model.name, version=version)

        monkeypatch.setattr(task_suites, "open_agents", served)
        return await asyncio.to_thread(run_task_suites, measured, [chosen("gaia")])


@pytest.mark.parametrize(
    ("group", "changes", "told"),
    [
        ("model", {"path": "/models/B"}, "settings.model.path: 'random:llama' there, '/models/B'"),
        ("model", {"revision": "main"}, "settings.model.revision: None there, 'main' now"),
        ("model", {"context_length": 1024}, "settings.model.context_length: 2048 there, 1024 now"),
        ("engine", {"weights_dtype": "bfloat16"}, "settings.engine.weights_dtype: 'float32' there"),
        ("engine", {"cache_dtype": "bfloat16"}, "settings.engine.cache_dtype: not written down"),
    ],
)
async def test_episodes_of_one_model_are_not_anothers_of_the_same_name(
    tmp_path, monkeypatch, group, changes, told
):
    measured = config(tmp_path, kind="policy", uses_tools=False)
    [first] = await play(monkeypatch, measured)
    assert first["agent"] == "tiny@0"
    manifest = json.loads((tmp_path / "gaia" / "manifest.json").read_text())
    assert manifest["settings"]["engine"] == {"weights_dtype": "float32"}, "as before cache_dtype"
    again = replace(measured, engine=replace(measured.engine, slots=4))
    assert [first["score"]] == [each["score"] for each in await play(monkeypatch, again)]
    other = replace(measured, **{group: replace(getattr(measured, group), **changes)})
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        await play(monkeypatch, other)
    assert "use another run.name" in str(refused.value)
    assert len(read_jsonl(tmp_path / "gaia" / "trajectories.jsonl")) == 2


@pytest.mark.parametrize("name", [None, "mine"])
async def test_episodes_of_one_version_are_not_anothers_whatever_it_is_called(
    tmp_path, monkeypatch, name
):
    measured = config(tmp_path, kind="policy", uses_tools=False, name=name)
    await play(monkeypatch, measured, version=3)
    await play(monkeypatch, measured, version=3)
    with pytest.raises(ConfigError, match=r"settings\.version: 3 there, 7 now"):
        await play(monkeypatch, measured, version=7)


async def test_episodes_of_a_version_that_did_not_say_which_model_are_refused(
    tmp_path, monkeypatch
):
    measured = config(tmp_path, kind="policy", uses_tools=False)
    await play(monkeypatch, measured)
    file = tmp_path / "gaia" / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["settings"]["model"]
    file.write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"settings\.model: not written down there, .*'tiny'"):
        await play(monkeypatch, measured)


def test_which_model_is_configured_is_nothing_to_agents_that_are_no_policy(tmp_path):
    measured = config(tmp_path, kind="noop")
    run_task_suites(measured, [chosen()])
    run_task_suites(replace(measured, model=ModelConfig(path="/models/B")), [chosen()])


def test_an_evaluation_that_fails_leaves_no_score_of_an_earlier_one(tmp_path):
    run_task_suites(config(tmp_path, kind="oracle"), [chosen()])
    assert json.loads((tmp_path / "score.json").read_text()) == {"score": 1.0}
    with pytest.raises(ConfigError, match="holds another evaluation"):
        run_task_suites(config(tmp_path, kind="noop"), [chosen()])
    assert not (tmp_path / "score.json").exists()


def test_an_endpoint_that_is_away_fails_the_run_and_counts_nothing(tmp_path, caplog):
    away = {"kind": "endpoint", "model": "m", "base_url": "http://127.0.0.1:9/v1", "retries": 0}
    with pytest.raises(EvalError, match="100% of the episodes of tau broke down") as refused:
        run_task_suites(config(tmp_path, **away), [chosen()])
    reason = "agent_error: no reply from http://127.0.0.1:9/v1/: Connection error. (ConnectError: "
    assert reason in str(refused.value)
    assert f"{tmp_path}/tau/report.html" in str(refused.value)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2, "each episode, when it ends"
    assert all(reason in line for line in told)
    assert not (tmp_path / "score.json").exists()
    report = json.loads((tmp_path / "tau" / "report.json").read_text())
    assert (report["scored"], report["success"]["value"]) == (0, None)


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"kind": "exploit", "exploit": "magic"}, "no exploit 'magic'"),
        ({"kind": "replay", "replay": "/nowhere"}, "no trajectory"),
    ],
)
def test_an_agent_that_cannot_be_made_is_named(tmp_path, agent, message):
    with pytest.raises(ConfigError, match=message):
        run_task_suites(config(tmp_path, **agent), [chosen()])


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        ({"kind": "magic"}, "agent.kind='magic' is unknown"),
        ({"kind": "endpoint"}, "needs agent.model"),
        ({"version": 3}, "agent.version=3 is of no run"),
        ({"prompt_price": 1.0}, "go together"),
    ],
)
def test_settings_that_contradict_each_other_are_named(agent, message):
    with pytest.raises(ConfigError, match=message):
        AgentConfig(**agent)
