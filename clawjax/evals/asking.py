"""Evaluation prompts over the endpoint that users talk to.

Owns how an evaluation asks: each prompt a conversation of its own with a seed of its own, as a
side turn. Invariant: what is asked here is never trained on, and every prompt has a reply or the
evaluation has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam

from clawjax.errors import EngineError
from clawjax.openai_form import wire_text
from clawjax.tasks import task_group

__all__ = ["Asker", "PromptReply"]


_PRIORITY = "2"
"""Measuring can wait: people and judges come first."""


@dataclass(frozen=True, slots=True)
class PromptReply:
    """One prompt and what came back."""

    prompt: str
    text: str
    response_id: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Asker:
    """One endpoint, and how it is asked."""

    base_url: str
    """E.g. `http://127.0.0.1:30000/v1`."""
    model: str
    """The name the endpoint serves the policy by."""
    api_key: str = "none"
    """Bearer key, where the endpoint wants one."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout_s: float = 300.0
    """Per attempt."""
    retries: int = 8
    """Further attempts where the server is unreachable or answers 5xx."""

    async def ask(
        self,
        prompts: Sequence[str],
        *,
        seeds: Sequence[int],
        temperature: float,
        max_tokens: int,
        system: str | None = None,
    ) -> list[PromptReply]:
        """One reply per prompt, in their order.

        Args:
            prompts: each the only user message of its conversation.
            seeds: of sampling, one per prompt.
            temperature: of sampling.
            max_tokens: of each reply.
            system: a system message put before each prompt.

        Raises:
            EngineError: a prompt got no reply.
        """
        before: list[ChatCompletionMessageParam] = []
        if system is not None:
            before.append({"role": "system", "content": system})
        gate = asyncio.Semaphore(self.concurrency)
        async with self._client() as client:

            async def ask(prompt: str, seed: int) -> PromptReply:
                async with gate:
                    completion = await client.chat.completions.create(
                        model=self.model,
                        messages=[*before, {"role": "user", "content": wire_text(prompt)}],
                        temperature=temperature,
                        max_tokens=max_tokens,
                        seed=seed,
                        extra_headers={"X-Turn-Type": "side", "X-Priority": _PRIORITY},
                    )
                choice = completion.choices[0]
                text = choice.message.content or ""
                return PromptReply(prompt, text, completion.id, choice.finish_reason)

            try:
                async with task_group() as group:
                    tasks = [
                        group.create_task(ask(prompt, seed))
                        for prompt, seed in zip(prompts, seeds, strict=True)
                    ]
            except openai.APIError as error:
                msg = f"an evaluation prompt got no reply from {self.base_url}: {error}"
                raise EngineError(msg) from error
        return [task.result() for task in tasks]

    async def served_version(self) -> int | None:
        """Policy version in use; None where the server does not say.

        Raises:
            EngineError: the server is unreachable.
        """
        root = self.base_url.rstrip("/").removesuffix("/v1")
        async with self._client() as client:
            try:
                health: Any = await client.get(f"{root}/healthz", cast_to=object)
            except openai.APIStatusError:
                return None
            except openai.APIError as error:
                msg = f"no answer from {root}: {error}: is the server running?"
                raise EngineError(msg) from error
        found = health.get("version") if isinstance(health, Mapping) else None
        return found if isinstance(found, int) else None

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[openai.AsyncOpenAI]:
        async with openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self.api_key,
            timeout=self.timeout_s,
            max_retries=self.retries,
        ) as client:
            yield client
