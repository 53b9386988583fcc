import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from clawjax.config import LoraConfig, ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.__main__ import main
from clawjax.models.export import (
    export_adapter,
    export_merged,
    params_to_tensors,
    tensors_to_params,
)
from clawjax.models.load import base_name, load_model
from clawjax.models.lora import init_adapter, merge
from clawjax.models.transformer import Transformer
from clawjax.records import Message
from clawjax.weights import DirectoryWeightStore

DATA = Path(__file__).parent / "data"
CONFIG = LoraConfig(rank=2, alpha=5.0, targets=["q_proj", "down_proj"])


def load(path, context_length=128):
    return load_model(ModelConfig(path=str(path), context_length=context_length))


def equal(first, second):
    return jax.tree.all(jax.tree.map(np.array_equal, first, second))


def some_adapter(model):
    network = Transformer(model.architecture)
    adapter = init_adapter(network, model.params, CONFIG, jax.random.key(1))
    return jax.tree.map(lambda leaf: leaf + 0.1, adapter)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_parameters_survive_their_tensors(family):
    model = load(f"random:{family}")
    tensors = params_to_tensors(model.params, model.architecture)
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (64, 128)
    assert ("lm_head.weight" in tensors) == (not model.architecture.is_tied)
    assert equal(tensors_to_params(tensors, model.architecture), model.params)


def test_missing_and_misshapen_tensors_are_named():
    model = load("random:llama")
    tensors = params_to_tensors(model.params, model.architecture)
    name = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(ConfigError, match=f"'{name}' has shape.*different models"):
        tensors_to_params(tensors | {name: tensors[name].T}, model.architecture)
    del tensors[name]
    with pytest.raises(ConfigError, match=f"'{name}' is missing"):
        tensors_to_params(tensors, model.architecture)


@pytest.mark.parametrize(
    "path", ["random:llama", "random:qwen3", DATA / "llama", DATA / "llama3_rope", DATA / "qwen2"]
)
def test_an_exported_model_loads_as_the_same_model(tmp_path, path):
    model = load(path)
    export_merged(tmp_path / "out", model, model.params)
    again = load(tmp_path / "out")
    assert again.architecture == model.architecture
    assert equal(again.params, model.params)
    assert again.tokenizer.eos_ids == model.tokenizer.eos_ids
    text = "Hello 123 <|im_end|> naïve\n\n  x"
    assert again.tokenizer.encode(text) == model.tokenizer.encode(text)
    chat = [Message("user", "Hi")]
    assert again.tokenizer.render(chat) == model.tokenizer.render(chat)


def test_an_adapter_directory_is_what_peft_expects(tmp_path):
    model = load("random:llama")
    export_adapter(tmp_path, some_adapter(model), CONFIG, model.base_id)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    by_peft = json.loads((DATA / "llama" / "adapter" / "adapter_config.json").read_text())
    ours = json.loads((tmp_path / "adapter_config.json").read_text())
    assert set(ours) <= set(by_peft)
    assert ours["peft_type"] == by_peft["peft_type"]


@pytest.mark.parametrize("adapter_folder", ["ours", "peft"])
def test_the_command_merges_an_adapter(tmp_path, adapter_folder):
    model = load(DATA / "llama")
    folder = DATA / "llama" / "adapter"
    if adapter_folder == "ours":
        folder = tmp_path / "adapter"
        export_adapter(folder, some_adapter(model), CONFIG, model.base_id)
    out = tmp_path / "out"
    arguments = [
        "export",
        "--model",
        str(DATA / "llama"),
        "--weights",
        str(folder),
        "--out",
        str(out),
    ]
    assert main(arguments) == 0
    exported = load(out).params
    assert not equal(exported, model.params)
    if adapter_folder == "ours":
        assert equal(exported, merge(model.params, some_adapter(model), CONFIG))


def test_the_command_takes_fully_trained_weights(tmp_path):
    trained = load_model(ModelConfig(path="random:llama"), seed=9)
    export_merged(tmp_path / "trained", trained, trained.params)
    arguments = ["export", "--model", "random:llama", "--weights", str(tmp_path / "trained")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert equal(load(tmp_path / "out").params, trained.params)


def test_the_command_copies_an_adapter(tmp_path):
    model = load("random:llama")
    export_adapter(tmp_path / "in", some_adapter(model), CONFIG, model.base_id)
    arguments = ["export", "--model", "random:llama", "--weights", str(tmp_path / "in")]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--adapter"]) == 0
    first, second = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("in", "out")
    )
    assert equal(first, second)


def test_an_adapter_names_its_base_as_peft_finds_it(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(DATA)
    folder, out = DATA / "llama" / "adapter", tmp_path / "out"
    words = ["export", "--model", "llama", "--weights", str(folder), "--out", str(out)]
    for more, base in (
        (["--adapter"], str(DATA / "llama")),
        (["--adapter", "--base", "me/mine"], "me/mine"),
    ):
        assert main([*words, *more]) == 0
        told = json.loads((out / "adapter_config.json").read_text())
        assert told["base_model_name_or_path"] == base
        assert f"base model: {base}" in caplog.text
    assert main([*words, "--base", "me/mine"]) == 2
    assert "--base is of --adapter" in caplog.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("random:llama", "random:llama"),
    ],
)
def test_a_model_that_is_no_directory_is_called_as_on_the_hub(path, name):
    assert base_name(path) == name


def test_exporting_says_what_it_wrote_and_nothing_of_libraries(tmp_path):
    out = tmp_path / "out"
    words = ["export", "--model", "random:llama", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "clawjax.models", *words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == f"written to {out}\n"


def test_adapters_of_another_formula_are_refused(tmp_path, caplog):
    model = load("random:llama")
    export_adapter(tmp_path / "in", some_adapter(model), CONFIG, model.base_id)
    file = tmp_path / "in" / "adapter_config.json"
    plain = json.loads(file.read_text())
    arguments = ["export", "--model", "random:llama", "--weights", str(tmp_path / "in")]
    for changes, message in (
        ({"use_rslora": True}, "asks for more than plain LoRA"),
        ({"target_modules": "all-linear"}, "target_modules are no list of names"),
    ):
        file.write_text(json.dumps(plain | changes))
        assert main([*arguments, "--out", str(tmp_path / "out"), "--adapter"]) == 2
        assert message in caplog.text
    assert not (tmp_path / "out").exists()


def test_a_published_version_is_exported_onto_its_own_base_and_as_it_was(tmp_path, caplog):
    trained = load_model(ModelConfig(path="random:llama"), seed=1)
    made = tmp_path / "made"
    export_adapter(made, some_adapter(trained), CONFIG, trained.base_id)
    version = DirectoryWeightStore(tmp_path / "weights").publish(
        load_file(made / "adapter_model.safetensors"),
        version=1,
        parent=None,
        step=1,
        base_model=trained.base_id,
        kind="adapter",
        config=json.loads((made / "adapter_config.json").read_text()),
    )
    arguments = ["export", "--model", "random:llama", "--weights", str(version.path)]
    out = ["--out", str(tmp_path / "out")]
    assert main([*arguments, "--seed", "0", *out]) == 2
    assert f"was trained from {trained.base_id}" in caplog.text
    assert main([*arguments, "--seed", "1", *out]) == 0
    file = version.path / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    assert main([*arguments, "--seed", "1", "--out", str(tmp_path / "again")]) == 2
    assert "is not as it was published" in caplog.text
    file.unlink()
    assert main([*arguments, "--seed", "1", "--out", str(tmp_path / "again")]) == 2


def test_a_model_in_parts_is_not_mixed_with_another(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    model = load("random:llama")
    with pytest.raises(ConfigError, match="names the parts of another model"):
        export_merged(tmp_path, model, model.params)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_model_and_an_adapter_are_not_written_into_one_directory(tmp_path):
    """Readers with peft would put the adapter on the model that has learnt the same already."""
    model = load("random:llama")
    export_adapter(tmp_path / "adapter", some_adapter(model), CONFIG, model.base_id)
    with pytest.raises(ConfigError, match="is of an adapter"):
        export_merged(tmp_path / "adapter", model, model.params)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    export_merged(tmp_path / "model", model, model.params)
    with pytest.raises(ConfigError, match="is of a whole model"):
        export_adapter(tmp_path / "model", some_adapter(model), CONFIG, model.base_id)
    assert not (tmp_path / "model" / "adapter_config.json").exists()


@pytest.mark.parametrize("options", [[], ["--adapter"]])
def test_the_same_is_exported_again_into_its_directory(tmp_path, options):
    model = load("random:llama")
    export_adapter(tmp_path / "in", some_adapter(model), CONFIG, model.base_id)
    arguments = ["export", "--model", "random:llama", "--weights", str(tmp_path / "in")]
    for _ in range(2):
        assert main([*arguments, "--out", str(tmp_path / "out"), *options]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter"], "--adapter needs --weights"),
        (["--weights", "nowhere"], "adapter_config.json cannot be read"),
        (["--model", "nowhere"], "'nowhere' does not exist"),
        (["--weights", str(DATA / "llama" / "adapter")], "does not fit the model"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, caplog, arguments, message):
    model = [] if "--model" in arguments else ["--model", "random:llama"]
    assert main(["export", "--out", str(tmp_path / "out"), *model, *arguments]) == 2
    assert message in caplog.text
    assert not (tmp_path / "out").exists()
