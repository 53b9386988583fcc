"""A small OpenAI-style endpoint over real HTTP, answering as told: for tests of clients.

It can refuse requests, break off in the middle of a reply, and be stopped and started again on the
same port, as a server does that crashes.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


@dataclass
class ScriptedEndpoint:
    """What it will say, and what it was asked."""

    reply: Callable[[list[dict[str, Any]]], str | dict[str, Any]]
    """Text, or a whole message with tool calls (not streamed)."""
    failures: list[int | str] = field(default_factory=list)
    """Statuses to answer the next requests with; `break` cuts a streamed reply off."""
    code: str | None = None
    """Of the errors that it answers with."""
    error: dict[str, Any] = field(default_factory=dict)
    """What else they say, in place of the usual."""
    finish_reason: str = "stop"
    """Of what is not streamed."""
    version: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedEndpoint]:
        """Serve until left; again on the same port the next time."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            config = uvicorn.Config(
                self._app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
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

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/feedback", self._feedback, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/healthz", self._health),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, int):
            error = {"message": "scripted", "type": "scripted", "code": self.code, "param": None}
            return JSONResponse({"error": error | self.error}, status_code=failure)
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        response_id = f"chatcmpl-{len(self.requests)}"
        text = self.reply(body["messages"])
        if not body.get("stream"):
            return JSONResponse(_completion(response_id, text, self.finish_reason))
        assert isinstance(text, str), "a message with tool calls is not streamed"
        return StreamingResponse(
            _events(response_id, text, breaks=failure == "break"), media_type="text/event-stream"
        )

    async def _feedback(self, request: Request) -> Response:
        self.feedback.append(await request.json())
        return JSONResponse({"ok": True})

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "scripted", "object": "model", "created": 0}]}
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"ok": True, "version": self.version})


def _completion(response_id: str, said: str | dict[str, Any], finish_reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": said} if isinstance(said, str) else said
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


async def _events(response_id: str, text: str, *, breaks: bool) -> AsyncIterator[str]:
    base = {"id": response_id, "object": "chat.completion.chunk", "created": 0, "model": "scripted"}

    def event(choices: list[Any], **extra: Any) -> str:
        return f"data: {json.dumps(base | {'choices': choices} | extra)}\n\n"

    for word in text.split(" "):
        delta = {"content": f"{word} "}
        yield event([{"index": 0, "delta": delta, "finish_reason": None}])
        if breaks:
            return
    yield event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    yield event([], usage=usage)
    yield "data: [DONE]\n\n"
