"""The gateway on one core with an engine that costs nothing, in a process of its own.

    python benchmarks/_gateway_server.py PORT FOLDER TOKENS_PER_S

Everything but the engine is real: tokenizer and template, sessions, and the turn log in FOLDER,
which commits every turn to the disk.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path

import uvicorn
from _child import running_script

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.config.databases import file_url
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.log.store import SqlTurnLog
from clawjax.models.load import load_tokenizer
from clawjax.protocols import (
    EngineStatus,
    GenerateRequest,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)
from clawjax.records import FinishReason

__all__ = ["MODEL", "NullEngine", "running_gateway"]

MODEL = "null"

_CONTEXT = 32_768
_TOKEN, _TEXT = 72, "word "


class NullEngine:
    """Says the same word until it is told to stop: all at once, or so many tokens a second."""

    def __init__(self, tokens_per_s: float) -> None:
        """At once where `tokens_per_s` is 0."""
        self._interval_s = 1 / tokens_per_s if tokens_per_s else 0.0

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """Nothing is refused."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """One chunk, or one a token, each at its time however long the one before took."""
        tokens = request.sampling.max_response_tokens
        if not self._interval_s:
            yield _chunk(tokens, FinishReason.LENGTH)
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        for index in range(tokens):
            await asyncio.sleep(began + index * self._interval_s - loop.time())
            yield _chunk(1, FinishReason.LENGTH if index + 1 == tokens else None)

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """Nothing is likelier than anything else."""
        return (-1.0,) * len(request.response_ids)

    async def swap(self, weights: WeightVersion) -> None:
        """There are none."""

    async def aclose(self) -> None:
        """There is nothing to free."""

    def status(self) -> EngineStatus:
        """Always idle."""
        return EngineStatus(
            version=0,
            running=0,
            waiting=0,
            slots=1024,
            context_length=_CONTEXT,
            generated_tokens=0,
            tokens_per_s=0.0,
        )


def _chunk(tokens: int, reason: FinishReason | None) -> TokenChunk:
    return TokenChunk(
        token_ids=(_TOKEN,) * tokens,
        sampler_logprobs=(-0.5,) * tokens,
        sampler_logprobs_t1=(-1.0,) * tokens,
        versions=(0,) * tokens,
        text=_TEXT * tokens,
        finish_reason=reason,
    )


def running_gateway(
    port: int, folder: Path, tokens_per_s: float = 0.0
) -> AbstractContextManager[str]:
    """The gateway's address, while it runs.

    Raises:
        RuntimeError: it does not start.
    """
    return running_script(__file__, port, [str(folder), str(tokens_per_s)], look="/healthz")


def main() -> None:
    port, folder, tokens_per_s = sys.argv[1:]
    if hasattr(os, "sched_setaffinity"):  # one core, the last of those there are
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    app = create_app(
        GatewayDeps(
            engine=NullEngine(float(tokens_per_s)),
            tokenizer=load_tokenizer(ModelConfig(path="random:llama"))[0],
            log=SqlTurnLog.open(file_url(Path(folder, "turns.db"))),
            config=GatewayConfig(),
            sampling_defaults=EngineConfig(),
            model_name=MODEL,
        )
    )
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False)


if __name__ == "__main__":
    main()
