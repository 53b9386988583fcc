"""Answering a chat request: prompt, sampling of each choice, and what is kept of it.

Knows records and the engine, not HTTP: what is sampled goes to a `Sink`. Invariant: a choice is
committed before its finish is announced, and whatever ends a reply early leaves a cancelled turn.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

from clawjax.errors import EngineError, WireError
from clawjax.gateway.caller import Caller
from clawjax.gateway.collector import Visit
from clawjax.gateway.enforce import grammar_of
from clawjax.gateway.openai import SEED_RANGE, ChatRequest
from clawjax.gateway.parse import ReplyDelta, ReplyParser
from clawjax.gateway.render import Check, Prior, Renderer
from clawjax.gateway.reply import Exchange, Reply
from clawjax.linking.reading import prefill_of
from clawjax.protocols import Engine, GenerateRequest, TokenChunk
from clawjax.records import FinishReason, Grammar, Message, SamplingParams, Turn
from clawjax.rendering.formats.base import tools_of
from clawjax.tasks import task_group

__all__ = ["ChatService", "Sink", "TurnRecorder"]

_LONG = 1 << 16
"""Characters: messages of fewer are quickly placed."""
_LEFT_OUT = 4
"""Of how many parts of the messages a template shows one at least; it may leave thoughts out."""
_COUNTED = 4
"""How many times the context is counted."""


class Sink(Protocol):
    """Where replies go. Choices of one exchange write concurrently."""

    def begin(self, exchange: Exchange) -> None:
        """The session and the prompt are known; nothing has been sampled."""
        ...

    async def write(self, reply: Reply, deltas: Sequence[ReplyDelta]) -> None:
        """A choice has grown."""
        ...

    async def finish(self, reply: Reply) -> None:
        """A choice is complete and durable."""
        ...

    async def end(self, replies: Sequence[Reply]) -> None:
        """All choices are."""
        ...


class TurnRecorder(Protocol):
    """Who remembers conversations: a `Collector`, or somebody who only lets them pass."""

    def visit(
        self,
        caller: Caller,
        messages: Sequence[Message],
        tools_json: str | None,
        arrived_at: float,
    ) -> AbstractContextManager[Visit]:
        """Find the session of a request."""
        ...

    async def link(self, visit: Visit) -> None:
        """Keep the reaction that a request brings."""
        ...

    async def commit(self, visit: Visit, turn: Turn) -> None:
        """Keep a finished turn."""
        ...

    async def abandon(self, visit: Visit, turn: Turn) -> None:
        """Keep what there is of a turn that was not finished."""
        ...

    async def close_session(self, scope: str, session_id: str) -> None:
        """Nothing more will come."""
        ...


class ChatService:
    """Answers chat requests."""

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        collector: TurnRecorder,
        *,
        model_name: str,
        request_timeout_s: float,
        clock: Callable[[], float],
        max_prompt_tokens: int | None = None,
        shares_prefixes: bool = False,
        draw_seed: Callable[[], int] = lambda: secrets.randbelow(SEED_RANGE),
    ) -> None:
        self._engine = engine
        self._renderer = renderer
        self._collector = collector
        self._model_name = model_name
        self._request_timeout_s = request_timeout_s
        self._clock = clock
        self._max_prompt_tokens = max_prompt_tokens
        self._shares_prefixes = shares_prefixes
        self._draw_seed = draw_seed

    async def answer(self, request: ChatRequest, caller: Caller, sink: Sink) -> None:
        """Serve one request from its arrival to its last byte.

        Raises:
            WireError: the request cannot be served as it is.
            EngineError: sampling failed.
            LogError: the turn could not be made durable.
            TimeoutError: over `request_timeout_s`.
        """
        messages, tools_json = request.messages, request.tools_json
        await self._refuse_endless(messages)
        with self._collector.visit(caller, messages, tools_json, self._clock()) as visit:
            async with asyncio.timeout(self._request_timeout_s):
                exchange = await self._open(request, caller, visit)
                sink.begin(exchange)
                replies = await self._sample_all(visit, request, exchange, sink)
                if caller.is_session_done:
                    await self._collector.close_session(exchange.scope, exchange.session_id)
                await sink.end(replies)

    async def count_tokens(self, request: ChatRequest, scope: str) -> int:
        """How long the prompt of a request of `scope` is, rendered afresh.

        Raises:
            WireError: the template rejects the messages, or they are many times the context.
        """
        check = partial(_require_countable, self._engine.status().context_length)
        cached = self._cache_scope(scope)
        return len(await asyncio.to_thread(self._prompt, request, None, check, cached))

    async def _refuse_endless(self, messages: Sequence[Message]) -> None:
        """Refuse what will not fit, whatever the template makes of it, before it is placed."""
        if sum(len(message.content) for message in messages) >= _LONG:
            fewest = await asyncio.to_thread(self._renderer.fewest_tokens, messages)
            self._require_fit(self._engine.status().context_length, fewest // _LEFT_OUT)

    async def _open(self, request: ChatRequest, caller: Caller, visit: Visit) -> Exchange:
        check = partial(self._require_fit, self._engine.status().context_length)
        scope = self._cache_scope(caller.scope)
        prompt_ids = await asyncio.to_thread(self._prompt, request, visit.prior, check, scope)
        sampling = self._clamped(request.sampling, len(prompt_ids))
        sampling = replace(sampling, grammar=self._grammar(request, prompt_ids))
        seed = request.sampling.seed
        exchange = Exchange(
            response_id=f"{request.id_prefix}{uuid.uuid4().hex}",
            session_id=visit.session.session_id,
            parent_turn_id=visit.parent_turn_id,
            scope=caller.scope,
            kind=visit.kind,
            model=self._model_name,
            messages=request.messages,
            tools_json=request.tools_json,
            prompt_ids=prompt_ids,
            sampling=sampling,
            seed=self._draw_seed() if seed is None else seed,
            arrived_at=visit.arrived_at,
            choices=request.choices,
            top_logprobs=request.top_logprobs,
            priority=caller.priority(visit.kind),
            goes_on=request.prompt is not None or bool(prefill_of(request.messages)),
        )
        # Behind all checks, the engine's too: who is refused has said nothing.
        await self._engine.check(
            self._asked(exchange, exchange.response_id, exchange.seed), replies=exchange.choices
        )
        await self._collector.link(visit)
        return exchange

    def _cache_scope(self, scope: str) -> str | None:
        """For whom what is read for a caller is kept; None: everybody."""
        return None if self._shares_prefixes else scope

    def _prompt(
        self, request: ChatRequest, prior: Prior | None, check: Check, scope: str | None
    ) -> tuple[int, ...]:
        """Runs in a thread."""
        messages, tools_json = request.messages, request.tools_json
        match request.prompt:
            case None:
                return self._renderer.prompt(messages, tools_json, prior, check, scope)
            case str():
                return self._renderer.text(request.prompt, check, scope)
            case _:
                return request.prompt

    def _grammar(self, request: ChatRequest, prompt_ids: Sequence[int]) -> Grammar | None:
        """What holds the reply; one that the client has begun is no whole that a grammar fits."""
        if request.prompt is not None or prefill_of(request.messages) is not None:
            return None
        return grammar_of(
            self._renderer.formats,
            tools_of(request.tools_json),
            request.tool_choice,
            request.response_format,
            opens_reasoning=self._renderer.opens_reasoning(prompt_ids),
            is_parallel=request.is_parallel,
        )

    def _clamped(self, sampling: SamplingParams, prompt_tokens: int) -> SamplingParams:
        limit = self._engine.status().context_length
        self._require_fit(limit, prompt_tokens, about="")
        room = limit - prompt_tokens
        return replace(sampling, max_response_tokens=min(sampling.max_response_tokens, room))

    def _require_fit(self, limit: int, tokens: int, *, about: str = "at least ") -> None:
        """Refuse a prompt of too many tokens.

        Raises:
            WireError: it is over the context length, or over what one request may have.
        """
        if tokens >= limit:
            msg = (
                f"this model's maximum context length is {limit} tokens, but the messages take "
                f"{about}{tokens}: shorten them so that at least 1 token is left for the reply"
            )
            raise WireError(msg, code="context_length_exceeded", param="messages")
        most = self._max_prompt_tokens
        if most is not None and tokens > most:
            msg = (
                f"the messages take {about}{tokens} tokens, more than {most}: shorten them, or "
                "raise gateway.limits.max_prompt_tokens"
            )
            raise WireError(msg, code="context_length_exceeded", param="messages")

    async def _sample_all(
        self, visit: Visit, request: ChatRequest, exchange: Exchange, sink: Sink
    ) -> list[Reply]:
        async with task_group() as group:
            tasks = [
                group.create_task(
                    self._sample(visit, exchange, choice, sink, self._parser(request, exchange))
                )
                for choice in range(exchange.choices)
            ]
        return [task.result() for task in tasks]

    def _parser(self, request: ChatRequest, exchange: Exchange) -> ReplyParser:
        if request.prompt is not None:
            return ReplyParser(None, None, tools={})
        formats, begun = self._renderer.formats, prefill_of(request.messages)
        parser = ReplyParser(
            formats.calls if exchange.tools_json is not None else None,
            formats.reasoning,
            tools=tools_of(exchange.tools_json),
            opens_reasoning=begun is None and self._renderer.opens_reasoning(exchange.prompt_ids),
        )
        if begun is not None:
            parser.go_on_behind(begun)
        return parser

    async def _sample(
        self, visit: Visit, exchange: Exchange, choice: int, sink: Sink, parser: ReplyParser
    ) -> Reply:
        seed = (exchange.seed + choice) % SEED_RANGE
        reply = Reply(exchange, choice=choice, turn_id=uuid.uuid4().hex, seed=seed, parser=parser)
        try:
            await self._pump(exchange, reply, sink)
        except BaseException:  # disconnect, time-out, failure: keep what was sampled, go on failing
            if reply.tokens:
                cancelled = replace(reply.turn(self._clock()), finish_reason=FinishReason.CANCELLED)
                await self._collector.abandon(visit, cancelled)
            raise
        await self._collector.commit(visit, reply.turn(self._clock()))
        await sink.finish(reply)
        return reply

    async def _pump(self, exchange: Exchange, reply: Reply, sink: Sink) -> None:
        stream = self._engine.generate(self._asked(exchange, reply.turn_id, reply.seed))
        async with aclosing(cast("AsyncGenerator[TokenChunk]", stream)) as chunks:
            async for chunk in chunks:
                await sink.write(reply, reply.add(chunk))
        if reply.finish_reason in (None, FinishReason.CANCELLED):
            msg = "the engine ended a reply before it was complete: try again"
            raise EngineError(msg)

    def _asked(self, exchange: Exchange, request_id: str, seed: int) -> GenerateRequest:
        return GenerateRequest(
            request_id=request_id,
            prompt_ids=exchange.prompt_ids,
            sampling=exchange.sampling,
            seed=seed,
            top_logprobs=exchange.top_logprobs,
            priority=exchange.priority,
            session_id=exchange.session_id,
            cache_scope=self._cache_scope(exchange.scope),
            goes_on=exchange.goes_on,
        )


def _require_countable(limit: int, fewest: int) -> None:
    """Refuse to count what is many times the context.

    Raises:
        WireError: it is.
    """
    most = _COUNTED * limit
    if fewest > most:
        msg = (
            f"the messages take at least {fewest} tokens, and more than {most}, {_COUNTED} times "
            "the model's maximum context length, are not counted: shorten them"
        )
        raise WireError(msg, code="context_length_exceeded", param="messages")
