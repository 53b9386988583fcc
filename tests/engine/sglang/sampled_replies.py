"""What the tests of the client have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripted_server import CONTEXT, ScriptedServer

from clawjax.config import EngineConfig, ModelConfig, SglangConfig
from clawjax.engine.sglang.engine import SglangEngine
from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.start import start_engine
from clawjax.errors import EngineError, StoreError
from clawjax.models.tiny import tiny_tokenizer
from clawjax.protocols import GenerateRequest, TokenChunk, WeightStore, WeightVersion
from clawjax.records import FinishReason, SamplingParams

TOKENIZER = tiny_tokenizer()
PROMPT = TOKENIZER.encode("hello how are you")


def request(
    name: str = "r", *, prompt: Sequence[int] = PROMPT, tokens: int = 12, **sampling: object
) -> GenerateRequest:
    params = SamplingParams(max_response_tokens=tokens, temperature=1.0)
    return GenerateRequest(name, tuple(prompt), replace(params, **sampling), seed=7)


@dataclass
class Collected:
    """A reply in one piece."""

    token_ids: tuple[int, ...] = ()
    sampler_logprobs: tuple[float, ...] = ()
    sampler_logprobs_t1: tuple[float, ...] = ()
    versions: tuple[int, ...] = ()
    text: str = ""
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    chunks: list[TokenChunk] = field(default_factory=list)

    def add(self, chunk: TokenChunk) -> None:
        assert self.finish_reason is None, "nothing comes after the end"
        assert len(chunk.token_ids) == len(chunk.versions)
        self.chunks.append(chunk)
        self.token_ids += chunk.token_ids
        self.sampler_logprobs += chunk.sampler_logprobs
        self.sampler_logprobs_t1 += chunk.sampler_logprobs_t1
        self.versions += chunk.versions
        self.text += chunk.text
        self.finish_reason = chunk.finish_reason
        self.cached_tokens += chunk.cached_tokens


async def collect(
    engine: SglangEngine, asked: GenerateRequest, *, into: Collected | None = None
) -> Collected:
    reply = into or Collected()
    async with aclosing(engine.generate(asked)) as chunks:
        async for chunk in chunks:
            reply.add(chunk)
    return reply


class Store:
    """Knows of one version, or of none."""

    def __init__(self, latest: WeightVersion | None) -> None:
        self._latest = latest

    def latest(self) -> WeightVersion | None:
        return self._latest


def assert_whole(reply: Collected, server: ScriptedServer, count: int = 12) -> None:
    """It has all `count` tokens that the server gives to `PROMPT`, and what belongs to each."""
    assert reply.token_ids == server.expected(PROMPT, count)
    assert reply.text == TOKENIZER.decode(reply.token_ids)
    assert reply.finish_reason is FinishReason.LENGTH
    positions = range(len(PROMPT), len(PROMPT) + count)
    assert reply.sampler_logprobs == tuple(server.logprob(p) for p in positions)
    assert len(reply.versions) == count


async def until(is_so: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_so():  # noqa: ASYNC110 - nobody has an event for it
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Delivered:
    lora_path: str | None = None


class DiskCourier:
    """Tells the server to load, as the deliveries do, without files."""

    damaged: int | None = None

    async def deliver(
        self,
        client: ServerClient,
        weights: WeightVersion,
        on_version: Callable[[int | None], None],
        *,
        is_doubtful: bool,
    ) -> Delivered:
        if weights.version == self.damaged:
            msg = f"weights {weights.version} are damaged"
            raise StoreError(msg)
        body = {"model_path": str(weights.path), "weight_version": str(weights.version)}
        answer = await client.call("POST", "/update_weights_from_disk", body, timeout_s=5.0)
        if answer.get("success") is not True:
            raise EngineError(str(answer))
        on_version(weights.version)
        return Delivered()

    @contextmanager
    def asked(self):
        yield 0


def weights(version: int) -> WeightVersion:
    return WeightVersion(version, Path(f"/run/served/{version:06d}"), None, version, "tiny", "full")


def config(*servers: ScriptedServer | str, **sglang: object) -> EngineConfig:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    quick = {
        "connect_timeout_s": 1.0,
        "call_timeout_s": 5.0,
        "silence_timeout_s": 5.0,
        "wait_for_server_s": 2.0,
        "health_interval_s": 0.05,
        "health_timeout_s": 1.0,
        "max_continuations": 3,
    }
    return EngineConfig(
        kind="sglang",
        slots=8,
        max_waiting=8,
        sglang=SglangConfig(urls=urls, **(quick | sglang)),
    )


@asynccontextmanager
async def engine_of(
    *servers: ScriptedServer | str,
    store: WeightStore | None = None,
    courier: Callable[[], DiskCourier] = DiskCourier,
    logs: Path = Path("/nonexistent"),
    engine: EngineConfig | None = None,
    revision: str | None = None,
    api_key: str | None = "secret",
    **sglang: object,
) -> AsyncIterator[SglangEngine]:
    opened = await start_engine(
        engine or config(*servers, **sglang),
        ModelConfig("tiny", path="models/tiny", revision=revision, context_length=CONTEXT),
        tokenizer=TOKENIZER,
        vocab_size=TOKENIZER.vocab_size,
        base_id="tiny",
        new_courier=courier,
        store=store,
        api_key=api_key,
        logs=logs,
    )
    try:
        yield opened
    finally:
        await opened.aclose()
