"""Everything about a server that is not a reply: its health, its weights, its pauses.

The answers have SGLang's fields. Ours besides: `lease_s`, in which a pause ends by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version as installed_version
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clawjax.engine.pausing import PauseMode
from clawjax.engine.server.answers import Json
from clawjax.engine.server.backend import Settings, Startup
from clawjax.engine.server.controlled import controlled
from clawjax.errors import StoreError, WireError
from clawjax.gateway.connection import read_object
from clawjax.gateway.wire import JsonObject, read_flag, read_number, read_text, reject
from clawjax.protocols import GenerateRequest
from clawjax.records import SamplingParams

__all__ = ["ControlRoutes"]

_HEALTH_TIMEOUT_S = 20.0
_SHORTEST_LEASE_S = 0.01
_FLUSHED = "Cache flushed.\n"
_NOT_FLUSHED = (
    "Flush cache failed.\nRequests are in their slots: wait for them, or pause with "
    "mode retract or abort.\n"
)


class ControlRoutes:
    """Handlers over a backend that may not be there yet."""

    def __init__(self, startup: Startup, settings: Settings) -> None:
        """Take part in one application."""
        self._startup = startup
        self._settings = settings

    def routes(self) -> list[Route]:
        """All of them, by SGLang's names."""
        getting: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/health": self.health,
            "/health_generate": self.health_generate,
            "/get_model_info": self.model_info,
            "/model_info": self.model_info,
            "/get_server_info": self.server_info,
            "/server_info": self.server_info,
            "/v1/models": self.models,
        }
        posting: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/abort_request": self.abort_request,
            "/pause_generation": self.pause_generation,
            "/continue_generation": self.continue_generation,
            "/update_weights_from_disk": self.update_weights,
            "/load_lora_adapter": self.load_adapter,
            "/unload_lora_adapter": self.unload_adapter,
        }
        return [
            *(Route(path, handler, methods=["GET"]) for path, handler in getting.items()),
            *(Route(path, handler, methods=["POST"]) for path, handler in posting.items()),
            Route("/flush_cache", self.flush_cache, methods=["GET", "POST"]),
        ]

    async def health(self, _: Request) -> Response:
        """200 while replies can be drawn, 503 otherwise."""
        is_healthy = self._startup.backend.engine.status().is_healthy
        return Response(status_code=200 if is_healthy else 503)

    async def health_generate(self, _: Request) -> Response:
        """200 once a token was drawn, by whatever weights are served; 503 where that takes long."""
        backend = self._startup.backend
        request = GenerateRequest(
            request_id=f"health-{uuid.uuid4().hex}",
            prompt_ids=(min(backend.tokenizer.eos_ids),),
            sampling=SamplingParams(1, temperature=0.0),
            seed=0,
        )
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT_S):
                async for _chunk in backend.engine.generate(request):
                    pass
        except TimeoutError:
            return Response(status_code=503)
        return Response(status_code=200)

    async def model_info(self, _: Request) -> Response:
        """Which model, and which weights of it."""
        return JSONResponse(
            {
                "model_path": self._settings.model_path,
                "tokenizer_path": self._settings.model_path,
                "is_generation": True,
                "preferred_sampling_params": None,
                "weight_version": self._startup.backend.policies.weight_version,
                "keeps_refused": True,
            }
        )

    async def server_info(self, _: Request) -> Response:
        """What the server is, what it can do, and what it is doing."""
        backend = self._startup.backend
        status = backend.engine.status()
        body: Json = {
            "server": "clawjax",
            "version": installed_version("clawjax"),
            "model_path": self._settings.model_path,
            "served_model_name": self._settings.model_name,
            "weight_version": backend.policies.weight_version,
            "context_length": status.context_length,
            "max_req_input_len": status.context_length - 1,
            "max_total_num_tokens": status.slots * status.context_length,
            "max_running_requests": status.slots,
            "enable_lora": backend.policies.allows_adapters,
            "enable_priority_scheduling": True,
            "schedule_low_priority_values_first": True,
            "max_pause_s": self._settings.max_pause_s,
            "internal_states": [
                {
                    "running": status.running,
                    "waiting": status.waiting,
                    "generated_tokens": status.generated_tokens,
                    "last_gen_throughput": round(status.tokens_per_s, 2),
                    "prompt_tokens": status.prompt_tokens,
                    "cached_tokens": status.cached_tokens,
                }
            ],
        }
        return JSONResponse(body)

    async def models(self, _: Request) -> Response:
        """The model, and beside it the adapters, which are its children, as SGLang lists them."""
        backend, model = self._startup.backend, self._settings.model_name
        rest = {
            "object": "model",
            "created": 0,
            "owned_by": "clawjax",
            "max_model_len": backend.engine.status().context_length,
        }
        adapters = [
            {"id": name, "root": root, "parent": model, **rest}
            for name, root in backend.policies.adapters.items()
        ]
        return JSONResponse(
            {"object": "list", "data": [{"id": model, "root": model} | rest, *adapters]}
        )

    async def abort_request(self, request: Request) -> Response:
        """End the requests of a name, or all; unknown ones have ended already."""
        body = await self._object(request)
        generator = self._startup.backend.generator
        name = read_text(body, "rid")
        if read_flag(body, "abort_all"):
            generator.abort(None)
        elif not name:
            reject("rid", "is missing: name a request, or set abort_all")
        else:
            generator.abort(name)
        return Response(status_code=200)

    async def pause_generation(self, request: Request) -> Response:
        """Stand still for a while."""
        body = await self._object(request)
        engine = controlled(self._startup.backend.engine)
        said = read_text(body, "mode") or PauseMode.ABORT.value
        try:
            mode = PauseMode(said)
        except ValueError:
            reject("mode", f"{said[:40]!r} is unknown: use {', '.join(PauseMode)}")
        longest_s = self._settings.max_pause_s
        lease_s = read_number(body, "lease_s", _SHORTEST_LEASE_S, longest_s) or longest_s
        await engine.pause(mode, lease_s=lease_s)
        return _ok("Generation paused successfully.", lease_s=lease_s)

    async def continue_generation(self, request: Request) -> Response:
        """Go on; harmless where nothing is paused."""
        await self._object(request)
        await controlled(self._startup.backend.engine).resume()
        return _ok("Generation continued successfully.")

    async def flush_cache(self, _: Request) -> Response:
        """Forget what was read; 400 while requests sit in their slots."""
        is_done = await controlled(self._startup.backend.engine).flush()
        text, status = (_FLUSHED, 200) if is_done else (_NOT_FLUSHED, 400)
        return PlainTextResponse(text, status_code=status)

    async def update_weights(self, request: Request) -> Response:
        """Serve other weights from a directory of this machine."""
        body = await self._object(request)
        backend = self._startup.backend
        path = _path(body, "model_path")
        label = read_text(body, "weight_version")
        if read_flag(body, "abort_all_requests"):
            backend.generator.abort(None)
        under_way = backend.engine.status().running
        try:
            await backend.policies.update(path, label)
        except StoreError as error:
            failed = {"success": False, "message": str(error), "num_paused_requests": 0}
            return JSONResponse(failed, status_code=400)
        message = "Succeeded to update model weights."
        return JSONResponse({"success": True, "message": message, "num_paused_requests": under_way})

    async def load_adapter(self, request: Request) -> Response:
        """Take an adapter, for requests that name it."""
        body = await self._object(request)
        name, path = _name(body), _path(body, "lora_path")
        return await self._adapters(self._startup.backend.policies.load_adapter(name, path))

    async def unload_adapter(self, request: Request) -> Response:
        """Take no more requests for an adapter."""
        body = await self._object(request)
        name, policies = _name(body), self._startup.backend.policies

        async def unload() -> None:
            policies.unload_adapter(name)

        return await self._adapters(unload())

    async def _adapters(self, change: Awaitable[None]) -> Response:
        """Make a change and list what is loaded then."""
        failure: str | None = None
        try:
            await change
        except (StoreError, WireError) as error:
            failure = str(error)
        body: Json = {
            "success": failure is None,
            "error_message": failure or "",
            "loaded_adapters": dict(self._startup.backend.policies.adapters),
        }
        return JSONResponse(body, status_code=200 if failure is None else 400)

    async def _object(self, request: Request) -> JsonObject:
        """The body; none at all is an empty one."""
        return await read_object(request, self._settings.max_body_bytes, may_be_empty=True)


def _ok(message: str, **fields: object) -> Response:
    return JSONResponse({"message": message, "status": "ok", **fields})


def _name(body: JsonObject) -> str:
    return read_text(body, "lora_name") or reject("lora_name", "is missing: name the adapter")


def _path(body: JsonObject, field: str) -> Path:
    said = read_text(body, field) or reject(field, "is missing: name a directory of this machine")
    return Path(said).expanduser()
