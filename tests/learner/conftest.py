"""A tiny random model, loaded once, a training step, compiled once, and runs that use them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from learner_records import make_sample
from learner_runs import OBJECTIVE, Run, config
from policies import as_sampled

from clawjax.config import ModelConfig
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel, load_model
from clawjax.records import Sample


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path="random:llama", context_length=256))


@pytest.fixture(scope="session")
def loop_step(tiny_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> TrainStep:
    """Keeps nothing between steps."""
    failed = tmp_path_factory.mktemp("failed")
    return TrainStep(tiny_model, objective=OBJECTIVE, learner=config(), failed_dir=failed)


@pytest.fixture
def samples(tiny_model: LoadedModel) -> list[Sample]:
    """Three that the model itself drew, nobody's score on them."""
    drawn = [
        dataclasses.replace(
            make_sample(f"t{i}", 5 + i, 6 + 2 * i, seed=i + 1, vocab=200, temperature=0.8),
            credit=None,
        )
        for i in range(3)
    ]
    return as_sampled(tiny_model, tiny_model.params, drawn, version=0)


@pytest.fixture
def run(tmp_path: Path, tiny_model: LoadedModel, loop_step: TrainStep) -> Run:
    return Run(tmp_path, tiny_model, loop_step)
