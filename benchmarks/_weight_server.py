"""A server that only loads weights, in a process of its own, and whoever asks it.

It answers SGLang's calls about weights and reads every tensor that it is told to load into memory:
what a delivery costs whatever engine is behind it.

    python benchmarks/_weight_server.py PORT
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from safetensors.numpy import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["running_server"]

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_LOOK_S = 0.02


@contextmanager
def running_server(port: int) -> Generator[str]:
    """The server's address, while it runs.

    Raises:
        RuntimeError: it does not start.
    """
    process = subprocess.Popen([sys.executable, __file__, str(port)])
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with httpx.Client(base_url=url, trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get("/get_model_info", timeout=1.0).raise_for_status()
            except httpx.HTTPError:
                time.sleep(_LOOK_S)
            else:
                return
    msg = f"the server at {url} did not start"
    raise RuntimeError(msg)


class _Weights:
    """What is in memory; adapters by name."""

    def __init__(self) -> None:
        self._version = "default"
        self._tensors: dict[str, Any] = {}
        self._adapters: dict[str, dict[str, Any]] = {}

    async def model_info(self, _: Request) -> JSONResponse:
        return JSONResponse({"weight_version": self._version})

    async def server_info(self, _: Request) -> JSONResponse:
        return JSONResponse({"enable_lora": True})

    async def nothing(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def load(self, request: Request) -> JSONResponse:
        body = await request.json()
        self._tensors = _read(Path(body["model_path"]))
        self._version = body["weight_version"]
        return JSONResponse({"success": True, "message": "loaded"})

    async def load_adapter(self, request: Request) -> JSONResponse:
        body = await request.json()
        self._adapters[body["lora_name"]] = _read(Path(body["lora_path"]))
        return JSONResponse({"success": True, "loaded_adapters": dict.fromkeys(self._adapters)})

    async def unload_adapter(self, request: Request) -> JSONResponse:
        self._adapters.pop((await request.json())["lora_name"])
        return JSONResponse({"success": True})


def _read(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in sorted(directory.glob("*.safetensors")):
        found |= load_file(file)
    return found


def _app() -> Starlette:
    weights = _Weights()
    get = {"/get_model_info": weights.model_info, "/get_server_info": weights.server_info}
    post = {
        "/pause_generation": weights.nothing,
        "/continue_generation": weights.nothing,
        "/flush_cache": weights.nothing,
        "/update_weights_from_disk": weights.load,
        "/load_lora_adapter": weights.load_adapter,
        "/unload_lora_adapter": weights.unload_adapter,
    }
    routes = [Route(path, answer) for path, answer in get.items()]
    routes += [Route(path, answer, methods=["POST"]) for path, answer in post.items()]
    return Starlette(routes=routes)


if __name__ == "__main__":
    uvicorn.run(_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
