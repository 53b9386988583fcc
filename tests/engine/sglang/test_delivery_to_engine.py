"""Deliveries to the project's own engine behind SGLang's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clawjax.config import DeliveryConfig, LoraConfig, ModelConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.engine.server.app import create_app, new_backend
from clawjax.engine.server.backend import Settings, Startup
from clawjax.engine.server.shelf import WeightShelf
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.delivery import Delivered, deliver
from clawjax.engine.sglang.delivery_plan import Transport
from clawjax.engine.sglang.directories import ModelDirectories
from clawjax.engine.sglang.failures import DeclinedError, RefusedError
from clawjax.engine.sglang.weight_probe import WeightProbe, check_probe
from clawjax.engine.sglang.wire import words_of
from clawjax.errors import EngineError
from clawjax.models.export import params_to_tensors
from clawjax.models.load import open_source
from clawjax.models.lora import adapter_to_tensors, init_adapter, merge, peft_config
from clawjax.models.registry import config_from_architecture
from clawjax.models.transformer import Transformer
from clawjax.protocols import BASE_KIND, WeightVersion
from clawjax.weights import DirectoryWeightStore

LORA = LoraConfig(rank=2, alpha=4.0, targets=["q_proj", "down_proj"])
PROMPT = (5, 6, 7, 8)
BASE = WeightVersion(0, Path("nowhere"), None, 0, "", BASE_KIND)


class Client:
    """`Calls` of an application in this process."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float,
    ) -> dict[str, Any]:
        answer = await self.http.request(method, path, json=body, timeout=timeout_s)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        if not answer.is_success:
            words = words_of(answer.json() if is_json else answer.text)
            raise RefusedError("http://server", path, answer.status_code, words)
        return answer.json() if is_json else {"text": answer.text}

    async def generate(self, tokens: int, **fields: object) -> dict[str, Any]:
        body = {
            "input_ids": list(PROMPT),
            "sampling_params": {"max_new_tokens": tokens, "ignore_eos": True},
            "return_logprob": True,
            "return_text_in_logprobs": False,
        }
        answer = await self.call("POST", "/generate", body | fields, timeout_s=60)
        return answer["meta_info"]


class World:
    """One server and what is delivered to it."""

    def __init__(self, client: Client, root, source) -> None:
        self.client = client
        self.shelf = AdapterShelf()
        self._store = DirectoryWeightStore(root / "weights")
        self._directories = ModelDirectories(root / "delivered", source)

    def publish(self, kind: str, version: int, model, params) -> WeightVersion:
        is_full = kind == "full"
        return self._store.publish(
            params_to_tensors(params, model.architecture)
            if is_full
            else adapter_to_tensors(params),
            version=version,
            parent=version - 1,
            step=version,
            base_model=model.base_id,
            kind=kind,
            config=config_from_architecture(model.architecture)
            if is_full
            else peft_config(LORA, model.base_id),
        )

    async def bring(self, weights: WeightVersion, **changes: Any) -> Delivered:
        return await deliver(
            self.client,
            weights,
            directories=self._directories,
            config=DeliveryConfig(**changes),
            shelf=self.shelf,
        )


@pytest.fixture
def serving(tmp_path, model, config):
    @asynccontextmanager
    async def start(*, allows_adapters: bool = False):
        shelf = WeightShelf(model.base_id, "default")
        engine = await EmbeddedEngine.start(model, config, shelf)
        settings, startup = Settings(model_path="tiny", model_name="tiny"), Startup()
        startup.complete(
            new_backend(engine, model.tokenizer, shelf, settings, allows_adapters=allows_adapters)
        )
        transport = httpx.ASGITransport(create_app(startup, settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            source = open_source(ModelConfig(path="random:llama"), seed=1)
            yield World(Client(http), tmp_path, source)
        await engine.aclose()

    return start


def adapter_of(model, seed: int):
    adapter = init_adapter(
        Transformer(model.architecture), model.params, LORA, jax.random.key(seed)
    )
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + rng.normal(0, 0.1, leaf.shape), jnp.float32),
        jax.device_get(adapter),
    )


def expected_logprobs(logits_of, params, ids: tuple[int, ...]) -> np.ndarray:
    """Of each token of a reply to `PROMPT`, by the plain forward pass."""
    logits = logits_of(params, (*PROMPT, *ids))
    logprobs = np.asarray(jax.nn.log_softmax(jnp.asarray(logits), axis=-1))
    return logprobs[np.arange(len(PROMPT) - 1, len(PROMPT) + len(ids) - 1), list(ids)]


async def check_running_replies(world: World, model, other_params, logits_of) -> None:
    """Every token is stamped with, and as likely as under, the weights that drew it."""
    params = {"default": model.params, "1": other_params, "2": model.params}
    weights = [world.publish("full", n, model, params[str(n)]) for n in (1, 2)]
    replies = [asyncio.create_task(world.client.generate(110)) for _ in range(3)]
    await world.client.generate(2)
    for version in weights:
        delivered = await world.bring(version, transport="disk", pause="retract")
        assert (delivered.version, delivered.transport) == (version.version, Transport.DISK)
    seen = set()
    for meta in [await reply for reply in replies]:
        logprobs, ids, _ = zip(*meta["output_token_logprobs"], strict=True)
        assert len(ids) == 110
        assert meta["finish_reason"]["type"] == "length"  # nothing was aborted
        labels = np.asarray(meta["output_token_versions"])
        seen |= set(labels)
        for label in set(labels):  # the cache is of the new weights, so the plain pass agrees
            expected = expected_logprobs(logits_of, params[label], ids)[labels == label]
            np.testing.assert_allclose(np.asarray(logprobs)[labels == label], expected, atol=1e-3)
    assert "2" in seen, "deliveries came too late to be seen by any reply"


async def check_a_merged_adapter(world: World, model, logits_of) -> None:
    """It computes what base and adapter do, until the base is back."""
    adapter, ids = adapter_of(model, 3), (9, 10, 11, 12)
    expected = expected_logprobs(logits_of, merge(model.params, adapter, LORA), ids)
    probe = WeightProbe(PROMPT, ids, tuple(map(float, expected)))
    await world.bring(world.publish("adapter", 3, model, adapter), transport="disk")
    assert await check_probe(world.client, probe, tolerance=1e-3, timeout_s=30) < 1e-4
    await world.bring(BASE, transport="disk")
    with pytest.raises(EngineError, match="computes with other weights"):
        await check_probe(world.client, probe, tolerance=1e-3, timeout_s=30)


async def check_damaged_weights(world: World, model, other_params) -> None:
    """They are refused, and the server goes on with what it had."""
    nan = jax.tree.map(lambda leaf: leaf * np.nan, other_params)
    with pytest.raises(DeclinedError, match="NaN"):
        await world.bring(world.publish("full", 4, model, nan), transport="disk")
    info = await world.client.call("GET", "/get_model_info", timeout_s=5)
    assert info["weight_version"] == "0"
    assert len((await world.client.generate(3))["output_token_logprobs"]) == 3  # not paused


async def check_a_directory_that_is_not_there(world: World, directories) -> None:
    """The server says that it has not begun to load it, and has what it had."""
    seen = await world.client.call("GET", "/get_model_info", timeout_s=5)
    weights = WeightVersion(9, directories.root, None, 9, "", "full")
    with pytest.raises(
        DeclinedError, match=r"not there.* \(it answered 400: .* is not a directory"
    ):
        await deliver(
            world.client,
            weights,
            directories=directories,
            config=DeliveryConfig(transport="disk"),
            shelf=world.shelf,
        )
    assert await world.client.call("GET", "/get_model_info", timeout_s=5) == seen


class Elsewhere:
    """Directories that only the client sees."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def held(self, _: WeightVersion):
        yield self.root / "not there"


async def check_an_adapter_beside_the_base(world: World, model, logits_of) -> None:
    """It answers those who name it, and nobody else."""
    adapter = adapter_of(model, 4)
    weights = world.publish("adapter", 1, model, adapter)
    path = weights.path.absolute()
    delivered = await world.bring(weights)
    assert (delivered.transport, delivered.downtime_s) == (Transport.ADAPTER, 0.0)
    listed = (await world.client.call("GET", "/v1/models", timeout_s=5))["data"]
    told = [(one["id"], one["root"], one.get("parent")) for one in listed]
    assert told == [("tiny", "tiny", None), (delivered.lora_path, str(path), "tiny")]
    merged = merge(model.params, adapter, LORA)
    for asked, params in (({"lora_path": delivered.lora_path}, merged), ({}, model.params)):
        meta = await world.client.generate(5, **asked)
        logprobs, ids, _ = zip(*meta["output_token_logprobs"], strict=True)
        np.testing.assert_allclose(logprobs, expected_logprobs(logits_of, params, ids), atol=1e-3)


async def test_weights_reach_a_real_engine_through_the_disk(
    serving, model, other_params, logits_of, tmp_path
):
    async with serving() as world:  # one for all: it compiles when it starts
        await check_running_replies(world, model, other_params, logits_of)
        await check_a_merged_adapter(world, model, logits_of)
        await check_damaged_weights(world, model, other_params)
        await check_a_directory_that_is_not_there(world, Elsewhere(tmp_path))


async def test_adapters_reach_a_real_engine(serving, model, logits_of):
    async with serving(allows_adapters=True) as world:
        await check_an_adapter_beside_the_base(world, model, logits_of)
