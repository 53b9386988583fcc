"""What a policy has not lost while it learnt a wish: closed questions, and a fixed text.

Neither has anything to do with any persona. Imports jax only when called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from clawjax.evals.asking import Asker
from clawjax.evals.material import ClosedQuestion, is_correct
from clawjax.evals.personal import bootstrap_mean

if TYPE_CHECKING:
    import jax

    from clawjax.models.architecture import Architecture
    from clawjax.models.transformer import Params

__all__ = ["Accuracy", "closed_form_accuracy", "nll_per_token"]

_ANSWER_TOKENS = 32
_WINDOW = 512
"""Tokens of the fixed text scored together."""


class Accuracy(NamedTuple):
    """Share of closed questions answered right, greedily, with its 95 % bootstrap interval."""

    value: float
    ci: tuple[float, float]
    n: int


async def closed_form_accuracy(asker: Asker, questions: Sequence[ClosedQuestion]) -> Accuracy:
    """Ask each question once at temperature 0.

    Raises:
        EngineError: a question got no reply.
    """
    replies = await asker.ask(
        [question.prompt for question in questions],
        seeds=range(len(questions)),
        temperature=0.0,
        max_tokens=_ANSWER_TOKENS,
    )
    right = [
        float(is_correct(reply.text, question))
        for reply, question in zip(replies, questions, strict=True)
    ]
    return Accuracy(sum(right) / len(right), bootstrap_mean(right), len(right))


def nll_per_token(architecture: Architecture, params: Params, token_ids: Sequence[int]) -> float:
    """Mean of `-log p(t | t before it in its window)` over a text, in nats."""
    import numpy as np

    step = _compiled(architecture)
    total, count = 0.0, 0
    for start in range(0, len(token_ids) - 1, _WINDOW):
        ids = np.zeros((1, _WINDOW), np.int32)
        chosen = token_ids[start : start + _WINDOW]
        ids[0, : len(chosen)] = chosen
        total += float(step(params, ids, len(chosen)))
        count += len(chosen) - 1
    return total / count


@cache
def _compiled(architecture: Architecture) -> Callable[..., jax.Array]:
    import jax

    return jax.jit(partial(_summed_nll, architecture))


def _summed_nll(
    architecture: Architecture, params: Params, ids: jax.Array, length: jax.Array
) -> jax.Array:
    import jax
    import jax.numpy as jnp

    from clawjax.models.transformer import Transformer, causal_attention

    model = Transformer(architecture)
    positions = jnp.arange(ids.shape[1], dtype=jnp.int32)
    attend = causal_attention((positions < length)[None])
    states, _ = model.apply({"params": params}, ids, positions[None], attend)

    def score(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
        state, target = chunk
        logits = jnp.asarray(model.apply({"params": params}, state, method="logits"))
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
        return jnp.take_along_axis(log_p, target[:, None], axis=-1)[:, 0]

    targets = jnp.roll(ids[0], -1).reshape(-1, 64)
    log_p = jax.lax.map(score, (states[0].reshape(-1, 64, states.shape[-1]), targets)).ravel()
    return -jnp.sum(jnp.where(positions < length - 1, log_p, 0.0))
