"""Records are scored, compared and reported where nothing could be played."""

import dataclasses
import json

import pytest

from clawjax.config import AgentConfig
from clawjax.errors import UnavailableError
from clawjax.evals.__main__ import main
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Parse,
    Score,
    Step,
    Trajectory,
    Usage,
)
from clawjax.evals.suites import build_suite
from clawjax.evals.suites.agentbench.system import machine
from clawjax.evals.web.chromium import EXECUTABLE_VARIABLE


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """No browser, and none of the programs that machines are made with."""
    monkeypatch.setenv(EXECUTABLE_VARIABLE, str(tmp_path / "no-chromium"))
    monkeypatch.setattr(machine, "_SYSTEM_PATH", str(tmp_path))
    machine.machine_problem.cache_clear()
    yield
    machine.machine_problem.cache_clear()


def wrong(suite, task):
    """A wrong answer on the first page, and nothing where the result should be."""
    contents = [""] * len(suite.inspection(task).get("targets", ()))
    after = {"url": "http://shop/", "sites": {}, "rows": {}}
    return {"answer": "7", "after": after, "evidence": {"contents": contents}}


def checked(suite, task):
    """All its checks passed, or its answer was right."""
    match = task.reference.extra.get("match")
    if match is not None:
        return {"answer": match.get("answer", "jun")}
    wanted = len(task.reference.extra["check"])
    return {"evidence": {"wanted": wanted, "steps": [{"exit_code": 0}] * wanted}}


def record(folder, name, ended, *, version=None, agent=None):
    """An evaluation of all tasks on record, as if it had been played elsewhere."""
    suite = build_suite(name, is_played=False)
    version = version or suite.version
    store = EpisodeStore(folder)
    settings = {"suite": {}, "agent": dataclasses.asdict(agent or AgentConfig())}
    store.claim({"suite": name, "suite_version": version, "settings": settings})
    turn = AgentTurn("Done.", usage=Usage(1000, 500))
    for task in suite.tasks:
        trajectory = Trajectory(
            suite=name, suite_version=version, data_version=task.data_version,
            task_id=task.task_id, split=task.split, trial=0, attempt=0, seed=0, agent="elsewhere",
            instruction=task.instruction, first_observation="", outcome=Outcome.COMPLETED,
            steps=(Step(turn, Parse.PARSED),), **ended(suite, task),
        )  # fmt: skip
        store.keep(trajectory)
        store.keep_score(trajectory, Score(0.5), version)
    return suite, store


@pytest.mark.usefixtures("bare")
def test_questions_that_were_answered_with_a_browser_are_read_without_one():
    chosen = {"browser": "chromium", "python": "off"}
    with pytest.raises(UnavailableError, match="browser=chromium needs"):
        build_suite("gaia", chosen)
    tools = {tool.name for tool in build_suite("gaia", chosen, is_played=False).tasks[0].tools}
    assert "browse_goto" in tools


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("name", "ended", "score"), [("web", wrong, 0), ("os", checked, 1)])
def test_records_are_scored_and_compared_without_what_playing_takes(
    name, ended, score, tmp_path, capsys
):
    with pytest.raises(UnavailableError, match=f"{name} needs"):
        build_suite(name)
    _, store = record(tmp_path / "a", name, ended)
    record(tmp_path / "b", name, ended)
    for folder in ("a", "b"):
        assert main(["rescore", str(tmp_path / folder)]) == 0
    assert {made.error for _, made in store.scores().values()} == {None}
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (report["unscored"], report["score"]["value"]) == (0, score)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "+0.000" in capsys.readouterr().out


def test_what_tokens_cost_is_kept(tmp_path):
    agent = AgentConfig(prompt_price=2.0, completion_price=4.0)
    record(tmp_path, "os", checked, agent=agent)
    assert main(["rescore", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["efficiency"]["cost"] == pytest.approx((1000 * 2 + 500 * 4) / 1e6)


def test_scores_of_two_versions_are_not_compared(tmp_path, capsys):
    for folder, version in (("a", "0"), ("b", "0"), ("new", None)):
        suite, store = record(tmp_path / folder, "os", checked, version=version)
    assert main(["rescore", str(tmp_path / "new")]) == 0
    store = EpisodeStore(tmp_path / "b")
    assert main(["rescore", str(tmp_path / "b")]) == 0
    assert {version for version, _ in store.scores().values()} == {suite.version}
    folders = [str(tmp_path / folder) for folder in ("a", "b")]
    assert main(["compare", *folders]) == 2
    told = capsys.readouterr().err
    assert f"by version 0 of the suite in A and by {suite.version} in B" in told
    assert main(["rescore", folders[0]]) == 0
    assert main(["compare", *folders]) == 0
    assert "was played under" not in capsys.readouterr().out
    assert main(["compare", folders[0], str(tmp_path / "new")]) == 0
    assert f"A / B was played under | 0 / {suite.version} |" in capsys.readouterr().out
