"""What the routes work with, once it is there: while the engine starts, they answer 503."""

from __future__ import annotations

from dataclasses import dataclass

from clawjax.engine.server.generating import Generator
from clawjax.engine.server.policies import Policies
from clawjax.errors import WireError
from clawjax.gateway.chat import ChatService
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine

__all__ = ["Backend", "Settings", "Startup"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is decided when the server is started."""

    model_path: str
    model_name: str
    """What `/v1/models` calls it."""
    max_pause_s: float = 660.0
    """A pause ends by itself after so long, or earlier where its caller says so."""
    stream_interval: int = 1
    """Tokens between two events of a stream."""
    max_body_bytes: int = 1 << 26
    request_timeout_s: float = 3600.0
    """Of a chat completion."""
    unread_timeout_s: float = 60.0
    """A client that reads nothing for so long is let go: adapters wait for one another."""
    max_response_tokens: int = 512
    """Of a chat completion where the client names no limit."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A server that can answer."""

    engine: Engine
    tokenizer: ChatTokenizer
    policies: Policies
    generator: Generator
    chat: ChatService


class Startup:
    """Holds the backend as soon as there is one."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._backend: Backend | None = None

    def complete(self, backend: Backend) -> None:
        """Answer from now on."""
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """What answers.

        Raises:
            WireError: 503 while the engine starts.
        """
        if self._backend is None:
            msg = "The server is starting: try again shortly."
            raise WireError(msg, status=503, code="starting", kind="server_error")
        return self._backend
