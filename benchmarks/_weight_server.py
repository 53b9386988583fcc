"""A server that only loads weights, in a process of its own, and whoever asks it.

It answers SGLang's calls about weights and reads every tensor that it is told to load into memory:
what a delivery costs whatever engine is behind it.

    python benchmarks/_weight_server.py PORT
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import uvicorn
from _child import running_script
from safetensors.numpy import load_file
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["running_server"]


def running_server(port: int) -> AbstractContextManager[str]:
    """The server's address, while it runs.

    Raises:
        RuntimeError: it does not start.
    """
    return running_script(__file__, port, [], look="/get_model_info")


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
