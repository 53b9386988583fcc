"""What a policy has not lost while it learnt a wish: closed questions, and a fixed text.

Neither has anything to do with any persona. Imports jax only when called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from clawjax.evals.asking import Asker
from clawjax.evals.bootstrap import bootstrap_mean
from clawjax.evals.material import ClosedQuestion, is_correct
from clawjax.models.divergence import forward, mean_nll, summed_nll

if TYPE_CHECKING:
    import jax

    from clawjax.models.architecture import Architecture
    from clawjax.models.transformer import Params

__all__ = ["Accuracy", "closed_form_accuracy", "nll_per_token"]

_ANSWER_TOKENS = 32


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
    return mean_nll(partial(_compiled(architecture), params), token_ids)


@cache
def _compiled(architecture: Architecture) -> Callable[..., jax.Array]:
    import jax

    def measure(params: Params, *where: jax.Array) -> jax.Array:
        return summed_nll(forward(architecture, params), *where)

    return jax.jit(measure)
