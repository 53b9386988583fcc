"""A tiny random model, loaded once, and the helpers in `learner_records` for every folder below."""

from __future__ import annotations

import pytest

from clawjax.config import ModelConfig
from clawjax.models.load import LoadedModel, load_model


@pytest.fixture(scope="session")
def tiny_model() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path="random:llama", context_length=256))
