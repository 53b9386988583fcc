"""Logits, ids and prompts equal those of transformers (see benchmarks/parity)."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import ModelConfig
from clawjax.models.load import LoadedModel, load_model, load_tokenizer
from clawjax.models.lora import adapter_from_tensors, merge
from clawjax.models.transformer import Params, Transformer, causal_attention
from clawjax.records import Message, ToolCall

DATA = Path(__file__).parent / "data"
TINY = ("llama", "llama3_rope", "qwen2", "qwen3_yarn")
TOLERANCE = 1e-3


def tiny_config(name: str) -> ModelConfig:
    return ModelConfig(path=str(DATA / name), context_length=256)


def logits(model: LoadedModel, params: Params, *sequences: np.ndarray) -> np.ndarray:
    """Scores of sequences of any length, `[B, T, V]`, in one program."""
    network = Transformer(model.architecture)
    longest = max(len(ids) for ids in sequences)
    padded = jnp.asarray([np.pad(ids, (0, longest - len(ids))) for ids in sequences], jnp.int32)
    mask = jnp.asarray([[place < len(ids) for place in range(longest)] for ids in sequences])
    positions = jnp.broadcast_to(jnp.arange(longest), padded.shape)
    attend = causal_attention(mask)
    score = jax.jit(
        lambda tree: network.apply({"params": tree}, padded, positions, attend, method="score")
    )
    return np.asarray(score(params))


def message(fields: dict) -> Message:
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], json.dumps(call["function"]["arguments"]))
        for call in fields.get("tool_calls", ())
    )
    return Message(
        fields["role"],
        fields["content"],
        tool_calls=calls,
        tool_call_id=fields.get("tool_call_id"),
        name=fields.get("name"),
    )


@pytest.mark.parametrize("name", TINY)
def test_logits_of_tiny_models(name):
    model = load_model(tiny_config(name))
    expected = np.load(DATA / name / "expected.npz")
    got = logits(model, model.params, expected["ids"])[0]
    assert expected["logits"].std() > 1
    assert np.abs(got - expected["logits"]).max() <= TOLERANCE


def test_logits_under_an_adapter_saved_by_peft():
    from safetensors.numpy import load_file

    model = load_model(tiny_config("llama"))
    expected = np.load(DATA / "llama" / "expected.npz")
    folder = DATA / "llama" / "adapter"
    settings = json.loads((folder / "adapter_config.json").read_text())
    adapter = adapter_from_tensors(load_file(folder / "adapter_model.safetensors"))
    merged = merge(model.params, adapter, settings["lora_alpha"] / settings["r"])
    got = logits(model, merged, expected["ids"])[0]
    assert np.abs(expected["adapted"] - expected["logits"]).max() > 1
    assert np.abs(got - expected["adapted"]).max() <= TOLERANCE


@pytest.mark.slow
def test_logits_of_the_default_model():
    model = load_model(ModelConfig())
    expected = np.load(DATA / "smollm2.npz")
    scores = logits(model, model.params, *(expected[f"ids_{index}"] for index in range(3)))
    for index, each in enumerate(scores):
        selected = each[np.ix_(expected[f"positions_{index}"], expected[f"columns_{index}"])]
        assert np.abs(selected - expected[f"logits_{index}"]).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("config", "fixture"),
    [(tiny_config(name), DATA / name / "tokens.json") for name in TINY]
    + [(ModelConfig(), DATA / "smollm2.json")],
    ids=[*TINY, "smollm2"],
)
def test_ids_texts_and_prompts(config, fixture):
    tokenizer, _, _ = load_tokenizer(config)
    expected = json.loads(fixture.read_text(encoding="utf-8"))
    assert [list(tokenizer.encode(text)) for text in expected["texts"]] == expected["ids"]
    assert [tokenizer.decode(ids) for ids in expected["ids"]] == expected["decoded"]
    kept = [tokenizer.decode(ids, keep_special=True) for ids in expected["ids"]]
    assert kept == expected["decoded_special"]
    chats = [[message(each) for each in chat] for chat in expected["conversations"]]
    assert [tokenizer.render(chat) for chat in chats] == expected["rendered"]
    tools = json.dumps(expected["tools"])
    with_tools = [tokenizer.render(chat, tools_json=tools) for chat in chats]
    assert with_tools == expected["rendered_tools"]
