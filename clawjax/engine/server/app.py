"""The server's composition: what was started in, one Starlette application out."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from clawjax.engine.server.backend import Backend, Settings, Startup
from clawjax.engine.server.chat import ChatRoute, new_chat
from clawjax.engine.server.completions import CompletionsRoute
from clawjax.engine.server.control_routes import ControlRoutes
from clawjax.engine.server.failures import RequireKey, handlers
from clawjax.engine.server.generate_route import GenerateRoute
from clawjax.engine.server.generating import Generator
from clawjax.engine.server.policies import Policies
from clawjax.engine.server.shelf import WeightShelf
from clawjax.gateway.limits import LimitSends
from clawjax.gateway.origins import RefusePages
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine

__all__ = ["create_app", "new_backend"]


def new_backend(
    engine: Engine,
    tokenizer: ChatTokenizer,
    shelf: WeightShelf,
    settings: Settings,
    *,
    allows_adapters: bool = False,
) -> Backend:
    """What answers, over an engine that reads its weights from `shelf`."""
    policies = Policies(engine, shelf, allows_adapters=allows_adapters)
    generator = Generator(engine, tokenizer, policies, interval=settings.stream_interval)
    chat = new_chat(engine, tokenizer, settings)
    return Backend(engine, tokenizer, policies, generator, chat)


def create_app(startup: Startup, settings: Settings, api_key: str | None = None) -> Starlette:
    """All routes; each answers 503 until `startup` is complete."""
    generate = GenerateRoute(startup, max_body_bytes=settings.max_body_bytes)
    app = Starlette(
        routes=[
            Route("/generate", generate, methods=["POST"]),
            Route("/v1/completions", CompletionsRoute(startup, settings), methods=["POST"]),
            Route("/v1/chat/completions", ChatRoute(startup, settings), methods=["POST"]),
            *ControlRoutes(startup, settings).routes(),
        ],
        middleware=[
            *_admission(api_key),
            Middleware(LimitSends, limit_s=settings.unread_timeout_s),
        ],
        exception_handlers=handlers(),
    )
    app.router.redirect_slashes = False
    return app


def _admission(api_key: str | None) -> list[Middleware]:
    pages = Middleware(RefusePages, is_keyless=lambda: api_key is None)
    return [pages] if api_key is None else [pages, Middleware(RequireKey, api_key=api_key)]
