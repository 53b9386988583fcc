"""A server that speaks SGLang's protocol, as the conformance tests see it.

`exchanges.json` beside this file was recorded from sglang-jax at commit cddbf6f1 (a random Qwen3 of
two layers, CPU, fp32, 2026-11): requests and its answers, errors included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from clawjax.engine.sglang.launch import tethered
from clawjax.testing import free_port

ROOT = Path(__file__).parents[2]
EXCHANGES = {
    one["name"]: one
    for one in json.loads((Path(__file__).parent / "exchanges.json").read_text(encoding="utf-8"))
}
START_TIMEOUT_S = 180.0
CALL_TIMEOUT_S = 120.0

Json = dict[str, Any]


class Peer:
    """One server."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self.url = url
        self.http = httpx.Client(base_url=url, headers=headers, timeout=CALL_TIMEOUT_S)

    @property
    def model(self) -> Json:
        return self.http.get("/v1/models").json()["data"][0]

    @property
    def context_length(self) -> int:
        return int(self.model["max_model_len"])

    def post(self, path: str, body: Json | None = None) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body)

    def generate(self, **body: Any) -> Any:
        answer = self.post("/generate", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def streaming(self, path: str = "/generate", **body: Any) -> Iterator[Iterator[Json]]:
        """The events of a stream as they come, without the end mark, which has to be there."""
        with self.http.stream("POST", path, json=body | {"stream": True}) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield events_of(answer.iter_lines())

    def stream(self, path: str = "/generate", **body: Any) -> list[Json]:
        with self.streaming(path, **body) as events:
            return list(events)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, as the server says."""
        body = self.generate(
            text=text,
            sampling_params={"temperature": 0, "max_new_tokens": 1},
            return_logprob=True,
            logprob_start_len=0,
        )
        return [entry[1] for entry in body["meta_info"]["input_token_logprobs"]]


def events_of(lines: Iterator[str]) -> Iterator[Json]:
    has_ended = False
    for line in lines:
        if not line:
            continue
        assert line.startswith("data: "), line
        assert not has_ended, "something follows the end mark"
        if line == "data: [DONE]":
            has_ended = True
        else:
            yield json.loads(line.removeprefix("data: "))
    assert has_ended, "the stream has no end mark"


@contextmanager
def started(folder: Path, *options: str, model: str = "random:llama") -> Iterator[Peer]:
    """Our own server in a process of its own, ready; its log is in `folder`."""
    with launched(folder, *options, model=model) as (process, url):
        peer = Peer(url)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(peer):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield peer
        peer.http.close()


@contextmanager
def launched(
    folder: Path, *options: str, model: str = "random:llama", environment: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Our own server, perhaps still starting, and its address."""
    port = free_port()
    command = [
        sys.executable, "-m", "clawjax.engine.server", "--model-path", model, "--port", str(port),
        "--compilation-cache", str(folder / "xla"), *options,
    ]  # fmt: skip
    variables = {**os.environ, **dict(pair.split("=", 1) for pair in environment)}
    variables |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            tethered(command), stdout=log, stderr=log, env=variables, cwd=ROOT
        )
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def _is_ready(peer: Peer) -> bool:
    try:
        return peer.http.get("/health").status_code == 200
    except httpx.TransportError:
        return False
