"""Does what the engine drew and reported hold against the plain forward pass, and against others?

Owns the comparison only: replies come from whoever drew them. The plain forward is
`Transformer.score` over whole sequences in fp32, without a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _engine import Prompt, Reply

from clawjax.models.load import LoadedModel
from clawjax.models.transformer import Params, Transformer, causal_attention

__all__ = [
    "Mismatch",
    "Plain",
    "first_difference",
    "greedy_differences",
    "mismatch",
    "sampler_mismatch",
]

_TOGETHER = 4
"""Sequences scored at once: their logits over the vocabulary are in memory whole."""


class Plain(NamedTuple):
    """The plain forward at a reply's tokens; arrays `[N, R]`."""

    logprobs: np.ndarray
    margins: np.ndarray
    """By how much the likeliest logit is above the second."""

    @classmethod
    def of(
        cls, model: LoadedModel, prompts: Sequence[Prompt], replies: Sequence[Sequence[int]]
    ) -> Plain:
        """Score replies of equal length `R` to prompts of equal length."""
        ids = np.asarray(
            [(*prompt, *reply) for prompt, reply in zip(prompts, replies, strict=True)], np.int32
        )
        score = jax.jit(_scorer(Transformer(model.architecture)))
        parts = [
            jax.device_get(score(model.params, ids[start : start + _TOGETHER]))
            for start in range(0, len(ids), _TOGETHER)
        ]
        logprobs, margins = (np.concatenate(part) for part in zip(*parts, strict=True))
        length = len(replies[0])
        return cls(logprobs[:, -length:], margins[:, -length:])


class Mismatch(NamedTuple):
    """How far the sampler's log-probs are from the plain ones, in nats."""

    mean_abs: float
    max_abs: float
    kl: float
    """KL from the sampler to the plain forward per token, by `exp(d) - 1 - d` with
    d = log p - log q at tokens drawn from q (k3, http://joschu.net/blog/kl-approx.html)."""


def mismatch(sampler: np.ndarray, plain: np.ndarray) -> Mismatch:
    """Compare log-probs of the same tokens, of equal shape."""
    difference = plain.astype(np.float64) - sampler.astype(np.float64)
    return Mismatch(
        mean_abs=float(np.abs(difference).mean()),
        max_abs=float(np.abs(difference).max()),
        kl=float((np.expm1(difference) - difference).mean()),
    )


def sampler_mismatch(model: LoadedModel, replies: Sequence[Reply]) -> Mismatch:
    """Of replies of equal length to prompts of equal length, drawn at temperature 1."""
    prompts = [reply.request.prompt_ids for reply in replies]
    plain = Plain.of(model, prompts, [reply.ids for reply in replies])
    return mismatch(np.asarray([reply.sampler_logprobs for reply in replies]), plain.logprobs)


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Where two replies of equal length part; None where they are the same."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((index for index, (a, b) in pairs if a != b), None)


def greedy_differences(
    model: LoadedModel, replies: Sequence[Reply], theirs: Sequence[Sequence[int]]
) -> list[dict[str, float]]:
    """Of greedy replies: which differ, from where on, and how close the decision was there."""
    found = [
        (index, position)
        for index, (reply, other) in enumerate(zip(replies, theirs, strict=True))
        if (position := first_difference(reply.ids, other)) is not None
    ]
    if not found:
        return []
    differing = [replies[index] for index, _ in found]
    prompts = [reply.request.prompt_ids for reply in differing]
    margins = Plain.of(model, prompts, [reply.ids for reply in differing]).margins
    return [
        {"prompt": index, "position": position, "margin": float(margins[row, position])}
        for row, (index, position) in enumerate(found)
    ]


def _scorer(model: Transformer) -> Callable[[Params, jax.Array], tuple[jax.Array, jax.Array]]:
    def score(params: Params, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Log-probs and margins `[B, T - 1]` of every token but the first."""
        positions = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
        attend = causal_attention(jnp.ones(ids.shape, bool))
        logits = model.bind({"params": params}).score(ids, positions, attend)[:, :-1]
        logprobs = jax.nn.log_softmax(logits)
        picked = jnp.take_along_axis(logprobs, ids[:, 1:, None], axis=-1)[..., 0]
        top = jax.lax.top_k(logits, 2)[0]
        return picked, top[..., 0] - top[..., 1]

    return score
