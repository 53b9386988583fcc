"""The server as it is started: another process, a tiny random model, real HTTP."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sglang_peer import Json, Peer, launched, started

from clawjax.config import GatewayConfig, LoraConfig, ModelConfig
from clawjax.engine.server.__main__ import _launch, _parse, main
from clawjax.errors import ConfigError
from clawjax.models import lora
from clawjax.models.export import export_adapter, export_merged, params_to_tensors
from clawjax.models.load import LoadedModel, load_model
from clawjax.models.transformer import Transformer
from clawjax.weights import DirectoryWeightStore

MODEL = "random:llama"
OPTIONS = (
    "--context-length", "128", "--max-running-requests", "2", "--skip-server-warmup",
    "--chunked-prefill-size", "32",
)  # fmt: skip
PROMPT = [64, 86, 92, 28, 72, 89]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with started(tmp_path_factory.mktemp("server"), *OPTIONS, "--enable-lora") as peer:
        yield peer


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    """What the server serves."""
    return load_model(ModelConfig(path=MODEL, context_length=128))


@pytest.fixture(scope="module")
def other() -> LoadedModel:
    return load_model(ModelConfig(path=MODEL, context_length=128), seed=3)


def greedy(peer: Peer, **fields: object) -> Json:
    params = {"temperature": 0, "max_new_tokens": 12, "ignore_eos": True}
    return peer.generate(input_ids=PROMPT, sampling_params=params, return_logprob=True, **fields)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=st.lists(st.integers(10, 300), min_size=1, max_size=40),
    tokens=st.integers(1, 40),
    temperature=st.sampled_from([0.0, 0.7, 1.0, 2.0]),
    seed=st.integers(0, 2**40),
    stop=st.lists(st.sampled_from(["a", "e", " y", "th", "\t"]), max_size=2),
    samples=st.integers(1, 2),
)
def test_what_is_streamed_put_together_is_what_is_returned_whole(
    peer: Peer, prompt: list[int], tokens: int, temperature: float, seed: int, stop: list[str],
    samples: int,
) -> None:  # fmt: skip
    body: Json = {
        "input_ids": prompt,
        "sampling_params": {
            "temperature": temperature, "max_new_tokens": tokens, "sampling_seed": seed,
            "stop": stop, "n": samples,
        },
        "return_logprob": True,
        "rid": "same",
    }  # fmt: skip
    whole = peer.generate(**body)
    events = peer.stream(**body)
    wholes = whole if isinstance(whole, list) else [whole]
    for index, one in enumerate(wholes):
        own = [event for event in events if event.get("index", 0) == index]
        assert own[-1]["text"] == one["text"]
        assert own[-1]["output_ids"] == one["output_ids"]
        last, meta = own[-1]["meta_info"], one["meta_info"]
        assert last["finish_reason"] == meta["finish_reason"]
        for name in ("output_token_logprobs", "output_token_sampler_logprobs"):
            np.testing.assert_allclose(_numbers(last[name]), _numbers(meta[name]), atol=1e-4)
        for before, after in itertools.pairwise(own):
            assert after["text"].startswith(before["text"])
            ids = before["output_ids"]
            assert after["output_ids"][: len(ids)] == ids
            assert before["meta_info"]["finish_reason"] is None


def _numbers(entries: list) -> list[float]:
    return [entry[0] if isinstance(entry, list) else entry for entry in entries]


def logprobs(body: Json) -> list[float]:
    return [entry[0] for entry in body["meta_info"]["output_token_logprobs"]]


def update(peer: Peer, path: Path, **fields: object) -> Json:
    answer = peer.post("/update_weights_from_disk", {"model_path": str(path), **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_weights_from_a_hugging_face_directory_and_back(
    peer: Peer, base: LoadedModel, other: LoadedModel, tmp_path: Path
) -> None:
    before = greedy(peer)
    assert before["meta_info"]["weight_version"] == "default"
    export_merged(tmp_path / "new", other, other.params)
    export_merged(tmp_path / "old", base, base.params)
    assert update(peer, tmp_path / "new", weight_version="7")["success"] is True
    assert peer.http.get("/get_model_info").json()["weight_version"] == "7"
    during = greedy(peer)
    assert during["meta_info"]["output_token_versions"] == ["7"] * 12
    assert during["output_ids"] != before["output_ids"]
    update(peer, tmp_path / "old")
    after = greedy(peer)
    assert after["meta_info"]["weight_version"] == "old"
    assert after["output_ids"] == before["output_ids"]
    np.testing.assert_allclose(logprobs(after), logprobs(before), atol=1e-5)


def test_weights_from_a_version_of_ours_that_is_damaged_are_refused(
    peer: Peer, base: LoadedModel, other: LoadedModel, tmp_path: Path
) -> None:
    store = DirectoryWeightStore(tmp_path)
    made = store.publish(
        params_to_tensors(other.params, other.architecture), version=12, parent=None, step=12,
        base_model=base.base_id, kind="full", config={"model_type": "llama"},
    )  # fmt: skip
    update(peer, made.path)
    assert greedy(peer)["meta_info"]["weight_version"] == "12"
    file = made.path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    answer = peer.post("/update_weights_from_disk", {"model_path": str(made.path)})
    assert answer.status_code == 400
    assert "checksum" in answer.json()["message"]
    assert greedy(peer)["meta_info"]["weight_version"] == "12"


def test_tokens_of_a_reply_under_way_say_whose_they_are(
    peer: Peer, other: LoadedModel, tmp_path: Path
) -> None:
    export_merged(tmp_path / "next", other, other.params)
    params = {"temperature": 1.0, "max_new_tokens": 100, "ignore_eos": True}
    with peer.streaming(input_ids=PROMPT, sampling_params=params, return_logprob=True) as events:
        next(events)
        peer.post("/pause_generation", {"mode": "retract"})
        assert update(peer, tmp_path / "next", weight_version="later")["success"]
        peer.post("/continue_generation")
        versions = list(events)[-1]["meta_info"]["output_token_versions"]
    assert versions[-1] == "later"
    assert versions[0] != "later"
    assert versions.index("later") == 100 - versions.count("later"), "there is one change"


def test_adapters_answer_by_name(tmp_path: Path) -> None:
    base = load_model(ModelConfig(path=MODEL, context_length=128))
    config = LoraConfig(rank=2, alpha=8.0)
    trained = _some_adapter(base, config)
    export_adapter(tmp_path / "adapter", trained, config, base.base_id)
    merged = lora.merge(base.params, trained, config.alpha / config.rank)
    export_merged(tmp_path / "merged", base, merged)
    with started(tmp_path, *OPTIONS, "--enable-lora") as peer:
        plain = greedy(peer)
        body = {"lora_name": "a", "lora_path": str(tmp_path / "adapter")}
        loaded = peer.post("/load_lora_adapter", body).json()
        assert loaded["success"] is True
        assert loaded["loaded_adapters"] == {"a": body["lora_path"]}
        assert peer.post("/load_lora_adapter", body).status_code == 400
        with ThreadPoolExecutor(6) as pool:
            names = ["a", None, "a", "a", None, "a"]
            replies = list(pool.map(lambda name: greedy(peer, lora_path=name), names))
        adapted = [reply for reply, name in zip(replies, names, strict=True) if name]
        assert all(reply["output_ids"] == adapted[0]["output_ids"] for reply in adapted)
        for reply, name in zip(replies, names, strict=True):
            assert (reply["output_ids"] == plain["output_ids"]) == (name is None)
        unloaded = peer.post("/unload_lora_adapter", {"lora_name": "a"}).json()
        assert unloaded["loaded_adapters"] == {}
        refused = peer.post("/generate", {"input_ids": PROMPT, "lora_path": "a"})
        assert refused.status_code == 400
        update(peer, tmp_path / "merged")
        np.testing.assert_allclose(logprobs(greedy(peer)), logprobs(adapted[0]), atol=1e-4)


def _some_adapter(base: LoadedModel, config: LoraConfig) -> dict:
    model = Transformer(base.architecture)
    adapter = lora.init_adapter(model, base.params, config, jax.random.key(0))
    leaves, structure = jax.tree.flatten(adapter)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + 0.2 * jax.random.normal(key, leaf.shape)
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def test_a_pause_ends_by_itself(peer: Peer) -> None:
    began = time.monotonic()
    body = peer.post("/pause_generation", {"mode": "in_place", "lease_s": 0.5}).json()
    assert body["lease_s"] == 0.5
    greedy(peer)
    assert time.monotonic() - began >= 0.5
    assert peer.post("/pause_generation", {"lease_s": 1e9}).status_code == 400


def test_a_client_that_leaves_frees_its_slots(peer: Peer) -> None:
    def running() -> int:
        return peer.http.get("/get_server_info").json()["internal_states"][0]["running"]

    peer.post("/pause_generation", {"mode": "in_place"})
    try:
        params = {"max_new_tokens": 100, "ignore_eos": True}
        with pytest.raises(httpx.ReadTimeout):
            peer.http.post(
                "/generate", json={"input_ids": PROMPT, "sampling_params": params}, timeout=0.5
            )
    finally:
        peer.post("/continue_generation")
    deadline = time.monotonic() + 20
    while running():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_replies_to_a_prompt_are_aborted_by_its_name(peer: Peer) -> None:
    params = {"max_new_tokens": 100, "ignore_eos": True}
    peer.post("/pause_generation", {"mode": "in_place"})
    with ThreadPoolExecutor(3) as pool:
        asked = {
            name: pool.submit(
                peer.generate, input_ids=PROMPT, sampling_params=params | {"n": n}, rid=name
            )
            for name, n in {"a": 1, "b": 2, "kept": 1}.items()
        }
        time.sleep(0.5)
        for name in ("a", "b"):
            peer.post("/abort_request", {"rid": name})
        ended = [asked["a"].result(30), *asked["b"].result(30)]
        assert {one["meta_info"]["finish_reason"]["type"] for one in ended} == {"abort"}
        assert [one["meta_info"]["id"] for one in ended] == ["a", "b_0", "b_1"]
        assert not asked["kept"].done()
        peer.post("/continue_generation")
        assert len(asked["kept"].result(60)["output_ids"]) == 100


def test_a_key_is_asked_of_everybody_and_never_logged(tmp_path: Path) -> None:
    secret = "a-secret-that-nobody-logs"
    with launched(tmp_path, *OPTIONS, environment=[f"CLAWJAX_API_KEY={secret}"]) as (
        process,
        url,
    ):
        peer = Peer(url, secret)
        deadline = time.monotonic() + 120
        while True:
            try:
                status = peer.http.get("/health").status_code
            except httpx.TransportError:
                status = 0
            if status == 200:
                break
            assert status in (0, 503)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert peer.http.get("/v1/models").status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": secret}):
            for path in ("/v1/models", "/get_server_info", "/nothing"):
                answer = httpx.get(url + path, headers=headers)
                assert answer.status_code == 401
                assert answer.json() == {"error": "Unauthorized"}
            assert httpx.post(f"{url}/generate", headers=headers, json={}).status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200
        peer.http.close()
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert secret not in (tmp_path / "server.log").read_text()


def test_other_machines_need_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)
    assert main(["--model-path", MODEL, "--host", "0.0.0.0"]) == 2
    assert "CLAWJAX_API_KEY" in capsys.readouterr().err


def test_options_are_read_from_a_file_and_given_ones_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAWJAX_API_KEY", raising=False)
    file = tmp_path / "key.yaml"
    file.write_text("api-key: '0123'\ncontext-length: 64\nport: 31001\n")
    launch = _launch(_parse(["--model-path", MODEL, "--config", str(file), "--port", "31002"]))
    assert (launch.api_key, launch.model.context_length, launch.port) == ("0123", 64, 31002)
    for text, words in (("apikey: x", "names apikey"), ("x", "no options"), ("{", "be read")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            _parse(["--model-path", MODEL, "--config", str(file)])


def test_a_hub_models_revision_is_loaded() -> None:
    launch = _launch(_parse(["--model-path", "a/model", "--revision", "v2"]))
    assert (launch.model.path, launch.model.revision) == ("a/model", "v2")


def test_a_model_that_is_not_there_ends_the_server(tmp_path: Path) -> None:
    with launched(tmp_path, *OPTIONS, model="/no/such/model") as (process, _):
        assert process.wait(timeout=120) == 2
    assert "does not exist" in (tmp_path / "server.log").read_text()


def test_a_server_and_a_gateway_do_not_want_the_same_port():
    assert _launch(_parse(["--model-path", "a/model"])).port != GatewayConfig().port
