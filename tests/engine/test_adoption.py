from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import LoraConfig
from clawjax.engine.adoption import read_params
from clawjax.errors import StoreError
from clawjax.models.export import params_to_tensors
from clawjax.models.load import LoadedModel
from clawjax.models.lora import adapter_to_tensors, init_adapter, merge, peft_config
from clawjax.models.transformer import Params, Transformer
from clawjax.protocols import WeightVersion
from clawjax.weights import DirectoryWeightStore

LORA = LoraConfig(rank=4, alpha=6.0)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryWeightStore:
    return DirectoryWeightStore(tmp_path)


def publish(
    store: DirectoryWeightStore,
    tensors: dict[str, np.ndarray],
    base_model: str,
    *,
    kind: str = "adapter",
    lora: LoraConfig = LORA,
) -> WeightVersion:
    config = peft_config(lora, base_model) if kind == "adapter" else {"model_type": "llama"}
    return store.publish(
        tensors, version=1, parent=0, step=1, base_model=base_model, kind=kind, config=config
    )


def random_adapter(model: LoadedModel) -> Params:
    """An adapter that changes something: B is not zero."""
    fresh = init_adapter(Transformer(model.architecture), model.params, LORA, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.1, "f4"), fresh)


def test_an_adapter_is_merged_with_the_scale_in_its_configuration(
    model: LoadedModel, store: DirectoryWeightStore
) -> None:
    adapter = random_adapter(model)
    publish(store, adapter_to_tensors(adapter), model.base_id)
    expected = merge(model.params, adapter, LORA)
    got = read_params(model, store, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected)
    kernel = got["layers_0"]["self_attn"]["q_proj"]["kernel"]
    base = model.params["layers_0"]["self_attn"]["q_proj"]["kernel"]
    assert np.abs(np.asarray(kernel - base)).max() > 1e-2


def test_an_adapter_that_is_scaled_by_another_formula_is_refused(
    model: LoadedModel, store: DirectoryWeightStore
) -> None:
    tensors = adapter_to_tensors(random_adapter(model))
    config = peft_config(LORA, model.base_id) | {"use_rslora": True}
    store.publish(
        tensors,
        version=1,
        parent=0,
        step=1,
        base_model=model.base_id,
        kind="adapter",
        config=config,
    )
    with pytest.raises(StoreError, match="asks for more than plain LoRA"):
        read_params(model, store, 1)


def test_full_weights_replace_the_base(
    model: LoadedModel, other_params: Params, store: DirectoryWeightStore
) -> None:
    tensors = params_to_tensors(other_params, model.architecture)
    publish(store, tensors, model.base_id, kind="full")
    got = read_params(model, store, 1)
    jax.tree.map(np.testing.assert_array_equal, got, other_params)


def test_weights_of_another_base_model_are_refused(
    model: LoadedModel, store: DirectoryWeightStore
) -> None:
    publish(store, adapter_to_tensors(random_adapter(model)), "random:qwen2")
    with pytest.raises(StoreError, match=r"random:qwen2.*random:llama"):
        read_params(model, store, 1)


Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.9.self_attn.q_proj",  # no such layer
        "base_model.model.model.layers.0.self_attn.w_proj",  # no such linear
        "base_model.model.strange",
        Q_PROJ,
    ],
)
@pytest.mark.parametrize("width", [8, 64])
def test_an_adapter_that_does_not_fit_is_refused(
    model: LoadedModel, store: DirectoryWeightStore, name: str, width: int
) -> None:
    if name == Q_PROJ and width == 64:
        pytest.skip("this one fits")
    tensors = {
        f"{name}.lora_A.weight": np.ones((4, width), np.float32),
        f"{name}.lora_B.weight": np.ones((64, 4), np.float32),
    }
    publish(store, tensors, model.base_id)
    with pytest.raises(StoreError, match="fit"):
        read_params(model, store, 1)


def test_half_an_adapter_is_refused(model: LoadedModel, store: DirectoryWeightStore) -> None:
    publish(store, {f"{Q_PROJ}.lora_A.weight": np.ones((4, 64), np.float32)}, model.base_id)
    with pytest.raises(StoreError, match="fit"):
        read_params(model, store, 1)


def test_a_missing_or_misshapen_tensor_is_refused(
    model: LoadedModel, store: DirectoryWeightStore
) -> None:
    tensors = params_to_tensors(model.params, model.architecture)
    del tensors["model.norm.weight"]
    publish(store, tensors, model.base_id, kind="full")
    with pytest.raises(StoreError, match=r"model\.norm\.weight"):
        read_params(model, store, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(
    model: LoadedModel, store: DirectoryWeightStore, value: float
) -> None:
    tensors = adapter_to_tensors(random_adapter(model))
    tensors[f"{Q_PROJ}.lora_B.weight"][0, 0] = value
    publish(store, tensors, model.base_id)
    with pytest.raises(StoreError, match="q_proj"):
        read_params(model, store, 1)


def test_a_damaged_version_is_refused(model: LoadedModel, store: DirectoryWeightStore) -> None:
    weights = publish(store, adapter_to_tensors(random_adapter(model)), model.base_id)
    path = weights.path / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError):
        read_params(model, store, 1)
