"""Any OpenAI-compatible endpoint as a model that answers chats.

Invariant: every request has a time-out, few retries and a bound on how many are under way; a reply
that was cut off or is empty is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import openai

from clawjax.config import SynthesisConfig
from clawjax.config.secrets import read_key
from clawjax.errors import EngineError

__all__ = ["EndpointChat"]

_HEADERS = {"X-Turn-Type": "side", "X-Priority": "2", "X-No-Training": "1"}
"""Where the endpoint is clawjax itself: people come first, and made-up turns are not logged."""


class EndpointChat:
    """A `clawjax.data.synthetic.Chat`."""

    def __init__(self, config: SynthesisConfig, *, env: Mapping[str, str]) -> None:
        """Read the key from `env`; nothing is sent before the first question."""
        self._config = config
        self._bound = asyncio.Semaphore(config.concurrency)
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=read_key(config.api_key_env, env) or "none",
            timeout=config.timeout_s,
            max_retries=config.retries,
            default_headers=_HEADERS,
        )

    async def ask(self, messages: Sequence[Mapping[str, str]], *, seed: int) -> str:
        """One reply.

        Raises:
            EngineError: the endpoint did not answer, or not to the end.
        """
        config = self._config
        try:
            async with self._bound:
                completion = await self._client.chat.completions.create(
                    model=config.model,
                    messages=cast(Any, list(messages)),
                    temperature=config.temperature,
                    max_tokens=config.max_tokens,
                    seed=seed,
                )
            choice = completion.choices[0]
            text, is_cut = choice.message.content, choice.finish_reason == "length"
        except openai.OpenAIError as error:
            msg = f"{config.base_url} gave no reply ({type(error).__name__}): is it running?"
            raise EngineError(msg) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # An error that came with status 200, or the answer of another API.
            msg = (
                f"{config.base_url} gave no chat completion ({type(error).__name__}): does its "
                "address end with /v1?"
            )
            raise EngineError(msg) from error
        if is_cut:
            msg = f"a reply was cut off: raise synthesis.max_tokens, which is {config.max_tokens}"
            raise EngineError(msg)
        if not text:
            msg = f"{config.base_url} gave an empty reply"
            raise EngineError(msg)
        return text

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()
