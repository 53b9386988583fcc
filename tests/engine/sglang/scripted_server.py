"""A server over real HTTP that answers as SGLang does, by a script, and fails as it is told to.

What it "samples" depends on the position only, so a reply that is continued elsewhere has to come
out as one that was not. Run as a program it takes SGLang's options.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clawjax.models.tiny import tiny_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message

CONTEXT = 512


class Fault(NamedTuple):
    """What happens to a `/generate` request."""

    kind: Literal["abort", "reset", "hang", "nan", "status", "error"]
    after: int = 0
    """Tokens before it; a status has none."""
    status: int | None = None  # of HTTP; for an abort what it says of itself
    words: str = "told to fail"


@dataclass
class ScriptedServer:
    """What it says, what goes wrong, and what it was asked."""

    script: Sequence[int] = ()
    """The token at position p of a sequence is `script[p % len(script)]`; default: all words."""
    faults: list[Fault] = field(default_factory=list)
    """Of the next streams, in order."""
    form: Literal["cumulative", "incremental", "nested"] = "cumulative"
    logprobs_of: Literal["scaled", "original", "top_p"] = "scaled"
    weight_version: str | None = "default"
    model: str = "models/tiny"
    """The directory it has loaded; as in SGLang it is called like that afterwards."""
    began_as: str | None = None
    context: int = CONTEXT
    takes_seed: bool = True
    template_tokens: int = 0
    """Further tokens that its chat template makes."""
    token_shift: int = 0
    """By which its tokenizer differs."""
    has_extras: bool = True
    """Whether it has /v1/models, /v1/chat/completions and takes text."""
    health: int = 200
    health_delay_s: float = 0.0
    update_fails: str | None = None
    is_blind: bool = False
    """Whether it does not see the client's disk."""
    enable_lora: bool = False
    can_pause: bool = True
    """Whether it has /pause_generation."""
    per_event: int = 1
    token_delay_s: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    adapters: dict[str, str] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    running: int = 0
    port: int = 0
    tokenizer: ChatTokenizer = field(default_factory=tiny_tokenizer)
    _continue: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if not self.script:
            self.script = self.tokenizer.encode("the cat and the dog have 日本 🙂 more text")
        self._continue.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def expected(self, prompt: Sequence[int], count: int) -> tuple[int, ...]:
        return tuple(self._token(len(prompt) + i) for i in range(count))

    def logprob(self, position: int) -> float:
        """At temperature 1."""
        return -0.5 - (position % 7) / 10

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedServer]:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            config = uvicorn.Config(
                self.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server._serve([listener]))
            try:
                while not server.started:  # noqa: ASYNC110 - uvicorn has no event to await
                    await asyncio.sleep(0.005)
                yield self
            finally:
                server.should_exit = True
                await serving

    def app(self) -> Starlette:
        routes: list[tuple[str, Callable[[Request], Any]]] = [
            ("/health", self._health),
            ("/get_model_info", self._model_info),
            ("/get_server_info", self._server_info),
            ("/generate", self._generate),
            ("/abort_request", self._abort),
            ("/update_weights_from_disk", self._update),
            *([("/pause_generation", self._pause)] if self.can_pause else []),
            ("/continue_generation", self._unpause),
            ("/load_lora_adapter", self._load_adapter),
            ("/unload_lora_adapter", self._unload_adapter),
        ]
        if self.has_extras:
            routes += [("/v1/models", self._models), ("/v1/chat/completions", self._chat)]
        return Starlette(
            routes=[Route(path, call, methods=["GET", "POST"]) for path, call in routes]
        )

    def _token(self, position: int) -> int:
        return self.script[position % len(self.script)]

    async def _health(self, _: Request) -> Response:
        await asyncio.sleep(self.health_delay_s)
        return Response(status_code=self.health)

    async def _model_info(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        version = {} if self.weight_version is None else {"weight_version": self.weight_version}
        names = {"model_path": self.model, "tokenizer_path": self.began_as or self.model}
        return JSONResponse(names | {"is_generation": True} | version)

    async def _server_info(self, _: Request) -> Response:
        body = {"version": "0.5.9", "context_length": self.context, "enable_lora": self.enable_lora}
        return JSONResponse(body)

    async def _models(self, _: Request) -> Response:
        adapters = [
            {"id": name, "root": path, "parent": self.model} for name, path in self.adapters.items()
        ]
        model = {"id": self.model, "max_model_len": self.context}
        return JSONResponse({"data": [model, *adapters]})

    async def _load_adapter(self, request: Request) -> Response:
        body = await request.json()
        self.loads.append(body["lora_name"])
        if self.is_blind:
            words = f"Failed to load LoRA adapter: {_not_there(body['lora_path'])}"
            failed = {"success": False, "error_message": words, "loaded_adapters": self.adapters}
            return JSONResponse(failed, status_code=400)
        self.adapters[body["lora_name"]] = body["lora_path"]
        return JSONResponse({"success": True, "loaded_adapters": self.adapters})

    async def _unload_adapter(self, request: Request) -> Response:
        del self.adapters[(await request.json())["lora_name"]]
        return JSONResponse({"success": True, "loaded_adapters": self.adapters})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        chat = tuple(Message(m["role"], m["content"]) for m in body["messages"])
        count = len(self.tokenizer.encode_prompt(self.tokenizer.render(chat)))
        return JSONResponse({"usage": {"prompt_tokens": count + self.template_tokens}})

    async def _abort(self, request: Request) -> Response:
        self.aborted.append((await request.json())["rid"])
        return Response()

    async def _pause(self, _: Request) -> Response:
        self._continue.clear()
        return JSONResponse({"status": "ok"})

    async def _unpause(self, _: Request) -> Response:
        self._continue.set()
        return JSONResponse({"status": "ok"})

    async def _update(self, request: Request) -> Response:
        body = await request.json()
        self.updates.append(body)
        fails = self.update_fails
        if self.is_blind:
            fails = f"Failed to get weights iterator: {_not_there(body['model_path'])}."
        if fails is not None:
            return JSONResponse({"success": False, "message": fails}, status_code=400)
        self.weight_version = body["weight_version"]
        self.began_as, self.model = self.began_as or self.model, body["model_path"]
        return JSONResponse({"success": True, "message": "Succeeded", "num_paused_requests": 0})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        params = body["sampling_params"]
        if "text" in body and not self.has_extras:
            return _error("the tokenizer is not initialised")
        if "sampling_seed" in params and not self.takes_seed:
            return _error("SamplingParams got an unexpected keyword argument 'sampling_seed'")
        ids = body.get("input_ids") or [
            token + self.token_shift for token in self.tokenizer.encode(body["text"])
        ]
        if len(ids) >= self.context:
            return _error(
                f"The input ({len(ids)} tokens) is longer than the model's context length "
                f"({self.context} tokens)."
            )
        most = params.get("max_new_tokens", 0)
        if len(ids) + most >= self.context:  # as sglang-jax
            return _error(
                f"Requested token count exceeds the model's maximum context length of "
                f"{self.context} tokens: {len(ids)} and {most}."
            )
        if not body.get("stream"):
            return JSONResponse(self._whole(ids, body))
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and fault.kind == "status":
            body = {"error": {"message": fault.words}}
            return JSONResponse(body, status_code=fault.status or 500)
        return StreamingResponse(self._stream(ids, body, fault), media_type="text/event-stream")

    def _whole(self, ids: list[int], body: dict[str, Any]) -> dict[str, Any]:
        count = max(body["sampling_params"]["max_new_tokens"], 1)
        start = body.get("logprob_start_len", -1)
        meta = self._meta(ids, body, count, {"type": "length", "length": count})
        meta["output_token_logprobs"] = self._entries(ids, body, 0, count)
        if start >= 0:
            known = [[self.logprob(p), token, None] for p, token in enumerate(ids)]
            known[start] = [None, ids[start], None]
            meta["input_token_logprobs"] = known[start:]
        return {"text": "unused", "output_ids": [], "meta_info": meta}

    async def _stream(
        self, ids: list[int], body: dict[str, Any], fault: Fault | None
    ) -> AsyncIterator[str]:
        limit = body["sampling_params"]["max_new_tokens"]
        stops = body["sampling_params"].get("stop_token_ids", ())
        told: list[list[Any]] = []
        done = 0
        self.running += 1
        try:
            while True:
                await asyncio.sleep(self.token_delay_s)
                await self._continue.wait()
                if fault is not None and done >= fault.after:
                    if fault.kind == "hang":
                        await asyncio.sleep(60)
                    if fault.kind == "reset":
                        raise ConnectionResetError
                    if fault.kind == "error":
                        yield _event({"error": {"message": fault.words}})
                        break
                    finish = (
                        {"type": "stop", "matched": "NaN happened"}
                        if fault.kind == "nan"
                        else {"type": "abort", "message": fault.words, "status_code": fault.status}
                    )
                    yield _event(self._piece(ids, body, done, done, told, finish))
                    break
                before, done = done, min(done + self.per_event, limit)
                if fault is not None:
                    done = max(min(done, fault.after), before + 1)
                token = self._token(len(ids) + done - 1)
                finish = None
                if token in stops:
                    finish = {"type": "stop", "matched": token}
                elif done == limit:
                    finish = {"type": "length", "length": limit}
                yield _event(self._piece(ids, body, before, done, told, finish))
                if finish is not None:
                    break
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def _piece(
        self,
        ids: list[int],
        body: dict[str, Any],
        before: int,
        done: int,
        told: list[list[Any]],
        finish: dict[str, Any] | None,
    ) -> dict[str, Any]:
        meta = self._meta(ids, body, done, finish)
        start = before if self.form == "incremental" else 0
        entries = self._entries(ids, body, start, done)
        if self.form == "nested":
            told += entries
            entries = list(told)
        meta["output_token_logprobs"] = entries
        return {"text": "unused", "output_ids": [e[1] for e in entries], "meta_info": meta}

    def _meta(
        self, ids: list[int], body: dict[str, Any], done: int, finish: dict[str, Any] | None
    ) -> dict[str, Any]:
        version = {} if self.weight_version is None else {"weight_version": self.weight_version}
        return version | {
            "id": body.get("rid"),
            "finish_reason": finish,
            "prompt_tokens": len(ids),
            "completion_tokens": done,
            "cached_tokens": len(ids) // 2,
        }

    def _entries(
        self, ids: list[int], body: dict[str, Any], start: int, done: int
    ) -> list[list[Any]]:
        return [
            [self._reported(len(ids) + i, body["sampling_params"]), self._token(len(ids) + i), None]
            for i in range(start, done)
        ]

    def _reported(self, position: int, params: dict[str, Any]) -> float:
        temperature = params.get("temperature", 1.0)
        at_t1 = self.logprob(position)
        if temperature == 0 or self.logprobs_of == "original":
            return at_t1
        if self.logprobs_of == "top_p" and params.get("top_p", 1.0) < 1e-3:
            return 0.0
        return at_t1 - math.log(temperature)


def _not_there(path: str) -> str:
    """What SGLang says of a directory that is not there: it takes it for a name on the hub."""
    return f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{path}'"


def _error(words: str) -> Response:
    return JSONResponse({"error": {"message": words}}, status_code=400)


def _event(payload: dict[str, Any]) -> str:
    return f"data: {json.dumps(payload)}\n\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--api-key")
    options, _ = parser.parse_known_args(merged(sys.argv[1:]))
    server = ScriptedServer(model=options.model_path, context=options.context_length)
    app = server.app()
    if options.api_key is not None:
        app.add_middleware(BaseHTTPMiddleware, dispatch=asking_for(options.api_key))
    uvicorn.run(app, host=options.host, port=options.port, log_level="info")


def merged(arguments: list[str]) -> list[str]:
    """As SGLang 0.5.3 reads `--config FILE.yaml`: its options come first, so that others win."""
    if arguments.count("--config") > 1:
        raise ValueError("Multiple config files specified! Only one allowed.")
    if "--config" not in arguments:
        return arguments
    at = arguments.index("--config")
    file = Path(arguments[at + 1])
    if file.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"Config file must be YAML format, got: {file.suffix}")
    found = yaml.safe_load(file.read_text())
    options = [word for name, value in found.items() for word in (f"--{name}", str(value))]
    return options + arguments[:at] + arguments[at + 2 :]


def asking_for(key: str) -> Callable[[Request, Any], Any]:
    """SGLang's bearer check, which leaves /health open."""

    async def check(request: Request, call_next: Any) -> Response:
        is_open = request.url.path.startswith("/health")
        if is_open or request.headers.get("Authorization") == f"Bearer {key}":
            return await call_next(request)
        return JSONResponse({"error": "Unauthorized"}, status_code=401)

    return check


if __name__ == "__main__":
    main()
