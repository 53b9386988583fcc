"""`protocols.Engine` over SGLang servers.

Owns the open requests. Invariants: a reply that a server gives up or takes along is continued
from the tokens so far, on another server where there is one, and each token keeps the version that
sampled it; a reply that was not finished never looks as if it were; who closes the iterator frees
the server.

What may be repeated: asking for a reply or a score changes nothing on a server, and where the
server may still be at it, it is told to stop before another is asked. Nothing else is repeated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager

from clawjax.config import EngineConfig
from clawjax.engine.requests import check_scoring, reply_limit
from clawjax.engine.sglang.delivery_plan import adapter_name, cache_key
from clawjax.engine.sglang.failures import (
    CrowdedError,
    InterruptError,
    LostError,
    RefusedError,
    UnreachableError,
    UnreadableError,
)
from clawjax.engine.sglang.http import Connections
from clawjax.engine.sglang.launch import Launched
from clawjax.engine.sglang.pool import Asked, Pool, Server, affinity
from clawjax.engine.sglang.probe import Expected
from clawjax.engine.sglang.reply import StreamedReply
from clawjax.engine.sglang.rotation import Rotation
from clawjax.engine.sglang.standing import standing, trouble
from clawjax.engine.sglang.wire import (
    TokenStream,
    Weights,
    generate_body,
    is_busy,
    raise_for_words,
    read_scores,
    score_body,
)
from clawjax.errors import EngineError, WireError
from clawjax.protocols import (
    EngineStatus,
    GenerateRequest,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)

__all__ = ["SglangEngine"]

logger = logging.getLogger(__name__)

_RATE_WINDOW_S = 5.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_MOMENT = 3
"""Looks at the servers."""
_OUR_FAULT = (401, 403)
"""Refusals that the asker can do nothing about."""


class SglangEngine:
    """Samples on servers; `start.start_engine` makes one."""

    def __init__(
        self,
        config: EngineConfig,
        expected: Expected,
        pool: Pool,
        rotation: Rotation,
        connections: Connections,
        launched: Sequence[Launched] = (),
    ) -> None:
        """Begin to watch the servers, which have been looked at.

        Args:
            config: limits.
            expected: the model.
            pool: the servers.
            rotation: who keeps them.
            connections: closed with the engine.
            launched: stopped with the engine.
        """
        self._config = config
        self._expected = expected
        self._pool = pool
        self._rotation = rotation
        self._connections = connections
        self._launched = launched
        self._rate = _Rate()
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._open = 0
        self._version = rotation.wanted.version
        self._watches = [
            asyncio.create_task(rotation.watch(server), name=f"watch {server.url}")
            for server in pool.servers
        ]
        if pool.router is not None:
            following = rotation.watch_router(pool.router)
            self._watches.append(asyncio.create_task(following, name="watch the router"))

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """Refuse what no server need be asked about. A grammar is the server's to refuse.

        Raises:
            WireError: over the context length, bad parameters, too many requests (503).
        """
        reply_limit(request, self._expected.vocab_size, self._context_length)
        self._require_room(replies)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenChunk]:
        """Stream a reply. Closing the iterator cancels the request, also on the server.

        The token that ends the reply (end of sequence, a stop id) is among the ids and not in the
        text. Log-probs that the server does not give are absent (`logprobs`).

        Raises:
            WireError: over the context length, bad parameters (the server's words), too many
                requests or no server in rotation (503).
            EngineError: it was interrupted too often, or once within a grammar, or makes no sense.
        """
        limit = reply_limit(request, self._expected.vocab_size, self._context_length)
        reply = StreamedReply(request, limit, self._expected.tokenizer)
        trouble = _Trouble(self._config.sglang.max_continuations)
        with self._opened():
            while not reply.is_finished:
                server = await self._pool.pick(affinity(request), trouble.avoid)
                known = len(reply.tokens)
                try:
                    rid = f"{request.request_id}-{trouble.total}"
                    async with aclosing(self._attempt(server, reply, rid)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    self._pool.note(server, None)
                except EngineError as error:
                    self._pool.note(server, error)
                    if reply.tokens and request.sampling.grammar is not None:
                        raise  # another server would begin the grammar anew
                    await trouble.survive(error, server, progress=len(reply.tokens) - known)

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """`log p(token | everything before it)` of each response token, at temperature 1.

        Raises:
            WireError: over the context length, bad tokens, no server (503).
            EngineError: the servers fail.
        """
        check_scoring(request, self._expected.vocab_size, self._context_length)
        trouble = _Trouble(self._config.sglang.max_continuations)
        with self._opened():
            while True:
                server = await self._pool.pick(affinity(request), trouble.avoid)
                try:
                    scores = await self._score(server, request, trouble.total)
                except EngineError as error:
                    self._pool.note(server, error)
                    await trouble.survive(error, server, progress=0)
                else:
                    self._pool.note(server, None)
                    return scores

    async def swap(self, weights: WeightVersion) -> None:
        """Bring weights to every server; see `rotation.Rotation.want`.

        Raises:
            StoreError: no server has them.
        """
        await self._rotation.want(weights)

    def status(self) -> EngineStatus:
        """Report what is going on, without blocking."""
        served = [s.version for s in self._pool.serving if s.version is not None]
        wanted = self._rotation.wanted.version
        if served:
            self._version = wanted if wanted in served else max(served)
        running = min(self._open, self._config.slots)
        servers = tuple(map(standing, self._pool.servers))
        return EngineStatus(
            version=self._version,
            running=running,
            waiting=self._open - running,
            slots=self._config.slots,
            context_length=self._context_length,
            generated_tokens=self._rate.total,
            tokens_per_s=self._rate.per_s(time.monotonic()),
            is_healthy=self._may_recover and self._pool.empty_s <= self._moment_s,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            may_recover=self._may_recover,
            trouble=trouble(servers, wanted),
            servers=servers,
        )

    async def aclose(self) -> None:
        """Stop watching, stop the servers that were launched, close the connections."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await asyncio.gather(*(one.aclose() for one in self._launched))
        await self._connections.aclose()

    @property
    def _context_length(self) -> int:
        """Tokens of prompt and reply. Some servers refuse what would fill their own to the end."""
        told = [s.context_length for s in self._pool.servers if s.context_length is not None]
        return min(self._expected.context_length, min(told, default=2**31) - 1)

    @property
    def _may_recover(self) -> bool:
        """Whether servers may come back: they are looked after, and not all given up."""
        has_lost_all = bool(self._launched) and all(one.has_given_up for one in self._launched)
        return not has_lost_all and not any(watch.done() for watch in self._watches)

    @property
    def _moment_s(self) -> float:
        """How long none may be in rotation before that is more than a hiccup."""
        return _MOMENT * self._config.sglang.health_interval_s

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Count a request; refuse it where there are too many."""
        self._require_room(1)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _require_room(self, replies: int) -> None:
        limit = self._config.slots + self._config.max_waiting
        if self._open + replies > limit:
            raise _overloaded(f"{limit} requests are open")

    async def _attempt(
        self, server: Server, reply: StreamedReply, rid: str
    ) -> AsyncGenerator[TokenChunk]:
        """Let one server go on with a reply; returns when that is finished.

        Raises:
            WireError, EngineError: `failures` says what may be done about it.
        """
        silence_s = self._config.sglang.silence_timeout_s
        events = TokenStream()
        may_run = True
        try:
            with self._pool.using(server) as asked, _refusals():
                body = generate_body(
                    reply.request,
                    rid=rid,
                    tokens=reply.tokens,
                    limit=reply.limit,
                    stop_ids=reply.stop_ids,
                    dialect=server.dialect,
                    weights=_weights(asked),
                )
                async with server.client.stream("/generate", body, silence_s=silence_s) as stream:
                    async for event in stream:
                        piece = events.push(event)
                        versions = [
                            self._pool.stamp(server, asked, word) for word in piece.weight_versions
                        ]
                        chunk = reply.add(piece, versions=versions, of=server.logprobs_of)
                        may_run = piece.end.reason is None and piece.end.aborted is None
                        if chunk is not None:
                            self._count(reply, chunk)
                            yield chunk
                        if reply.is_finished:
                            return
                        if piece.end.aborted is not None:
                            raise InterruptError(piece.end.aborted, piece.end.status)
        except (UnreachableError, CrowdedError, RefusedError, WireError):
            may_run = False
            raise
        finally:
            if may_run:
                await self._pool.abort(server, rid)

    def _count(self, reply: StreamedReply, chunk: TokenChunk) -> None:
        self._rate.add(time.monotonic(), len(chunk.token_ids))
        if len(reply.tokens) == len(chunk.token_ids):  # the first that came of it
            self._prompt_tokens += len(reply.request.prompt_ids)
            self._cached_tokens += chunk.cached_tokens

    async def _score(
        self, server: Server, request: ScoreRequest, attempt: int
    ) -> tuple[float, ...]:
        rid = f"{request.request_id}-{attempt}"
        timeout_s = self._config.sglang.score_timeout_s
        try:
            with self._pool.using(server) as asked, _refusals():
                body = score_body(request, rid=rid, dialect=server.dialect, weights=_weights(asked))
                answer = await server.client.call(
                    "POST", "/generate", body, timeout_s=timeout_s, is_reply=True
                )
            return read_scores(answer, request)
        except (LostError, asyncio.CancelledError):
            await self._pool.abort(server, rid)
            raise


class _Trouble:
    """What has gone wrong with a request, and whether to try on."""

    def __init__(self, limit: int) -> None:
        """Nothing yet; `limit` times in a row without progress are too many."""
        self.avoid: Collection[Server] = ()
        self.total = 0
        self._limit = limit
        self._in_a_row = 0

    async def survive(self, error: EngineError, server: Server, *, progress: int) -> None:
        """Pause before the next attempt, or give up.

        Raises:
            WireError: the servers are busy (503).
            EngineError: `error`, if another attempt would not help or there were enough.
        """
        if isinstance(error, CrowdedError):  # it has waited for long
            raise _overloaded(f"{error}, see engine.sglang.max_connections") from error
        hopeful = (InterruptError, LostError, UnreachableError, RefusedError, UnreadableError)
        if not isinstance(error, hopeful):
            raise error
        self.total += 1
        self._in_a_row = 0 if progress else self._in_a_row + 1
        if self._in_a_row > self._limit:
            if is_busy(error):
                raise _overloaded(str(error)) from error
            raise error
        logger.warning("a request goes on after trouble: %s", error)
        self.avoid = (server,)
        await asyncio.sleep(min(_FIRST_PAUSE_S * 2**self._in_a_row, _LONGEST_PAUSE_S))


def _overloaded(why: str) -> WireError:
    msg = f"The engine is overloaded: {why}. Please retry shortly."
    return WireError(msg, status=503, code="engine_overloaded", kind="server_error")


class _Rate:
    """Tokens per second over the last seconds with traffic."""

    def __init__(self) -> None:
        self.total = 0
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, now: float, tokens: int) -> None:
        """Count tokens."""
        self.total += tokens
        self._recent.append((now, tokens))

    def per_s(self, now: float) -> float:
        """0 when idle."""
        while self._recent and now - self._recent[0][0] > _RATE_WINDOW_S:
            self._recent.popleft()
        span_s = now - self._recent[0][0] if self._recent else 0.0
        return sum(tokens for _, tokens in self._recent) / span_s if span_s else 0.0


@contextmanager
def _refusals() -> Iterator[None]:
    """A refusal of the request itself becomes its sender's error, in the server's words."""
    try:
        yield
    except RefusedError as error:
        if 400 <= error.status < 500 and not is_busy(error) and error.status not in _OUR_FAULT:
            raise_for_words(error.status, error.words)
        raise


def _weights(asked: Asked) -> Weights:
    assert asked.version is not None, "a server in rotation has confirmed its weights"
    return Weights(cache_key(asked.version, asked.since), adapter_name(asked.adapter))
