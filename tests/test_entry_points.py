"""What every program of `experiments/` does with `--help`, and with a reader that leaves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def asked(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"experiments/{script}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("script", "purpose", "more"),
    [
        ("train_offline.py", "Train on a data set: ", "Configuration groups"),
        ("sweep.py", "Search for settings: ", "--config-dir"),
    ],
)
def test_help_begins_with_what_the_program_is_for(script, purpose, more):
    done = asked(script, "--help")
    assert done.returncode == 0, done.stderr
    assert purpose in done.stdout[:300]
    assert more in done.stdout


def test_a_reader_that_has_seen_enough_is_no_mistake():
    told = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} experiments/run.py --help | head -c 10; echo ${{PIPESTATUS[0]}}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.stderr == ""
    assert told.stdout.endswith("0\n")


def test_the_example_of_configurations_of_ones_own_composes(tmp_path):
    page = (ROOT / "docs" / "usage.md").read_text()
    section = page.partition("**Configurations of your own**")[2].partition("A model of your own")[
        0
    ]
    for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL):
        named = re.search(r"^# (mine/\S+\.yaml)", text, re.MULTILINE)
        assert named is not None
        file = tmp_path / named[1]
        file.parent.mkdir(parents=True)
        file.write_text(text)
    told = re.search(r"python experiments/(\S+) --config-dir mine (.*)", section)
    assert told is not None
    done = asked(told[1], "--config-dir", str(tmp_path / "mine"), *told[2].split())
    assert done.returncode == 0, done.stderr
    assert "path: /models/Qwen3-0.6B" in done.stdout
    assert "batch_turns: 8" in done.stdout
    assert "name: combined" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["model=mine", "engine=tiny", "learner=tiny", "suite=tiny", "suite.methods=[binary_rl]"],
        ["suite=mine", "agent=noop"],
    ],
)
def test_what_sweeps_tell_trials_of_ones_own_folder_is_known_to_every_method_and_suite(
    tmp_path, words
):
    for file, text in (
        ("model/mine.yaml", "name: tiny\npath: random:llama\ncontext_length: 1024\n"),
        ("suite/mine.yaml", "name: mine\nsuites: [part]\n"),
        ("suite/part.yaml", "name: tau\n"),
    ):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    folder = f"hydra.searchpath=['file://{tmp_path}']"
    done = asked("evaluate.py", folder, *words, f"run.dir={tmp_path}", "run.dry=true")
    assert done.returncode == 0, done.stderr
