"""Drives a scheduler without threads, and says what its replies ought to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from clawjax.engine.replies import Job
from clawjax.engine.scheduler import Scheduler
from clawjax.protocols import GenerateRequest, TokenChunk
from clawjax.records import FinishReason, SamplingParams

LogitsOf = Callable[[object, tuple[int, ...]], np.ndarray]


def request(
    prompt_ids: tuple[int, ...],
    tokens: int,
    *,
    seed: int = 0,
    temperature: float = 0.0,
    top_logprobs: int = 0,
    **sampling: object,
) -> GenerateRequest:
    params = SamplingParams(max_response_tokens=tokens, temperature=temperature, ignore_eos=True)
    params = replace(params, **sampling)  # pyright: ignore[reportArgumentType]
    return GenerateRequest(f"r{seed}", prompt_ids, params, seed, top_logprobs)


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(10, 250, length).tolist())


@dataclass(slots=True)
class Reply:
    """All chunks of a job, joined."""

    chunks: list[TokenChunk] = field(default_factory=list)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for chunk in self.chunks for token in chunk.token_ids)

    @property
    def logprobs(self) -> list[float]:
        return [value for chunk in self.chunks for value in chunk.sampler_logprobs]

    @property
    def logprobs_t1(self) -> list[float]:
        return [value for chunk in self.chunks for value in chunk.sampler_logprobs_t1]

    @property
    def versions(self) -> list[int]:
        return [version for chunk in self.chunks for version in chunk.versions]

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def finish_reason(self) -> FinishReason | None:
        return self.chunks[-1].finish_reason if self.chunks else None


def submit(scheduler: Scheduler, asked: GenerateRequest) -> Job:
    job = Job(asked, asked.sampling.max_response_tokens)
    scheduler.submit(job)
    return job


def step(scheduler: Scheduler, replies: dict[Job, Reply]) -> None:
    for job, chunk in scheduler.step():
        replies.setdefault(job, Reply()).chunks.append(chunk)


def run(scheduler: Scheduler, *asked: GenerateRequest) -> list[Reply]:
    """Submit at once, step to the end."""
    jobs = [submit(scheduler, one) for one in asked]
    replies: dict[Job, Reply] = {}
    for _ in range(2000):
        if scheduler.is_idle:
            return [replies[job] for job in jobs]
        step(scheduler, replies)
    raise AssertionError("the scheduler does not come to an end")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def recomputed(
    logits_of: LogitsOf, params: object, asked: GenerateRequest, ids: tuple[int, ...]
) -> np.ndarray:
    """Log-probs at temperature 1 of the reply's tokens, by one forward pass over everything."""
    start = len(asked.prompt_ids)
    logits = logits_of(params, (*asked.prompt_ids, *ids))[start - 1 : -1]
    return log_softmax(logits)[np.arange(len(ids)), list(ids)]


def assert_consistent(
    logits_of: LogitsOf, params: object, replies: Mapping[GenerateRequest, Reply]
) -> None:
    """Every reply's log-probs are those of a full forward pass."""
    for asked, reply in replies.items():
        expected = recomputed(logits_of, params, asked, reply.ids)
        np.testing.assert_allclose(reply.logprobs_t1, expected, atol=1e-4)
