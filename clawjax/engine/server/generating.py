"""From what a body wants to answers: prompts are scored and replies drawn, each with its weights.

Knows the engine, not HTTP. Invariant: an answer grows and ends once; closing its iterator, or
leaving it half-way, cancels what was asked of the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar, cast

from clawjax.engine.server.answers import Answer, TokenTexts
from clawjax.engine.server.controlled import ControlledEngine, controlled
from clawjax.engine.server.policies import Policies
from clawjax.engine.server.wire import Wanted
from clawjax.errors import WireError
from clawjax.protocols import Engine, GenerateRequest, ScoreRequest, TokenChunk
from clawjax.records import FinishReason
from clawjax.tasks import task_group

__all__ = ["Generator", "PromptTokenizer"]

S = TypeVar("S")

_UNREAD = 256
"""Answers of a streamed batch that wait for the client before drawing does."""


class PromptTokenizer(TokenTexts, Protocol):
    """The part of a tokenizer that prompts and answers need."""

    def encode_text(self, text: str, scope: str | None = None) -> tuple[int, ...]:
        """Ids of a whole text, begun as the model's texts begin; special tokens in it count.

        What another `scope` has sent is not the sooner encoded.
        """
        ...


class Generator:
    """Draws what bodies want."""

    def __init__(
        self, engine: Engine, tokenizer: PromptTokenizer, policies: Policies, *, interval: int
    ) -> None:
        """An unfinished answer is shown every `interval` tokens."""
        self._engine = engine
        self._tokenizer = tokenizer
        self._policies = policies
        self._interval = interval
        self._open: dict[Answer, bool] = {}
        """Whether it was aborted before the engine knew of it."""

    async def grow(self, wanted: Wanted) -> AsyncGenerator[Answer]:
        """One answer, shown again and again while it grows, and last when it has ended.

        Raises:
            WireError: the request cannot be served as it is.
            EngineError: the engine has stopped.
        """
        prompt_ids = wanted.input_ids
        if wanted.text is not None:  # a long one takes seconds
            prompt_ids = await asyncio.to_thread(
                self._tokenizer.encode_text, wanted.text, wanted.extra_key
            )
        start = wanted.logprob_start
        if start is not None and start >= len(prompt_ids):
            msg = f"logprob_start_len is {start}, but the prompt has {len(prompt_ids)} tokens."
            raise WireError(msg, param="logprob_start_len")
        answer = Answer(wanted, prompt_ids, self._tokenizer, self._policies.label)
        self._open[answer] = False
        try:
            async with self._policies.using(wanted.lora_path):
                answer.version = self._engine.status().version
                if start is not None and start + 1 < len(prompt_ids):
                    answer.scored = await self._score(wanted, prompt_ids, start)
                if self._open[answer] or answer.is_scoring_cancelled:
                    answer.scored, answer.finish_reason = None, FinishReason.CANCELLED
                elif wanted.sampling.max_response_tokens == 0:
                    answer.finish_reason = FinishReason.LENGTH
                if answer.finish_reason is not None:
                    yield answer
                    return
                async with aclosing(self._draw(answer)) as growing:
                    async for shown in growing:
                        yield shown
        finally:
            del self._open[answer]

    def abort(self, name: str | None) -> None:
        """End the answers to what a client called so, or all there are, with what they have.

        Raises:
            WireError: 501 where the engine cannot be told.
        """
        engine = controlled(self._engine)
        for answer in self._open:
            if name in (None, answer.wanted.name, answer.wanted.rid):
                self._open[answer] = True
                engine.abort(answer.wanted.rid)
        if name is None:
            engine.abort(None)  # chats, too

    async def finish(self, wanted: Wanted) -> Answer:
        """One answer, complete."""
        async with aclosing(self.grow(wanted)) as growing:
            return [answer async for answer in growing][-1]

    async def finish_all(self, many: Sequence[Wanted]) -> list[Answer]:
        """All answers, complete, in order; the first failure cancels the others."""
        async with task_group() as group:
            tasks = [group.create_task(self.finish(wanted)) for wanted in many]
        return [task.result() for task in tasks]

    async def grow_all(
        self, many: Sequence[Wanted], show: Callable[[int, Answer], S]
    ) -> AsyncGenerator[S]:
        """What `show` makes of each answer, and its place, whenever it has grown.

        The first failure cancels the others.
        """
        shown: asyncio.Queue[S | None] = asyncio.Queue(_UNREAD)

        async def pump(index: int, wanted: Wanted) -> None:
            async with aclosing(self.grow(wanted)) as growing:
                async for answer in growing:
                    await shown.put(show(index, answer))

        async def pump_all() -> None:
            async with task_group() as group:
                for index, wanted in enumerate(many):
                    group.create_task(pump(index, wanted))

        async def to_the_end() -> None:
            try:
                await pump_all()
            except BaseException:
                if shown.full():
                    shown.get_nowait()  # nobody reads on after a failure
                shown.put_nowait(None)
                raise
            await shown.put(None)

        pumping = asyncio.ensure_future(to_the_end())
        try:
            while (item := await shown.get()) is not None:
                yield item
            await pumping
        finally:
            pumping.cancel()
            await asyncio.wait([pumping])

    async def _draw(self, answer: Answer) -> AsyncGenerator[Answer]:
        wanted = answer.wanted
        request = GenerateRequest(
            request_id=wanted.rid,
            prompt_ids=answer.prompt_ids,
            sampling=wanted.sampling,
            seed=wanted.seed,
            top_logprobs=wanted.top_logprobs,
            priority=wanted.priority,
            cache_scope=wanted.extra_key,
            goes_on=wanted.goes_on,
        )
        stream = self._engine.generate(request)
        async with aclosing(cast("AsyncGenerator[TokenChunk]", stream)) as chunks:
            shown = 0
            async for chunk in chunks:
                answer.add(chunk)
                is_due = len(answer.token_ids) - shown >= self._interval
                if is_due or chunk.finish_reason is not None:
                    shown = len(answer.token_ids)
                    yield answer

    async def _score(self, wanted: Wanted, prompt_ids: tuple[int, ...], start: int) -> TokenChunk:
        """What follows the token at `start`, of which nothing is asked."""
        request = ScoreRequest(
            wanted.rid,
            prompt_ids[: start + 1],
            prompt_ids[start + 1 :],
            wanted.priority,
            wanted.extra_key,
        )
        if isinstance(self._engine, ControlledEngine) or wanted.top_logprobs:
            return await controlled(self._engine).read(request, top_logprobs=wanted.top_logprobs)
        version = self._engine.status().version
        logprobs = await self._engine.score(request)
        versions = (version,) * len(logprobs)
        return TokenChunk(request.response_ids, logprobs, logprobs, versions)
