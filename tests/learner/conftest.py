"""A tiny random model, loaded once, a training step, compiled once, and runs that use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from learner_runs import OBJECTIVE, Run, config

from clawjax.config import ModelConfig
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel, load_model


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path="random:llama", context_length=256))


@pytest.fixture(scope="session")
def loop_step(tiny_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> TrainStep:
    """Keeps nothing between steps."""
    failed = tmp_path_factory.mktemp("failed")
    return TrainStep(tiny_model, objective=OBJECTIVE, learner=config(), failed_dir=failed)


@pytest.fixture
def run(tmp_path: Path, tiny_model: LoadedModel, loop_step: TrainStep) -> Run:
    return Run(tmp_path, tiny_model, loop_step)
