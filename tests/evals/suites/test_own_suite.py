"""A suite of one's own: docs/evaluation.md's example as it is written, and what is refused."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from toy_suite import toy_suite, toy_task

from clawjax.config import SuiteConfig
from clawjax.errors import ConfigError
from clawjax.evals.__main__ import main
from clawjax.evals.gates import gates
from clawjax.evals.harness.protocols import Launch
from clawjax.evals.suites import build_suite
from clawjax.evals.suites.personal_agent.suite import QUESTIONS
from clawjax.evals.suites.tau.suite import LIBRARY

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "evaluation.md").read_text()
MODULE, COMMANDS = re.findall(
    r"```(?:python|bash)\n(.*?)```", PAGE.partition("### A suite of your own")[2], re.DOTALL
)[:2]
_, PLAYED, LISTED, RESCORED = (shlex.split(line, comments=True) for line in COMMANDS.splitlines())


def told(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command in the folder of `sums.py` says."""
    program = [str(ROOT / part) if part.startswith("experiments/") else part for part in arguments]
    return subprocess.run(
        [sys.executable, *program],
        cwd=folder,
        env={**os.environ, "CLAWJAX_RUNS": "runs", "PYTHONPATH": os.pathsep.join([".", str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(importable):
    (importable / "sums.py").write_text(MODULE)
    return importable


def test_the_example_is_played_and_scored_again_as_it_is_written(folder):
    found = told(folder, *PLAYED[1:])
    assert found.returncode == 0, found.stderr
    report = json.loads((folder / "runs" / "own" / "sums" / "report.json").read_text())
    assert (report["tasks"], report["success"]["value"]) == (10, 1.0)
    scores = folder / "runs" / "own" / "sums" / "scores.jsonl"
    before = scores.read_text()
    scores.unlink()
    unnamed = told(folder, *RESCORED[1:-2])
    assert (unnamed.returncode, scores.exists()) == (2, False), "a record runs no code of its own"
    assert "if it is yours, name it by --suite sums:build" in unnamed.stderr
    again = told(folder, *RESCORED[1:])
    assert again.returncode == 0, again.stderr
    assert scores.read_text() == before


@pytest.mark.slow
def test_it_is_listed_beside_others_as_it_is_written(folder):
    found = told(folder, *LISTED[1:], "suite.limit=2")
    assert found.returncode == 0, found.stderr
    for name in ("tau", "sums"):
        report = json.loads((folder / "runs" / "quick" / name / "report.json").read_text())
        assert (report["tasks"], report["success"]["value"]) == (2, 0.0)


def test_a_mistake_is_told_by_a_dry_run(folder):
    found = told(folder, *PLAYED[1:], "suite.options.lagest=4", "run.dry=true")
    assert found.returncode == 2
    assert "suite.options.lagest is unknown: sums:build has no such option" in found.stderr


def test_a_suite_that_is_not_named_and_a_secret_are_refused():
    with pytest.raises(ConfigError, match=r"'own' is unknown: .* or package\.module:function of a"):
        build_suite("own")
    with pytest.raises(ConfigError, match=r"suite\.options\.api_key would be saved") as caught:
        SuiteConfig(name="sums:build", options={"api_key": "hunter2"})
    assert "hunter2" not in str(caught.value)


async def test_the_gates_hold_it(folder):
    suite = build_suite("sums:build", {"largest": 2})
    found = [gate async for gate in gates(suite, folder)]
    assert len(found) >= 5
    assert not [gate for gate in found if not gate.holds]


@pytest.fixture
def own(monkeypatch) -> ModuleType:
    module = ModuleType("own_suite")
    monkeypatch.setitem(sys.modules, "own_suite", module)
    return module


TOY = toy_suite()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: None, "suite.name=own_suite:build made a NoneType: return a .*Suite"),
        (lambda: replace(TOY, name="tau"), "is called 'tau', .* none of dbbench"),
        (lambda: replace(TOY, name="../x"), "is called '../x', which its folder is to be called"),
        (lambda: replace(TOY, tasks=()), "0 of its 0 tasks have a task_id of their own"),
        (lambda: toy_suite(toy_task(1), toy_task(1)), "1 of its 2 tasks have a task_id"),
        (
            lambda: replace(TOY, launch=Launch("toy_suite:CounterEnviroment")),
            "launch.factory=toy_suite:CounterEnviroment .*did you mean CounterEnvironment",
        ),
        (
            lambda: replace(TOY, launch=Launch("toy_suite:CounterEnvironment", {"nose": ""})),
            r"launch\.options\.nose is unknown: .*did you mean noise",
        ),
        (lambda: 1 / 0, "suite.name=own_suite:build: the call raised ZeroDivisionError"),
    ],
)
def test_what_is_no_suite_is_refused_with_what_it_lacks(own, made, says):
    own.build = made
    with pytest.raises(ConfigError, match=says):
        build_suite("own_suite:build")


def test_what_is_on_record_is_read_where_its_environment_cannot_start(own):
    own.build = lambda: replace(TOY, launch=Launch("no_such_z:Environment"))
    assert build_suite("own_suite:build", is_played=False).name == "toy"
    with pytest.raises(ConfigError, match="No module named 'no_such_z'"):
        build_suite("own_suite:build")


def test_a_record_of_another_suite_is_not_scored_by_this_one(own, tmp_path, capsys):
    own.build = toy_suite
    manifest = {"suite": "sums", "settings": {"suite": {}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert main(["rescore", str(tmp_path), "--suite", "own_suite:build"]) == 2
    assert "is of the suite 'sums', and own_suite:build makes 'toy'" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"suite": "own_suite:build"}))
    assert main(["rescore", str(tmp_path)]) == 2
    assert "which is none of clawjax's" in capsys.readouterr().err


def record_of(folder: Path, suite: str, options: dict[str, object], **more: object) -> Path:
    """What somebody else may have written."""
    record = folder / "record"
    record.mkdir()
    settings = {"suite": options, **more}
    (record / "manifest.json").write_text(json.dumps({"suite": suite, "settings": settings}))
    return record


MARK = "from pathlib import Path\nPath('imported').touch()\n"


def test_a_record_names_no_code_to_run_by_way_of_a_persona_either(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "marked_wishes.py").write_text(f"{MARK}def short(reply, question): return True\n")
    shipped = (ROOT / "clawjax" / "envs" / "personas" / "brief.yaml").read_text()
    (folder / "mine.yaml").write_text(
        shipped.replace("style:\n", "style:\n  own:\n    short: marked_wishes:short\n", 1).replace(
            "  complaint:\n", "  complaint:\n    short: [Shorter!]\n", 1
        )
    )
    (entry,) = [e for e in json.loads(QUESTIONS.read_text()) if e["persona"] == "brief"]
    (folder / "mine.json").write_text(json.dumps([entry | {"persona": "mine.yaml"}]))
    record = record_of(folder, "personal_agent", {"path": "mine.json"})
    assert main(["rescore", str(record)]) == 2
    told = capsys.readouterr().err
    assert "style.own.short='marked_wishes:short' is not imported" in told
    assert "say so by --suite personal_agent" in told
    assert not (folder / "imported").exists()
    main(["rescore", str(record), "--suite", "personal_agent"])
    assert (folder / "imported").exists()


def test_a_record_names_no_domain_to_import(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "marked_domain.py").write_text(MARK)
    record = record_of(folder, "tau", {"domain": "marked_domain", "path": str(LIBRARY)})
    assert main(["rescore", str(record)]) == 2
    assert "domain='marked_domain' is not imported" in capsys.readouterr().err
    assert not (folder / "imported").exists()


def test_what_a_record_is_called_is_no_command_to_paste(folder, capsys):
    record = record_of(folder, "mine\x1b]0;x\x07", {}, path="x;touch imported")
    assert main(["rescore", str(record)]) == 2
    told = capsys.readouterr().err
    assert "--suite package.module:function" in told
    assert "touch" not in told
    assert "\x1b" not in told
