"""What a policy has not lost while it learnt a wish: closed questions, and a fixed text.

Neither has anything to do with any persona. Imports jax only when called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import openai

from clawjax.evals.material import ClosedQuestion, is_correct
from clawjax.evals.personal import bootstrap_mean
from clawjax.models.divergence import forward, mean_nll, summed_nll

if TYPE_CHECKING:
    import jax

    from clawjax.models.architecture import Architecture
    from clawjax.models.transformer import Params

__all__ = ["Accuracy", "closed_form_accuracy", "nll_per_token", "sample_replies"]

_ANSWER_TOKENS = 32


class Accuracy(NamedTuple):
    """Share of closed questions answered right, greedily, with its 95 % bootstrap interval."""

    value: float
    ci: tuple[float, float]
    n: int


async def closed_form_accuracy(
    base_url: str,
    questions: Sequence[ClosedQuestion],
    *,
    model: str,
    api_key: str = "none",
    concurrency: int = 8,
) -> Accuracy:
    """Ask each question once at temperature 0, as side turns."""
    replies = await sample_replies(
        base_url,
        [question.prompt for question in questions],
        model=model,
        temperature=0.0,
        max_tokens=_ANSWER_TOKENS,
        api_key=api_key,
        concurrency=concurrency,
    )
    right = [
        float(is_correct(text, question))
        for (_, text), question in zip(replies, questions, strict=True)
    ]
    return Accuracy(sum(right) / len(right), bootstrap_mean(right), len(right))


async def sample_replies(
    base_url: str,
    prompts: Sequence[str],
    *,
    model: str,
    temperature: float,
    max_tokens: int,
    api_key: str = "none",
    concurrency: int = 8,
) -> list[tuple[str, str]]:
    """Response id and text for each prompt; side turns, each prompt with a seed of its own."""
    gate = asyncio.Semaphore(concurrency)
    async with openai.AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=300.0) as client:

        async def ask(seed: int, prompt: str) -> tuple[str, str]:
            async with gate:
                completion = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": prompt}],
                    temperature=temperature,
                    max_tokens=max_tokens,
                    seed=seed,
                    extra_headers={"X-Turn-Type": "side"},
                )
            return completion.id, completion.choices[0].message.content or ""

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(i, prompt)) for i, prompt in enumerate(prompts)]
    return [task.result() for task in tasks]


def nll_per_token(architecture: Architecture, params: Params, token_ids: Sequence[int]) -> float:
    """Mean of `-log p(t | t before it in its window)` over a text, in nats."""
    return mean_nll(partial(_compiled(architecture), params), token_ids)


@cache
def _compiled(architecture: Architecture) -> Callable[..., jax.Array]:
    import jax

    def measure(params: Params, *where: jax.Array) -> jax.Array:
        return summed_nll(forward(architecture, params), *where)

    return jax.jit(measure)
