"""Adapters worked into a base's files: what they compute, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from clawjax.config import LoraConfig, ModelConfig
from clawjax.errors import StoreError
from clawjax.models.export import export_adapter, export_merged
from clawjax.models.load import load_model
from clawjax.models.lora import init_adapter, join, with_lora
from clawjax.models.merged import read_adapter, write_merged
from clawjax.models.stream import Stored, stored_tensors, write_tensors
from clawjax.models.transformer import Transformer, causal_attention

CONFIG = LoraConfig(rank=3, alpha=5.0, targets=["q_proj", "down_proj", "lm_head"])
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


def load(path):
    return load_model(ModelConfig(path=str(path), context_length=128))


def shaken_adapter(model, config=CONFIG):
    adapter = init_adapter(Transformer(model.architecture), model.params, config, jax.random.key(1))
    rng = np.random.default_rng(5)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + rng.normal(0, 0.1, leaf.shape), jnp.float32), adapter
    )


def log_probs(network, params, ids):
    args = (ids, jnp.arange(ids.shape[1])[None], causal_attention(jnp.ones_like(ids, bool)))
    return jax.jit(lambda tree: network.apply({"params": tree}, *args, method="score"))(params)


def small_base(tmp_path: Path, dtype="F32") -> Path:
    """Two files: one with an adapted tensor, one without."""
    rng = np.random.default_rng(0)
    base = tmp_path / "base"
    base.mkdir()
    save_file(
        {"m.up.weight": rng.normal(size=(4, 6)).astype(DTYPES[dtype])}, base / "1.safetensors"
    )
    save_file({"m.norm.weight": np.ones(6, DTYPES[dtype])}, base / "2.safetensors")
    return base


def small_adapter(tmp_path: Path, **changes: object) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    rng = np.random.default_rng(1)
    tensors = {
        "base_model.model.m.up.lora_A.weight": rng.normal(size=(2, 6)).astype(np.float32),
        "base_model.model.m.up.lora_B.weight": rng.normal(size=(4, 2)).astype(np.float32),
    }
    edit = changes.pop("tensors", lambda found: found)
    save_file(edit(tensors), folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 3.0} | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_merged_files_compute_what_base_and_adapter_do(tmp_path):
    model = load("random:qwen3")
    adapter = shaken_adapter(model)
    export_merged(tmp_path / "base", model, model.params)
    export_adapter(tmp_path / "adapter", adapter, CONFIG, model.base_id)
    export_merged(tmp_path / "merged", model, model.params)  # its configuration and tokenizer
    files = [tmp_path / "base" / "model.safetensors"]
    write_merged(tmp_path / "merged", files, read_adapter(tmp_path / "adapter"))

    ids = jnp.asarray([model.tokenizer.encode("hello, this is a test")], jnp.int32)
    network = Transformer(model.architecture)
    expected = log_probs(with_lora(network, CONFIG), join(model.params, adapter), ids)
    merged = load(tmp_path / "merged")
    assert np.abs(expected - log_probs(network, model.params, ids)).max() > 0.1
    np.testing.assert_allclose(log_probs(network, merged.params, ids), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_files_names_and_number_types_are_the_bases(tmp_path, dtype):
    base, adapter = small_base(tmp_path, dtype), read_adapter(small_adapter(tmp_path))
    merged = tmp_path / "merged"
    merged.mkdir()
    files = sorted(base.iterdir())
    written = write_merged(merged, files, adapter)
    for file in files:
        assert stored_tensors(merged / file.name) == stored_tensors(file)
    assert written == sum((merged / file.name).stat().st_size for file in files)
    assert (merged / "2.safetensors").samefile(base / "2.safetensors")  # nothing adapted: a link
    before = load_file(base / "1.safetensors")["m.up.weight"].astype(np.float32)
    a, b = adapter.pairs["m.up.weight"]
    expected = (before + b @ a * 1.5).astype(DTYPES[dtype]).astype(np.float32)
    after = load_file(merged / "1.safetensors")["m.up.weight"].astype(np.float32)
    np.testing.assert_allclose(after, expected, rtol=1e-2 if dtype == "BF16" else 1e-3)


def test_bfloat16_is_read_where_nothing_imports_jax(tmp_path):
    """The serving process before SGLang servers is such a one."""
    base, adapter = small_base(tmp_path, "BF16"), small_adapter(tmp_path)
    (tmp_path / "merged").mkdir()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from clawjax.models.huggingface import _Tensors\n"
        "from clawjax.models.merged import read_adapter, write_merged\n"
        f"files = sorted(Path({str(base)!r}).iterdir())\n"
        f"write_merged(Path({str(tmp_path / 'merged')!r}), files, "
        f"read_adapter(Path({str(adapter)!r})))\n"
        "assert _Tensors(files)['m.norm.weight'].sum() == 6\n"
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert "m.up.weight" in load_file(tmp_path / "merged" / "1.safetensors")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"use_dora": True}, "more than plain LoRA"),
        ({"rank_pattern": {"up": 8}}, "more than plain LoRA"),
        ({"peft_type": "IA3"}, "more than plain LoRA"),
        ({"r": 0}, "not the configuration of a LoRA adapter"),
        ({"tensors": lambda t: {**t, "other": np.ones(1, np.float32)}}, "'other'.*no part"),
        ({"tensors": lambda t: dict([t.popitem()])}, "has only lora_B of 'm.up.weight'"),
        ({"tensors": lambda t: {n: x * np.nan for n, x in t.items()}}, "holds a NaN"),
        ({"tensors": lambda t: {n: x * 1e30 for n, x in t.items()}}, "holds a NaN or an inf"),
        (
            {"tensors": lambda t: {n.replace("up", "down"): x for n, x in t.items()}},
            "'m.down.weight', which the base model does not have",
        ),
        (
            {"tensors": lambda t: {n: np.ascontiguousarray(x[:, :2]) for n, x in t.items()}},
            "'m.up.weight' is .* the base's is",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_what_cannot_be_merged_is_refused(tmp_path, changes, complaint):
    base, folder = small_base(tmp_path), small_adapter(tmp_path, **changes)
    (tmp_path / "merged").mkdir()
    with pytest.raises(StoreError, match=complaint):
        write_merged(tmp_path / "merged", sorted(base.iterdir()), read_adapter(folder))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8),
        st.tuples(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_what_is_streamed_is_a_safetensors_file(tmp_path_factory, kinds):
    file = tmp_path_factory.mktemp("stream") / "model.safetensors"
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(size=shape).astype(DTYPES[dtype]) for name, (dtype, shape) in kinds.items()
    }
    layout = [Stored(name, dtype, tuple(shape)) for name, (dtype, shape) in kinds.items()]
    assert write_tensors(file, layout, tensors.__getitem__) == file.stat().st_size
    found = load_file(file)
    assert sorted(found) == sorted(tensors)
    assert stored_tensors(file) == tuple(sorted(layout))
    for name, tensor in tensors.items():
        assert found[name].tobytes() == tensor.tobytes()


def test_a_tensor_of_another_shape_is_not_written(tmp_path):
    layout = [Stored("x", "F32", (2, 3))]
    with pytest.raises(StoreError, match=r"'x' has shape \(3, 2\) and 24 bytes"):
        write_tensors(tmp_path / "f", layout, {"x": np.ones((3, 2), np.float32)}.__getitem__)


def test_what_is_no_safetensors_file_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no header")
    with pytest.raises(StoreError, match=r"x\.safetensors is not a safetensors file"):
        stored_tensors(tmp_path / "x.safetensors")
