"""The embedded engine: the event loop's side of it.

Owns the open requests and their queues of chunks. Invariants: no jax runs in the event loop; a
request is open from its admission until its iterator ends, however it ends; what is over
`slots + max_waiting` is refused at once.

Weights are swapped under running replies: those go on with the keys and values that the old
weights computed for the tokens so far. Recomputing them would stall every stream at every update;
each token carries the version of the weights that produced its logits, so that the mixture is on
record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import jax

from clawjax.config import EngineConfig
from clawjax.engine.adoption import WeightReader, read_params, return_freed_memory, served
from clawjax.engine.constraint import Constraint, Grammars
from clawjax.engine.decode import Decoder
from clawjax.engine.pausing import PauseMode
from clawjax.engine.programs import Shape
from clawjax.engine.replies import Delivery, Job, last_chunk
from clawjax.engine.requests import check_scoring, reply_limit
from clawjax.engine.scheduler import Scheduler, Weights
from clawjax.engine.text import ReplyText
from clawjax.engine.worker import Order, Worker
from clawjax.errors import EngineError, StoreError, WireError
from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params
from clawjax.protocols import (
    EngineStatus,
    GenerateRequest,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)
from clawjax.records import FinishReason, Grammar

__all__ = ["EmbeddedEngine"]

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 1800.0
_SWAP_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 30.0
_ORDER_TIMEOUT_S = 60.0
_HEALTH_CHECK_S = 1.0
"""How often a request that gets no chunk looks whether the worker lives."""

R = TypeVar("R")


class EmbeddedEngine:
    """`protocols.Engine` in this process; make one with `start`."""

    def __init__(
        self, model: LoadedModel, config: EngineConfig, store: WeightReader | None
    ) -> None:
        """Take part in the running event loop; `start` is what callers use."""
        self._model = model
        self._config = config
        self._store = store
        self._open: dict[Job, asyncio.Queue[TokenChunk]] = {}
        self._swapping = asyncio.Lock()  # one set of new weights in memory, adopted in order
        self._decoder: Decoder | None = None
        """There as soon as the worker is ready."""
        self._preparing = asyncio.Lock()  # what only some requests need is compiled once
        self._prepared: set[str] = set()
        self._grammars = Grammars(model.tokenizer, model.architecture.vocab_size)
        self._worker = Worker(
            self._build,
            self._deliver,
            asyncio.get_running_loop(),
            max_open=self._max_open,
        )

    @classmethod
    async def start(
        cls, model: LoadedModel, config: EngineConfig, store: WeightReader | None
    ) -> EmbeddedEngine:
        """Start the worker thread, compile, and adopt the weights that are to be served.

        Weights that cannot be adopted are logged, and the base model is served.

        Raises:
            EngineError: the device refuses, for instance for want of memory.
        """
        if config.compilation_cache is not None:
            _keep_programs(config.compilation_cache)
        engine = cls(model, config, store)
        engine._worker.start()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await asyncio.wrap_future(engine._worker.ready)
        except Exception as error:
            await engine.aclose()
            msg = f"the engine did not start: {error or type(error).__name__}"
            raise EngineError(msg) from error
        await engine._adopt_latest()
        return engine

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """Refuse what `generate` would refuse at once.

        Raises:
            WireError: as for `generate`.
            EngineError: the engine has stopped.
        """
        reply_limit(request, self._model.architecture.vocab_size, self._model.context_length)
        self._require_alive()
        self._require_room(replies)
        if request.sampling.grammar is not None:
            await self._grammars.begin(request.sampling.grammar, request.cache_scope)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream a reply, one chunk per token. Closing the iterator cancels the request.

        The token that ends the reply (end of sequence, a stop id) is among the ids and not in the
        text. At temperature 0 `sampler_logprobs` are those at temperature 1. The first request with
        a grammar compiles what only those need, beside serving.

        Raises:
            WireError: prompt over the context length, bad parameters, a grammar that cannot be
                used, or too many requests (503).
            EngineError: the engine has stopped.
        """
        arch, context_length = self._model.architecture, self._model.context_length
        job = Job(request, reply_limit(request, arch.vocab_size, context_length))
        if request.sampling.grammar is not None:
            self._require_alive()
            job.constraint = await self._constraint(request.sampling.grammar, request.cache_scope)
        with self._admitted(job) as chunks:
            while True:
                chunk = await self._next(chunks)
                yield chunk
                if chunk.finish_reason is not None:
                    return

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """`log p(token | everything before it)` of each response token, at temperature 1.

        It is read as prompts are, chunk by chunk at its priority, between the tokens of running
        replies. The first request compiles what only scoring needs, beside serving.

        Raises:
            WireError: over the context length, bad tokens, or too many requests (503).
            EngineError: the engine has stopped.
        """
        chunk = await self.read(request)
        if chunk.finish_reason is FinishReason.CANCELLED:
            msg = f"scoring of {request.request_id!r} was ended before it was complete: try again"
            raise EngineError(msg)
        return chunk.sampler_logprobs_t1

    async def read(self, request: ScoreRequest, *, top_logprobs: int = 0) -> TokenChunk:
        """What `score` tells, with the version it is of, and alternatives per response token.

        Empty and with `cancelled` where it was ended from outside.

        Raises:
            WireError: as for `score`.
            EngineError: the engine has stopped.
        """
        self._require_alive()
        arch, context_length = self._model.architecture, self._model.context_length
        check_scoring(request, arch.vocab_size, context_length)
        await self._prepare("scoring", Decoder.scoring_shapes)
        with self._admitted(Job(request, 1, top_logprobs)) as chunks:
            return await self._next(chunks)

    async def swap(self, weights: WeightVersion) -> None:
        """Verify and adopt weights between two decode steps; running requests go on.

        Raises:
            StoreError: the version is damaged or does not fit; the old weights stay in use.
            EngineError: the engine has stopped.
        """
        if self._store is None:
            msg = f"weights {weights.version} cannot be read: the engine has no weight store"
            raise StoreError(msg)
        try:
            async with self._swapping, asyncio.timeout(_SWAP_TIMEOUT_S):
                await self._replace(weights.version, self._store)
        except TimeoutError as error:
            msg = f"weights {weights.version} were not in place after {_SWAP_TIMEOUT_S:.0f} s"
            raise EngineError(msg) from error
        logger.info("policy version %d is in use", weights.version)

    def abort(self, request_id: str | None = None) -> int:
        """End the requests of an id, or all, as cancelled with what they have; returns how many."""
        ended = [job for job in self._open if request_id in (None, job.request.request_id)]
        for job in ended:
            job.is_cancelled = True
            self._open.pop(job).put_nowait(last_chunk(""))  # there is a place for it: `_admitted`
        return len(ended)

    async def pause(self, mode: PauseMode, *, lease_s: float) -> None:
        """Draw no token until `resume`, or for `lease_s`; requests that come meanwhile wait.

        Raises:
            EngineError: the engine has stopped.
        """
        await self._order(lambda scheduler: self._worker.pause(scheduler, mode, lease_s))

    async def resume(self) -> None:
        """End a pause, if there is one.

        Raises:
            EngineError: the engine has stopped.
        """
        await self._order(self._worker.resume)

    async def flush(self) -> bool:
        """Forget all prompts that were read; False, and nothing happens, while replies hold slots.

        Raises:
            EngineError: the engine has stopped.
        """
        return await self._order(Scheduler.flush)

    def status(self) -> EngineStatus:
        """Report what is going on, without blocking."""
        worker = self._worker
        return EngineStatus(
            version=worker.version,
            running=worker.running,
            waiting=max(0, len(self._open) - worker.running),
            slots=self._config.slots,
            context_length=self._model.context_length,
            generated_tokens=worker.generated_tokens,
            tokens_per_s=worker.tokens_per_s,
            is_healthy=worker.trouble is None,
            prompt_tokens=worker.prompt_tokens,
            cached_tokens=worker.cached_tokens,
        )

    async def aclose(self) -> None:
        """Cancel running requests, each with a last chunk, and free the device.

        Raises:
            EngineError: the worker thread hangs.
        """
        self._grammars.close()
        if not await asyncio.to_thread(self._worker.stop, _STOP_TIMEOUT_S):
            msg = f"the engine's thread did not end within {_STOP_TIMEOUT_S:.0f} s"
            raise EngineError(msg)

    @property
    def _max_open(self) -> int:
        return self._config.slots + self._config.max_waiting

    def _build(self) -> Scheduler:
        """Make the scheduler and compile; in the worker thread."""
        model, config = self._model, self._config
        params = served(model.params, config.weights_dtype)
        decoder = self._decoder = Decoder(model.architecture, model.context_length, config)
        if config.warm_up:
            decoder.warm_up(params)
        return Scheduler(
            decoder,
            Weights(params, 0),
            eos_ids=model.tokenizer.eos_ids,
            new_text=lambda stops, goes_on: ReplyText(
                model.tokenizer.detokenizer(goes_on=goes_on), stops
            ),
            reuse_prefixes=config.reuse_prefixes,
        )

    async def _constraint(self, grammar: Grammar, scope: str | None) -> Constraint:
        """A reply's way through its grammar, at the start."""
        constraint = await self._grammars.begin(grammar, scope)
        await self._prepare("grammars", Decoder.masked_shapes)
        return constraint

    async def _prepare(
        self, purpose: str, shapes_of: Callable[[Decoder], frozenset[Shape]]
    ) -> None:
        """Compile for a purpose unless it has been done; who runs meanwhile is not disturbed."""
        async with self._preparing:
            if purpose in self._prepared:
                return
            assert self._decoder is not None, "the worker is ready before anybody asks"
            params = jax.eval_shape(lambda: served(self._model.params, self._config.weights_dtype))
            shapes = shapes_of(self._decoder)
            async with asyncio.timeout(_START_TIMEOUT_S):
                await asyncio.to_thread(self._decoder.prepare, shapes, params)
            self._prepared.add(purpose)

    @contextmanager
    def _admitted(self, job: Job) -> Iterator[asyncio.Queue[TokenChunk]]:
        """Hand a job over; it is cancelled when the context ends, unless it is complete."""
        self._require_alive()
        self._require_room(1)
        if not self._worker.put(job):
            raise self._overloaded()
        chunks: asyncio.Queue[TokenChunk] = asyncio.Queue(job.limit + 1)  # one each, and the end
        self._open[job] = chunks
        try:
            yield chunks
        finally:
            job.is_cancelled = True
            self._open.pop(job, None)

    def _deliver(self, delivered: Sequence[Delivery]) -> None:
        for job, chunk in delivered:
            chunks = self._open.get(job)
            if chunks is not None:
                chunks.put_nowait(chunk)

    async def _next(self, chunks: asyncio.Queue[TokenChunk]) -> TokenChunk:
        while True:
            try:
                async with asyncio.timeout(_HEALTH_CHECK_S):
                    return await chunks.get()
            except TimeoutError:
                if chunks.empty():
                    self._require_alive()

    async def _replace(self, version: int, store: WeightReader) -> None:
        """Build parameters beside serving; wait until the worker has them or has died."""
        self._require_alive()
        params = await asyncio.to_thread(self._read, store, version)
        await self._order(lambda scheduler: scheduler.adopt(Weights(params, version)))
        await asyncio.to_thread(return_freed_memory)

    async def _order(self, carry_out: Callable[[Scheduler], R]) -> R:
        """Have something done between two steps; wait until it is, or the worker has died."""
        self._require_alive()
        done: Future[R] = Future()
        if not self._worker.put(Order(carry_out, done)):
            msg = "the engine takes no order: too many wait already, try again"
            raise EngineError(msg)
        waiter = asyncio.wrap_future(done)
        try:
            async with asyncio.timeout(_ORDER_TIMEOUT_S):
                while not waiter.done():
                    await asyncio.wait([waiter], timeout=_HEALTH_CHECK_S)
                    if not waiter.done():
                        self._require_alive()
        except TimeoutError as error:
            waiter.cancel()
            msg = f"the engine has not carried out an order within {_ORDER_TIMEOUT_S:.0f} s"
            raise EngineError(msg) from error
        return await waiter

    def _read(self, store: WeightReader, version: int) -> Params:
        params = read_params(self._model, store, version)
        return jax.block_until_ready(served(params, self._config.weights_dtype))

    def _require_alive(self) -> None:
        trouble = self._worker.trouble
        if trouble is not None:
            raise EngineError(trouble)

    def _require_room(self, replies: int) -> None:
        if len(self._open) + replies > self._max_open:
            raise self._overloaded()

    def _overloaded(self) -> WireError:
        msg = (
            f"The engine is overloaded: {self._config.slots} requests are running and "
            f"{self._config.max_waiting} waiting. Please retry shortly."
        )
        return WireError(msg, status=503, code="engine_overloaded", kind="server_error")

    async def _adopt_latest(self) -> None:
        if self._store is None:
            return
        try:
            latest = await asyncio.to_thread(self._store.latest)
            if latest is not None and latest.version != self._worker.version:
                await self.swap(latest)
        except StoreError as error:
            logger.warning("serving the base model: %s", error)


def _keep_programs(directory: str) -> None:
    """Keep compiled programs between runs. Process-wide, as jax has it."""
    jax.config.update("jax_compilation_cache_dir", str(Path(directory).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
