"""New weights for sglang-jax: where tensors go, and, where it is installed, the real server.

`CLAWJAX_SGLANG_JAX=/path/to/python` names the interpreter of an environment that has sglang-jax.
"""

import ast
import os
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from _sglang_jax import running_sglang_jax, write_model
from safetensors.numpy import save_file

from clawjax.engine import sglang_jax
from clawjax.engine.sglang_jax import (
    Move,
    WeightsError,
    canonical_path,
    moves,
    weight_files,
    with_config,
)
from clawjax.models.layout import leaves
from clawjax.models.tiny import tiny_architecture

FILE = Path(sglang_jax.__file__)
PYTHON = os.environ.get("CLAWJAX_SGLANG_JAX")


def stored(arch):
    return {leaf.tensor: leaf.shape for leaf in leaves(arch)}


def state(arch):
    """As sglang-jax has it: `[in, out]` weights, embeddings and norms by other names."""
    found = {"model.layers.0.self_attn.rotary_emb.table": (16, 8)}
    for leaf in leaves(arch):
        module = leaf.tensor.rpartition(".")[0]
        last, shape = "weight", leaf.shape[::-1]
        if module.endswith(("embed_tokens", "lm_head")):
            last, shape = "embedding", leaf.shape
        elif module.endswith("norm"):
            last, shape = "scale", leaf.shape
        elif leaf.tensor.endswith("bias"):
            last, shape = "bias", leaf.shape
        found[f"{module}.{last}"] = shape
    return found


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_every_tensor_has_one_place(family):
    arch = tiny_architecture(family)
    planned = moves(stored(arch), state(arch))
    assert {move.tensor for move in planned} == set(stored(arch))
    assert len({move.leaf for move in planned}) == len(planned)
    for move in planned:
        shape = stored(arch)[move.tensor]
        assert state(arch)[move.leaf] == (shape[::-1] if move.is_transposed else shape)


def test_square_matrices_are_transposed_as_well():
    arch = tiny_architecture("llama")
    assert stored(arch)["model.layers.0.self_attn.q_proj.weight"] == (64, 64)
    planned = {move.tensor: move for move in moves(stored(arch), state(arch))}
    name = "model.layers.0.self_attn.q_proj"
    assert planned[f"{name}.weight"] == Move(f"{name}.weight", f"{name}.weight", True)
    assert not planned["model.embed_tokens.weight"].is_transposed


def test_a_copy_of_a_tied_table_is_left_out():
    arch = tiny_architecture("llama")
    tensors = stored(arch) | {"lm_head.weight": (arch.vocab_size, arch.hidden_size)}
    assert moves(tensors, state(arch)) == moves(stored(arch), state(arch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": (65,)}, r"would become \[65\], the server holds \[64\]"),
        ({"model.layers.9.mlp.up_proj.weight": (128, 64)}, "has no place in the model"),
        ({"model.layers.0.mlp.experts.weight": (4, 4)}, "is of no kind that is known here"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arch = tiny_architecture("llama")
    with pytest.raises(WeightsError, match=message):
        moves(stored(arch) | change, state(arch))


def test_a_missing_tensor_is_refused():
    arch = tiny_architecture("qwen2")
    tensors = stored(arch)
    del tensors["model.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(WeightsError, match=r"no tensor is for model\.layers\.1.*k_proj\.bias"):
        moves(tensors, state(arch))


def test_paths_are_of_the_modules_alone():
    keys = [SimpleNamespace(key="model"), SimpleNamespace(key="layers"), SimpleNamespace(idx=3)]
    keys += [
        SimpleNamespace(name="norm"),
        SimpleNamespace(key="scale"),
        SimpleNamespace(name="value"),
    ]
    assert canonical_path(keys) == "model.layers.3.norm.scale"


def test_a_directory_without_weights_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="has no safetensors files"):
        weight_files(tmp_path)


def test_the_file_can_be_copied_to_a_host_without_clawjax():
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(FILE.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    }
    assert "clawjax" not in imported
    assert not imported & {"jax", "numpy", "fastapi"}  # imported once it is known what runs


# The real thing.

PROMPT = list(range(5, 45))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if PYTHON is None:
        pytest.skip("CLAWJAX_SGLANG_JAX names no environment with sglang-jax")
    root = tmp_path_factory.mktemp("sglang_jax")
    models = [write_model(root / f"model_{seed}", seed) for seed in (0, 1)]
    options = ("--max-total-tokens=1024", "--max-running-requests=2", "--precompile-bs-paddings=2")
    with (
        running_sglang_jax(PYTHON, models[0], root / "server.log", options=options) as url,
        httpx.Client(base_url=url, timeout=300.0) as client,
    ):
        yield SimpleNamespace(client=client, models=models)


def reply(client):
    sampling = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}
    body = {"input_ids": PROMPT, "sampling_params": sampling, "return_logprob": True}
    answer = client.post("/generate", json=body)
    answer.raise_for_status()
    return answer.json()


def logprobs(answer):
    return [entry[0] for entry in answer["meta_info"]["output_token_logprobs"]]


@pytest.mark.slow
def test_a_real_server_adopts_weights_and_forgets_what_older_ones_cached(server):
    client, (first, second) = server.client, server.models
    assert client.get("/get_model_info").json()["weight_version"] == "default"
    before = reply(client)
    body = {"model_path": str(second), "weight_version": "7"}
    answer = client.post("/update_weights_from_disk", json=body)
    assert answer.json()["success"] is True, answer.text
    info = client.get("/get_model_info").json()
    assert (info["weight_version"], info["model_path"]) == ("7", str(second))
    between = reply(client)
    assert between["meta_info"]["weight_version"] == "7"
    assert between["meta_info"]["cached_tokens"] == 0
    assert logprobs(between) != pytest.approx(logprobs(before), abs=1e-3)

    client.post("/pause_generation", json={"mode": "retract"}).raise_for_status()
    body = {"model_path": str(first), "weight_version": "8"}
    assert client.post("/update_weights_from_disk", json=body).json()["success"] is True
    client.post("/continue_generation", json={}).raise_for_status()
    after = reply(client)
    assert after["output_ids"] == before["output_ids"]
    assert logprobs(after) == pytest.approx(logprobs(before), abs=1e-5)


@pytest.mark.slow
def test_a_real_server_keeps_its_weights_where_new_ones_do_not_fit(server, tmp_path):
    client = server.client
    before = reply(client)
    save_file({"model.norm.weight": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    for body in ({"model_path": str(tmp_path)}, {"model_path": str(tmp_path / "no")}, {}):
        answer = client.post("/update_weights_from_disk", json=body)
        assert answer.status_code == 400
        assert answer.json()["success"] is False
    assert logprobs(reply(client)) == pytest.approx(logprobs(before), abs=1e-5)


def test_options_of_a_file_come_before_those_that_are_given(tmp_path):
    file = tmp_path / "key.yaml"
    file.write_text("api-key: '0123'\n")
    given = ["--model-path", "m", "--config", str(file), "--port", "1"]
    assert with_config(given) == ["--api-key", "0123", "--model-path", "m", "--port", "1"]
    assert with_config(["--port", "1"]) == ["--port", "1"]
