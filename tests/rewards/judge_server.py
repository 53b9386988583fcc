"""A real HTTP server that plays the judge's endpoint, answer by answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Answer = Callable[[int], Awaitable[Response]]
"""From the request's number, counted from 0, to the response."""


class JudgeServer:
    def __init__(self, answer: Answer) -> None:
        self.requests: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.running = self.most_running = 0
        self.url = ""
        self._answer = answer

    async def __call__(self, request: Request) -> Response:
        number = len(self.requests)
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._answer(number)
        finally:
            self.running -= 1


def says(content: object, finish_reason: str = "stop") -> Response:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return JSONResponse({"choices": [choice]})


def in_turn(*responses: Response) -> Answer:
    async def answer(number: int) -> Response:
        return responses[min(number, len(responses) - 1)]

    return answer


@asynccontextmanager
async def judge_server(answer: Answer) -> AsyncIterator[JudgeServer]:
    endpoint = JudgeServer(answer)

    async def handle(request: Request) -> Response:
        return await endpoint(request)

    app = Starlette(routes=[Route("/v1/chat/completions", handle, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        try:
            yield endpoint
        finally:
            server.should_exit = True
