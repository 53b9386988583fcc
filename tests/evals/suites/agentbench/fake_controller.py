"""A task controller with one worker that insists on the protocol: what it is sent is validated
field by field, and sessions left open are known."""

from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NAME = "echo-std"
INDICES = [0, "one", 2]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AgentResponse(Strict):
    status: Literal["normal", "cancelled", "agent context limit"]
    content: str | None

    @model_validator(mode="after")
    def _normal_has_content(self):
        assert self.status != "normal" or self.content is not None
        return self


class Start(Strict):
    name: str
    index: int | str


class Interact(Strict):
    session_id: int
    agent_response: AgentResponse


class Cancel(Strict):
    session_id: int


class Overall(Strict):
    name: str
    results: list[dict]


class FakeController:
    """Each sample asks for a number twice; the sum of the two replies is its result."""

    def __init__(self) -> None:
        self.open: dict[int, dict] = {}
        self.cancelled: list[int] = []
        self.refusals: list[str] = []
        self.busy = 0
        self.breaks_at: int | None = None
        self.started = 0

    def http(self) -> httpx.AsyncClient:
        paths = ("start_sample", "interact", "cancel", "calculate_overall")
        routes = [Route(f"/api/{path}", getattr(self, path), methods=["POST"]) for path in paths]
        routes += [
            Route(f"/api/{path}", getattr(self, path)) for path in ("get_indices", "list_workers")
        ]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        return httpx.AsyncClient(transport=transport, base_url="http://controller/api", timeout=10)

    async def get_indices(self, request: Request) -> Response:
        if request.query_params.get("name") != NAME:
            return self._refuse(400, "Error: Task does not exist")
        return JSONResponse(INDICES)

    async def list_workers(self, request: Request) -> Response:
        worker = {"id": 0, "address": "", "capacity": 3, "current": len(self.open),
                  "last_visit": 0.0, "status": 0, "locked": False}  # fmt: skip
        dead = worker | {"id": 1, "status": 2}
        return JSONResponse({NAME: {"indices": INDICES, "workers": {"0": worker, "1": dead}}})

    async def start_sample(self, request: Request) -> Response:
        body = await self._read(Start, request)
        if isinstance(body, Response):
            return body
        if self.busy > 0:
            self.busy -= 1
            return JSONResponse({"detail": "Error: No workers available"}, 406)
        if body.name != NAME or body.index not in INDICES:
            return self._refuse(400, "Error: Index out of bounds")
        session = self.started
        self.started += 1
        self.open[session] = {"index": body.index, "replies": [], "history": [self._user("First?")]}
        return self._output(session, "running")

    async def interact(self, request: Request) -> Response:
        body = await self._read(Interact, request)
        if isinstance(body, Response):
            return body
        if body.session_id not in self.open:
            return self._refuse(400, "Error: Session does not exist")
        held = self.open[body.session_id]
        if self.breaks_at == len(held["replies"]):
            return JSONResponse({"detail": "Error: Worker returned error"}, 501)
        if body.agent_response.status != "normal":
            return self._output(body.session_id, body.agent_response.status)
        reply = body.agent_response.content
        held["history"].append({"role": "agent", "content": reply})
        if not reply.isdigit():
            return self._output(body.session_id, "agent validation failed")
        held["replies"].append(int(reply))
        if len(held["replies"]) == 2:
            return self._output(body.session_id, "completed", sum(held["replies"]))
        held["history"].append(self._user("Second?"))
        return self._output(body.session_id, "running")

    async def cancel(self, request: Request) -> Response:
        body = await self._read(Cancel, request)
        if isinstance(body, Response):
            return body
        if self.open.pop(body.session_id, None) is None:
            return self._refuse(400, "Error: Session does not exist")
        self.cancelled.append(body.session_id)
        return JSONResponse({"session_id": body.session_id})

    async def calculate_overall(self, request: Request) -> Response:
        body = await self._read(Overall, request)
        if isinstance(body, Response):
            return body
        for each in body.results:
            assert set(each) == {"index", "status", "result", "history"}, each
        return JSONResponse({"sum": sum(each["result"] or 0 for each in body.results)})

    def _output(self, session: int, status: str, result: object = None) -> Response:
        held = self.open[session]
        index = None
        if status != "running":
            del self.open[session]
            index = held["index"]
        output = {"index": index, "status": status, "result": result, "history": held["history"]}
        return JSONResponse({"session_id": session, "output": output})

    async def _read(self, kind, request: Request):
        try:
            return kind.model_validate(await request.json())
        except ValidationError as error:
            return self._refuse(422, str(error))

    def _refuse(self, status: int, why: str) -> Response:
        self.refusals.append(why)
        return JSONResponse({"detail": why}, status)

    @staticmethod
    def _user(content: str) -> dict[str, str]:
        return {"role": "user", "content": content}
