"""What the engine and the learner do most, each as a call that takes a measurement in seconds.

On the default model and in this process; a call compiles what it needs the first time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from clawjax.config import EngineConfig, LearnerConfig, ModelConfig, ObjectiveConfig
from clawjax.engine.embedded import EmbeddedEngine
from clawjax.learner.batching import make_batch
from clawjax.learner.step import TrainStep
from clawjax.models.load import LoadedModel, load_model
from clawjax.protocols import GenerateRequest
from clawjax.records import Sample, SamplingParams

__all__ = ["Chunk", "seconds_per_step", "speeds"]

_DECODED = 48
"""Tokens per reply; with the prompt they stay within the shortest live length."""
_PROMPT = 64
_PREFILLED = 512
_ROWS, _LENGTH = 4, 256


class Chunk(NamedTuple):
    """So many tokens of a stream that have arrived at a time, in seconds."""

    at: float
    tokens: int


def seconds_per_step(streams: Sequence[Sequence[Chunk]]) -> float:
    """Seconds per token of each stream while all of them run.

    Args:
        streams: their chunks in order; all have begun before the first one ends.
    """
    start = max(stream[0].at for stream in streams)
    stop = min(stream[-1].at for stream in streams)
    tokens = sum(chunk.tokens for stream in streams for chunk in stream if start < chunk.at <= stop)
    return (stop - start) / (tokens / len(streams))


@contextmanager
def speeds(model: ModelConfig) -> Iterator[Mapping[str, Callable[[], float]]]:
    """The measurements by name; each returns seconds."""
    loaded = load_model(model)
    with TemporaryDirectory(prefix="speed_") as folder, asyncio.Runner() as runner:
        engine = runner.run(EmbeddedEngine.start(loaded, EngineConfig(warm_up=False), None))
        prompts = _Prompts(loaded.architecture.vocab_size)
        try:
            yield {
                "decode, 1 stream": lambda: runner.run(_decode(engine, prompts, 1)),
                "decode, 8 streams": lambda: runner.run(_decode(engine, prompts, 8)),
                f"prefill, {_PREFILLED} tokens": lambda: runner.run(_prefill(engine, prompts)),
                f"LoRA step, [{_ROWS}, {_LENGTH}]": _train(loaded, Path(folder)),
            }
        finally:
            runner.run(engine.aclose())


class _Prompts:
    """Random token ids, never the same twice: no cache holds them."""

    def __init__(self, vocab_size: int) -> None:
        self._rng = np.random.default_rng(0)
        self._vocab_size = vocab_size

    def __call__(self, length: int) -> tuple[int, ...]:
        return tuple(self._rng.integers(0, self._vocab_size, length).tolist())


async def _decode(engine: EmbeddedEngine, prompts: _Prompts, streams: int) -> float:
    replies = [_reply(engine, prompts(_PROMPT), _DECODED) for _ in range(streams)]
    return seconds_per_step(await asyncio.gather(*replies))


async def _prefill(engine: EmbeddedEngine, prompts: _Prompts) -> float:
    prompt = prompts(_PREFILLED)
    began = time.perf_counter()
    return (await _reply(engine, prompt, 1))[0].at - began


async def _reply(engine: EmbeddedEngine, prompt: tuple[int, ...], tokens: int) -> list[Chunk]:
    sampling = SamplingParams(max_response_tokens=tokens, temperature=1.0, ignore_eos=True)
    request = GenerateRequest("measured", prompt, sampling, seed=0)
    return [
        Chunk(time.perf_counter(), len(chunk.token_ids)) async for chunk in engine.generate(request)
    ]


def _train(model: LoadedModel, folder: Path) -> Callable[[], float]:
    """A step over whole rows: half prompt, half response."""
    learner = LearnerConfig(
        max_tokens=_LENGTH, length_buckets=[_LENGTH], micro_batch_tokens=_ROWS * _LENGTH
    )
    step = TrainStep(model, objective=ObjectiveConfig(), learner=learner, failed_dir=folder)
    prompts, half = _Prompts(model.architecture.vocab_size), _LENGTH // 2
    samples = [
        Sample(
            turn_id=str(row),
            prompt_ids=prompts(half),
            response_ids=prompts(half),
            sampler_logprobs=(-5.0,) * half,
            token_versions=(0,) * half,  # an old version: nothing is compared with the sampler
            temperature=1.0,
            credit=(1.0,) * half,
        )
        for row in range(_ROWS)
    ]
    batch = make_batch(
        samples, version=1, length_buckets=[_LENGTH], micro_batch_tokens=_ROWS * _LENGTH
    )
    state = step.init(0)

    def run() -> float:
        nonlocal state
        began = time.perf_counter()
        state, _ = step.run(state, [batch])
        return time.perf_counter() - began

    return run
