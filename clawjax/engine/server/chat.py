"""`/v1/chat/completions` by the gateway's own code, which here keeps nothing of what it answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from starlette.types import Receive, Scope, Send

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.engine.server.backend import Settings, Startup
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.caller import Caller
from clawjax.gateway.chat import ChatService
from clawjax.gateway.chat_endpoints import ChatEndpoint
from clawjax.gateway.collector import Visit
from clawjax.gateway.render import Renderer
from clawjax.keys import KeyRing
from clawjax.linking.tree import SessionRef
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine
from clawjax.records import Message, Turn, TurnKind

__all__ = ["ChatRoute", "Forgetful", "new_chat"]


class Forgetful:
    """`gateway.chat.TurnRecorder` of a server whose clients keep their conversations themselves."""

    @contextmanager
    def visit(
        self,
        caller: Caller,
        messages: Sequence[Message],
        tools_json: str | None,
        arrived_at: float,
    ) -> Iterator[Visit]:
        """Every request begins a conversation."""
        session = SessionRef(caller.scope, caller.origin.key or uuid.uuid4().hex)
        yield Visit(session, caller.origin.said_kind or TurnKind.MAIN, arrived_at)

    async def link(self, visit: Visit) -> None:
        """There is nothing to link to."""

    async def commit(self, visit: Visit, turn: Turn) -> None:
        """It goes with the answer."""

    async def abandon(self, visit: Visit, turn: Turn) -> None:
        """It is gone."""

    async def close_session(self, scope: str, session_id: str) -> None:
        """None is open."""


def new_chat(engine: Engine, tokenizer: ChatTokenizer, settings: Settings) -> ChatService:
    """Answers chat requests by the model's template."""
    return ChatService(
        engine,
        Renderer(tokenizer),
        Forgetful(),
        model_name=settings.model_name,
        request_timeout_s=settings.request_timeout_s,
        clock=time.time,
        shares_prefixes=True,  # one key, one owner
    )


class ChatRoute:
    """An ASGI application; every model name means the one served, as with SGLang."""

    def __init__(self, startup: Startup, settings: Settings) -> None:
        """Answer when there is a backend."""
        self._startup = startup
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        backend = self._startup.backend
        endpoint = ChatEndpoint(
            backend.chat,
            Authenticator(KeyRing()),  # the key was asked for before
            model_name=self._settings.model_name,
            token_bytes=backend.tokenizer.piece,
            config=GatewayConfig(max_body_bytes=self._settings.max_body_bytes),
            sampling_defaults=EngineConfig(
                temperature=1.0, max_response_tokens=self._settings.max_response_tokens
            ),
        )
        async with backend.policies.using(None):
            await endpoint(scope, receive, send)
