"""Short questions over HTTP: feedback, forgetting, and what is served here and how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawjax.errors import WireError
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.completions import model_body
from clawjax.gateway.connection import read_object
from clawjax.gateway.feedback import FeedbackService, parse_feedback
from clawjax.gateway.stored import Forget
from clawjax.gateway.wire import storable
from clawjax.keys import Role
from clawjax.protocols import Engine, EngineStatus

__all__ = [
    "MODEL_ALIAS",
    "FeedbackEndpoint",
    "ForgetEndpoint",
    "HealthEndpoint",
    "ModelsEndpoint",
    "RootEndpoint",
    "check_model",
]

MODEL_ALIAS = "policy"
"""Names whatever model is being served."""


class FeedbackEndpoint:
    """`POST /v1/feedback`."""

    def __init__(
        self, feedback: FeedbackService, authenticator: Authenticator, max_body_bytes: int
    ) -> None:
        self._feedback = feedback
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    async def give(self, request: Request) -> Response:
        """Record feedback on a reply."""
        principal = self._authenticator.admit(request.headers, Role.FEEDBACK)
        body = await read_object(request, self._max_body_bytes)
        scope = principal.scope if principal.is_checked else None
        return JSONResponse(await self._feedback.give(parse_feedback(body), scope))


class ForgetEndpoint:
    """`DELETE /v1/sessions/{session_id}`."""

    def __init__(
        self,
        forget: Forget,
        let_go: Callable[[], Coroutine[None, None, None]],
        authenticator: Authenticator,
    ) -> None:
        self._forget = forget
        self._let_go = let_go
        self._authenticator = authenticator

    async def forget(self, request: Request) -> Response:
        """Take a session of the caller's own out of the log."""
        scope = self._authenticator.admit(request.headers, Role.CHAT).scope
        session_id = storable(request.path_params["session_id"], "session_id")
        gone = await asyncio.to_thread(self._forget, scope, session_id=session_id)
        if not gone.turn_ids:
            msg = f"session {session_id[:80]!r} does not exist: use the name of one of this key's"
            raise WireError(msg, status=404, code="not_found", param="session_id")
        await self._let_go()
        trained = {str(version): turns for version, turns in gone.trained.items()}
        return JSONResponse({"forgotten": len(gone.turn_ids), "trained_versions": trained})


class ModelsEndpoint:
    """`GET /v1/models` and `GET /v1/models/{model_id}`."""

    def __init__(
        self, engine: Engine, authenticator: Authenticator, *, model_name: str, created: int
    ) -> None:
        self._engine = engine
        self._authenticator = authenticator
        self._model_name = model_name
        self._created = created

    async def list_all(self, request: Request) -> Response:
        """The one model."""
        self._authenticator.admit(request.headers)
        return JSONResponse({"object": "list", "data": [self._body()]})

    async def get_one(self, request: Request) -> Response:
        """The one model, if it is meant."""
        self._authenticator.admit(request.headers)
        check_model(request.path_params["model_id"], self._model_name)
        return JSONResponse(self._body())

    def _body(self) -> dict[str, object]:
        limit = self._engine.status().context_length
        return model_body(self._model_name, created=self._created, context_length=limit)


class RootEndpoint:
    """`GET /` and `HEAD /`: some clients look whether anybody is there."""

    def __init__(self, model_name: str, paths: tuple[str, ...]) -> None:
        self._body = {"name": "clawjax", "model": model_name, "paths": list(paths)}

    async def tell(self, _: Request) -> Response:
        """What this is and where to ask."""
        return JSONResponse(self._body)


class HealthEndpoint:
    """`GET /healthz`: open to all, tells nothing about conversations."""

    def __init__(
        self,
        engine: Engine,
        loop_status: Callable[[], Mapping[str, object]],
        turn_counts: Callable[[], Mapping[str, object]],
        *,
        model_name: str,
        run_name: str = "",
    ) -> None:
        self._engine = engine
        self._names = {"model": model_name, "run": run_name}
        self._loop_status = loop_status
        self._turn_counts = turn_counts

    async def check(self, _: Request) -> Response:
        """200 while replies can be sampled, if degraded, 503 otherwise."""
        status = self._engine.status()
        body = {
            "ok": status.is_healthy,
            "state": _state(status),
            **self._names,
            "version": status.version,
            "engine": {
                "running": status.running,
                "waiting": status.waiting,
                "slots": status.slots,
                "context_length": status.context_length,
                "generated_tokens": status.generated_tokens,
                "tokens_per_s": round(status.tokens_per_s, 2),
                "prompt_tokens": status.prompt_tokens,
                "cached_tokens": status.cached_tokens,
                "prefix_hit_rate": status.prefix_hit_rate,
                "trouble": status.trouble,
                "servers": [asdict(server) for server in status.servers],
            },
            "loops": dict(self._loop_status()),
            "counts": dict(self._turn_counts()),
        }
        return JSONResponse(body, status_code=200 if status.is_healthy else 503)


def _state(status: EngineStatus) -> str:
    if not status.is_healthy:
        return "down"
    return "ok" if status.trouble is None else "degraded"


def check_model(name: str, available: str) -> None:
    """Refuse a model that is not served.

    Raises:
        WireError: 404.
    """
    if name not in (available, MODEL_ALIAS):
        msg = f"model {name[:80]!r} does not exist: use {available!r} (or {MODEL_ALIAS!r})"
        raise WireError(msg, status=404, code="model_not_found", param="model")
