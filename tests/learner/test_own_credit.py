"""A step by credit of one's own: docs/objectives.md's example, and what a model learns of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from learner_records import make_sample
from learner_runs import LORA, VOCAB, Run
from policies import as_sampled, logprobs, served_params

from clawjax.config import CreditConfig, ObjectiveConfig
from clawjax.errors import LearnerError
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel
from clawjax.records import Sample

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objectives.md").read_text()
MODULE, COMMANDS = re.findall(
    r"```(?:python|bash)\n(.*?)```", PAGE.partition("### Credit of your own")[2], re.DOTALL
)[:2]
_, COMMAND = (shlex.split(line, comments=True) for line in COMMANDS.splitlines())

OWN = """
def by_place(turns):
    '''Whatever the scores: the first half of a reply up, the second half down.'''
    sizes = [len(turn.turn.response_ids) for turn in turns]
    return [[1.0] * (size // 2) + [-1.0] * (size - size // 2) for size in sizes]

def breaks(turns):
    raise KeyError("no such turn")
"""


@pytest.fixture
def folder(importable: Path) -> Path:
    """Where the functions can be imported from."""
    (importable / "own_step_credits.py").write_text(OWN)
    (importable / "credits.py").write_text(MODULE)
    return importable


def recorded(run: Run, sizes: list[int]) -> list[Sample]:
    """Replies of the base model, all praised."""
    drawn = [make_sample(f"t{i}", 4, n, seed=i + 1, vocab=VOCAB) for i, n in enumerate(sizes)]
    for sample in as_sampled(run.model, run.model.params, drawn, version=0):
        run.record(sample, 1.0)
    return drawn


def changes(run: Run, learner, drawn: list[Sample]) -> list[list[float]]:
    """Of each token's log-prob, by the step."""
    params = served_params(run.model, learner.versions.state, LORA)
    pairs = zip(
        logprobs(run.model, run.model.params, drawn),
        logprobs(run.model, params, drawn),
        strict=True,
    )
    return [(after - before).tolist() for before, after in pairs]


def test_a_step_goes_where_the_credit_says_and_not_where_the_scores_do(
    folder: Path, tiny_model: LoadedModel, loop_step: TrainStep
) -> None:
    credit = CreditConfig("own_step_credits:by_place")
    run = Run(folder, tiny_model, loop_step, ObjectiveConfig(kl_coef=0.0, credit=credit))
    drawn = recorded(run, [8, 8, 6, 10])
    learner = run.learner()
    assert learner.sweep()
    for change in changes(run, learner, drawn):
        half = len(change) // 2
        assert sum(change[:half]) > 0 > sum(change[half:])
    (texts,) = run.monitor.texts
    assert texts["train/terms"] == "L_rl 4 turns by own_step_credits:by_place"


def test_credit_that_breaks_ends_the_learner_and_no_turn_is_lost(
    folder: Path, tiny_model: LoadedModel, loop_step: TrainStep
) -> None:
    credit = CreditConfig("own_step_credits:breaks")
    run = Run(folder, tiny_model, loop_step, ObjectiveConfig(kl_coef=0.0, credit=credit))
    recorded(run, [6, 6, 6, 6])
    with pytest.raises(LearnerError, match="own_step_credits:breaks raised KeyError"):
        run.learner().sweep()
    counts = run.log.counts()
    assert (counts.pending, counts.trained, run.log.claimed()) == (4, 0, 0)


def test_the_example_is_what_a_run_says_it_learns_by(folder: Path) -> None:
    found = subprocess.run(
        [sys.executable, str(ROOT / COMMAND[1]), *COMMAND[2:]],
        cwd=folder,
        env={**os.environ, "CLAWJAX_RUNS": "runs", "PYTHONPATH": os.pathsep.join([".", str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "  A by credits:ends(tail=4), of the turns of a batch\n" in found.stdout


def test_the_example_credits_the_end_of_a_reply(
    folder: Path, tiny_model: LoadedModel, loop_step: TrainStep
) -> None:
    credit = CreditConfig("credits:ends", {"tail": 2})
    run = Run(folder, tiny_model, loop_step, ObjectiveConfig(kl_coef=0.0, credit=credit))
    drawn = recorded(run, [8, 8, 6, 10])
    learner = run.learner()
    assert learner.sweep()
    assert all(sum(change[-2:]) > 0 for change in changes(run, learner, drawn))
