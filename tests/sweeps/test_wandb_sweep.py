"""The file for W&B's sweeps: its command, as W&B's agent starts it, with W&B offline."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = (
    "model=tiny", "engine=tiny", "learner=tiny",
    "suite.held_out=2", "suite.neutral=1", "user.max_tokens=8", "suite.methods=[base]",
)  # fmt: skip


def command(values):
    """What `wandb agent` makes of the file and the values of one run."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")  # takes seconds
    sweep = yaml.safe_load((ROOT / "experiments" / "wandb_sweep.yaml").read_text())
    assert values.keys() == sweep["parameters"].keys()
    drawn = {"args": {key: {"value": value} for key, value in values.items()}}
    macros = utils.create_sweep_command_args(drawn) | {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [str(ROOT / sweep["program"])],
    }
    words = []
    for word in utils.create_sweep_command(sweep["command"]):
        is_macro = word.startswith("${") and word.endswith("}")
        words += macros[word[2:-1]] if is_macro else [word]
    return [*words, *TINY]


def agent_run(folder, run_id, values, *more):
    """One run of the sweep; whether scores were sent before it was over."""
    own = {"WANDB_RUN_ID": run_id, "WANDB_SWEEP_ID": "sweep", "WANDB_MODE": "offline"}
    with (folder / f"{run_id}.log").open("wb") as said:
        process = subprocess.Popen(
            [*command(values), *more], cwd=folder, stdout=said, stderr=said,
            env=os.environ | own | {"CLAWJAX_RUNS": str(folder), "WANDB_DIR": str(folder)},
        )  # fmt: skip
        try:
            were_sent = False
            until = time.monotonic() + 900
            while process.poll() is None:
                assert time.monotonic() < until, "it took over a quarter of an hour"
                were_sent |= sent(folder / f"sweep-{run_id}") > 0
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait(60)
    assert process.returncode == 0, (folder / f"{run_id}.log").read_text()
    return were_sent


def sent(run):
    """Bytes of its metrics that W&B has, as long as it has no final score."""
    state = run / "wandb.json"
    if not state.exists() or (run / "score.json").exists():
        return 0
    return json.loads(state.read_text())["offset"]


@pytest.mark.slow
def test_runs_have_folders_of_their_own_and_send_scores_as_they_come(tmp_path):
    values = {"learner.learning_rate": 1e-4, "learner.mini_batch_turns": 2}
    were_sent = agent_run(tmp_path, "first", values)
    assert were_sent, "scores were sent at the end only"
    others = {"learner.learning_rate": 5e-4, "learner.mini_batch_turns": 4}
    agent_run(tmp_path, "second", others, "suite.personas=[brief]")
    for run_id, personas in (("first", ["brief", "you"]), ("second", ["brief"])):
        run = tmp_path / f"sweep-{run_id}"
        assert json.loads((run / "wandb.json").read_text())["id"] == run_id
        assert 0.0 <= json.loads((run / "score.json").read_text())["score"] <= 1.0
        measured = sorted(each.name for each in (run / "trials").iterdir())
        assert measured == [f"{persona}-base-0.json" for persona in personas]
