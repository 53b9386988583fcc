"""Exact KL against a plain numpy computation on a tiny model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eval_records import open_log, turn

from clawjax.config import LoraConfig, ModelConfig
from clawjax.errors import StoreError
from clawjax.evals.drift import Exchange, kl_from_base, logged_exchanges, policy_params
from clawjax.models.export import params_to_tensors
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.lora import adapter_to_tensors, init_adapter, merge, peft_config
from clawjax.models.transformer import Params, Transformer, causal_attention
from clawjax.protocols import WeightVersion
from clawjax.weights import DirectoryWeightStore

EXCHANGES = (
    Exchange(tuple(range(10, 15)), tuple(range(40, 95))),
    Exchange(tuple(range(20, 78)), (100, 101)),
)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(ModelConfig(name="tiny", path="random:qwen3"))


@pytest.fixture(scope="module")
def adapter(model: LoadedModel) -> Params:
    fresh = init_adapter(
        Transformer(model.architecture), model.params, LoraConfig(rank=2), jax.random.key(0)
    )
    return jax.tree.map(lambda leaf: leaf + 0.02, fresh)


def log_probs(model: LoadedModel, params: Params, exchange: Exchange) -> np.ndarray:
    """Next-token log-probs at the response's positions, `[R, V]`, without padding or chunks."""
    ids = jnp.asarray([exchange.prompt_ids + exchange.response_ids])
    positions = jnp.arange(ids.shape[1])[None]
    attend = causal_attention(jnp.ones(ids.shape, bool))
    decoder = Transformer(model.architecture)
    score = jax.jit(lambda p: decoder.apply({"params": p}, ids, positions, attend, method="score"))
    logits = np.asarray(score(params), np.float64)[0]
    here = logits[len(exchange.prompt_ids) - 1 : -1]
    return here - np.log(np.exp(here).sum(-1, keepdims=True))


def test_kl_equals_its_definition(model: LoadedModel, adapter: Params) -> None:
    policy = merge(model.params, adapter, 1.0)
    found = kl_from_base(model.architecture, policy, model.params, EXCHANGES)
    per_token = []
    for exchange in EXCHANGES:
        log_p = log_probs(model, policy, exchange)
        log_q = log_probs(model, model.params, exchange)
        per_token.extend((np.exp(log_p) * (log_p - log_q)).sum(-1))
    assert found is not None
    assert found.tokens == len(per_token) == 57
    assert found.kl_per_token == pytest.approx(np.mean(per_token), rel=1e-3)
    assert found.kl_per_token > 1e-4


def test_the_base_is_at_no_distance_from_itself(model: LoadedModel) -> None:
    found = kl_from_base(model.architecture, model.params, model.params, EXCHANGES)
    assert found is not None
    assert found.kl_per_token == pytest.approx(0.0, abs=1e-7)


def test_without_response_tokens_there_is_no_drift(model: LoadedModel) -> None:
    silent = (Exchange((1, 2), ()),)
    assert kl_from_base(model.architecture, model.params, model.params, silent) is None
    assert kl_from_base(model.architecture, model.params, model.params, ()) is None


def test_published_versions_become_parameters(
    tmp_path: Path, model: LoadedModel, adapter: Params
) -> None:
    store = DirectoryWeightStore(tmp_path)
    lora = LoraConfig(rank=2, alpha=8.0)
    store.publish(
        adapter_to_tensors(adapter), version=1, parent=None, step=1,
        base_model=model.base_id, kind="adapter", config=peft_config(lora, model.base_id),
    )  # fmt: skip
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        policy_params(model, *store.load(1)),
        merge(model.params, adapter, lora),
    )
    store.point_to(0)
    assert policy_params(model, *store.load(0)) is model.params
    full = params_to_tensors(model.params, model.architecture)
    weights = WeightVersion(2, tmp_path, None, 2, model.base_id, "full")
    jax.tree.map(np.testing.assert_array_equal, policy_params(model, weights, full), model.params)
    with pytest.raises(StoreError, match="expected adapter or full"):
        policy_params(model, dataclasses.replace(weights, kind="delta"), full)


def test_exchanges_are_read_as_sampled(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(turn(0), turn(1))
    assert logged_exchanges(log, ["r1", "r0", "unknown"]) == (Exchange((1, 2, 3), (4, 5)),) * 2
    log.close()
