"""How a simulated user talks: the official OpenAI client, with patience for a restarting server.

Invariant: a question is asked until it is answered whole, refused by the server (a 4xx), or
`retry_s` has passed; half a reply never passes for a reply.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai

from clawjax.config.secrets import read_key
from clawjax.envs.user_settings import UserSettings
from clawjax.errors import EngineError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

__all__ = ["Answer", "ChatClient"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_PASSING_STATUSES = (408, 409, 429)
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply, read to its end."""

    response_id: str
    text: str
    finish_reason: str
    completion_tokens: int | None
    first_token_s: float
    """From the request to the first visible text."""
    latency_s: float
    finished_at: float
    """Unix seconds."""


class ChatClient:
    """One user's line to the endpoint."""

    def __init__(self, client: openai.AsyncOpenAI, settings: UserSettings, model: str) -> None:
        """Wrap a client whose own retries are off; use `connect` to get one."""
        self._client = client
        self._settings = settings
        self._model = model
        self._root_url = str(client.base_url).rstrip("/").removesuffix("/v1")
        self._errors: Counter[str] = Counter()

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: UserSettings) -> AsyncIterator[ChatClient]:
        """Reach the endpoint and find out which model it serves.

        Raises:
            EngineError: unreachable for `retry_s`.
        """
        async with openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=read_key(settings.api_key_env) or "none",
            timeout=settings.request_timeout_s,
            max_retries=0,
        ) as client:
            line = cls(client, settings, settings.model or "")
            if not settings.model:
                line._model = await line._patiently(line._served_model)
            yield line

    async def ask(
        self, messages: list[dict[str, str]], *, session: str | None, seed: int | None = None
    ) -> Answer:
        """Send a conversation, read the streamed reply.

        Args:
            messages: all of it.
            session: goes into `X-Session-Id`.
            seed: of sampling; None lets the server draw one.

        Raises:
            openai.APIStatusError: the server refuses the request; asking again is of no use.
            EngineError: unreachable for `retry_s`.
        """
        headers = {} if session is None else {"X-Session-Id": session}
        return await self._patiently(lambda: self._stream(messages, headers, seed))

    async def give_words(self, response_id: str, text: str) -> None:
        """React to a reply in words, outside the conversation."""
        await self._feedback({"response_id": response_id, "text": text})

    async def give_thumbs(self, response_id: str, thumbs: str) -> None:
        """React to a reply with thumbs `up` or `down`."""
        await self._feedback({"response_id": response_id, "thumbs": thumbs})

    async def version(self) -> int | None:
        """The policy version being served; None where the server does not say just now."""
        try:
            health: Any = await self._client.get(f"{self._root_url}/healthz", cast_to=object)
        except openai.APIError as error:
            logger.debug("no health report: %s", error)
            return None
        found = health.get("version") if isinstance(health, dict) else None
        return found if isinstance(found, int) else None

    async def _feedback(self, body: dict[str, str]) -> None:
        await self._patiently(lambda: self._client.post("/feedback", body=body, cast_to=object))

    async def _served_model(self) -> str:
        models = await self._client.models.list()
        if not models.data:
            msg = f"{self._settings.base_url} serves no model: name one in the settings"
            raise EngineError(msg)
        return models.data[0].id

    async def _stream(
        self, messages: list[dict[str, str]], headers: dict[str, str], seed: int | None
    ) -> Answer:
        started = time.monotonic()
        first: float | None = None
        response_id, finish_reason, tokens = "", None, None
        pieces: list[str] = []
        stream = await self._client.chat.completions.create(
            model=self._model,
            messages=cast("list[ChatCompletionMessageParam]", messages),
            temperature=self._settings.temperature,
            max_tokens=self._settings.max_tokens,
            seed=openai.omit if seed is None else seed,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers,
        )
        async with stream:
            async for chunk in stream:
                response_id = chunk.id or response_id
                tokens = chunk.usage.completion_tokens if chunk.usage else tokens
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    if choice.delta.content:
                        first = first or time.monotonic()
                        pieces.append(choice.delta.content)
        if finish_reason is None:
            raise openai.APIConnectionError(
                message="the reply broke off", request=stream.response.request
            )
        ended = time.monotonic()
        return Answer(
            response_id=response_id,
            text="".join(pieces),
            finish_reason=finish_reason,
            completion_tokens=tokens,
            first_token_s=(first or ended) - started,
            latency_s=ended - started,
            finished_at=time.time(),
        )

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again, with growing pauses, while the server may be restarting."""
        deadline = time.monotonic() + self._settings.retry_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await attempt()
            except openai.APIError as error:
                is_status = isinstance(error, openai.APIStatusError)
                self._errors[str(error.status_code) if is_status else "connection"] += 1
                if _is_refusal(error):
                    raise
                if time.monotonic() >= deadline:
                    msg = (
                        f"no answer from {self._settings.base_url} for "
                        f"{self._settings.retry_s:g} s: {_describe(error)}: is the server running?"
                    )
                    raise EngineError(msg) from error
                logger.warning("%s: trying again in %.2g s", _describe(error), pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def take_errors(self) -> dict[str, int]:
        """Errors since the last call, retried ones included: by HTTP status, or `connection`."""
        taken = dict(self._errors)
        self._errors.clear()
        return taken


def _is_refusal(error: openai.APIError) -> bool:
    if not isinstance(error, openai.APIStatusError):
        return False
    return error.status_code < 500 and error.status_code not in _PASSING_STATUSES


def _describe(error: openai.APIError) -> str:
    if isinstance(error, openai.APIStatusError):
        return f"status {error.status_code}"
    return str(error.__cause__ or error)
