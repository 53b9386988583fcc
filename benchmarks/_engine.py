"""Drives the serving engine in this process as the gateway does: requests in, chunks out.

Owns the event loop that the engine lives in, so that a benchmark can be plain code that takes turns
with other contestants. Invariant: a reply that is not as long as was asked for is an error, never a
shorter measurement.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clawjax.config import EngineConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.evals.material import fixed_text
from clawjax.models.load import LoadedModel
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import Engine, GenerateRequest
from clawjax.records import SamplingParams

__all__ = [
    "Prompt",
    "Reply",
    "Served",
    "asked",
    "elapsed",
    "excerpts",
    "served",
    "steady_rate",
    "text_prompts",
]

Prompt = tuple[int, ...]
T = TypeVar("T")

_TIMEOUT_S = 900.0
_STRIDE = 67
"""Tokens between the beginnings of two excerpts; a prime, so that it is long until one returns."""


@dataclass(slots=True)
class Reply:
    """What has come of a request so far; times are those of `time.perf_counter`."""

    request: GenerateRequest
    asked_at: float = field(default_factory=time.perf_counter)
    arrived_at: list[float] = field(default_factory=list)
    """Of each token; those of one chunk arrive together."""
    ids: list[int] = field(default_factory=list)
    sampler_logprobs: list[float] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    async def receive(self, engine: Engine) -> None:
        """Take in the whole reply.

        Raises:
            RuntimeError: it is not as long as was asked for.
        """
        async for chunk in engine.generate(self.request):
            self.arrived_at += [time.perf_counter()] * len(chunk.token_ids)
            self.ids += chunk.token_ids
            self.sampler_logprobs += chunk.sampler_logprobs
            self._came.set()
        wanted = self.request.sampling.max_response_tokens
        if len(self.ids) != wanted:
            msg = f"a reply has {len(self.ids)} tokens, {wanted} were asked for"
            raise RuntimeError(msg)

    async def has(self, count: int) -> None:
        """Wait until so many tokens have come, while somebody receives them."""
        while len(self.ids) < count:
            self._came.clear()
            await self._came.wait()

    @property
    def first_s(self) -> float:
        """Seconds until the first token."""
        return self.arrived_at[0] - self.asked_at

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between one token and the next."""
        return [later - earlier for earlier, later in itertools.pairwise(self.arrived_at)]


@dataclass(frozen=True, slots=True)
class Served:
    """A running engine, and the event loop that it lives in."""

    engine: EmbeddedEngine
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the engine's event loop.

        Raises:
            TimeoutError: it takes longer than a quarter of an hour.
        """
        return self.runner.run(_in_time(work))

    def replies(self, requests: Sequence[GenerateRequest]) -> list[Reply]:
        """Ask everything at once and wait for all of it."""
        return self.run(_ask_all(self.engine, requests))

    def sampled(self, prompts: Sequence[Prompt], new_tokens: int) -> list[Reply]:
        """Replies of so many tokens at temperature 1, asked for at once."""
        return self.replies([asked(prompt, new_tokens) for prompt in prompts])


@contextmanager
def served(model: LoadedModel, config: EngineConfig) -> Generator[Served]:
    """A model in a running engine, which compiles or reads its programs first."""
    with asyncio.Runner() as runner:
        engine = runner.run(EmbeddedEngine.start(model, config, None))
        try:
            yield Served(engine, runner)
        finally:
            runner.run(engine.aclose())


async def _ask_all(engine: Engine, requests: Sequence[GenerateRequest]) -> list[Reply]:
    replies = [Reply(request) for request in requests]
    async with asyncio.TaskGroup() as group:
        for reply in replies:
            group.create_task(reply.receive(engine))
    return replies


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(_TIMEOUT_S):
        return await work


_SEEDS = itertools.count()


def asked(prompt: Prompt, new_tokens: int, *, temperature: float = 1.0) -> GenerateRequest:
    """A request for exactly so many tokens, with a seed of its own."""
    seed = next(_SEEDS)
    sampling = SamplingParams(
        max_response_tokens=new_tokens, temperature=temperature, ignore_eos=True
    )
    return GenerateRequest(f"benchmark-{seed}", prompt, sampling, seed)


def elapsed(replies: Sequence[Reply]) -> float:
    """Seconds from the first asking to the last token of all."""
    first_asked = min(reply.asked_at for reply in replies)
    return max(reply.arrived_at[-1] for reply in replies) - first_asked


def steady_rate(replies: Sequence[Reply]) -> float:
    """Tokens per second of all replies together, while every one of them is being written.

    Raises:
        ValueError: at no time were all of them under way.
    """
    began = max(reply.arrived_at[0] for reply in replies)
    ended = min(reply.arrived_at[-1] for reply in replies)
    if ended <= began:
        msg = "some reply ended before another began: ask for more tokens"
        raise ValueError(msg)
    times = itertools.chain.from_iterable(reply.arrived_at for reply in replies)
    return sum(began < at <= ended for at in times) / (ended - began)


def excerpts(ids: Sequence[int], length: int) -> Iterator[Prompt]:
    """Prompts of `length` tokens from a text read in circles, each beginning somewhere else.

    So an engine that remembers earlier prompts is not helped by that.
    """
    for index in itertools.count():
        start = index * _STRIDE
        yield tuple(ids[(start + offset) % len(ids)] for offset in range(length))


def text_prompts(tokenizer: ChatTokenizer, length: int) -> Iterator[Prompt]:
    """`excerpts` of the fixed English text of the evaluation."""
    return excerpts(tokenizer.encode(fixed_text()), length)
