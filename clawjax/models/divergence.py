"""How far one model is from another, and what it makes of a text; in whole distributions.

At temperature 1, exact, not estimated from samples. Pure. Invariant: at most one chunk of positions
has its vocabulary-wide scores in memory, for either model. Imports jax only when called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax

    from clawjax.models.architecture import Architecture
    from clawjax.models.transformer import Params

__all__ = [
    "CHUNK",
    "Drift",
    "Exchange",
    "Forward",
    "Padded",
    "forward",
    "mean_kl",
    "mean_nll",
    "padded",
    "summed_kl",
    "summed_nll",
]

CHUNK = 32
"""Positions scored at once: 32 x 49152 fp32 scores are 6 MB."""
_WINDOW = 512
"""Tokens of a text scored together."""


class Exchange(NamedTuple):
    """One reply as token ids, exactly as sampled."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


class Padded(NamedTuple):
    """A reply as compiled functions take it."""

    ids: np.ndarray
    """Prompt and response, `[1, T]` int32, padded to a multiple of `CHUNK`."""
    length: int
    """How many are no padding."""
    start: int
    """First position that predicts a response token."""
    end: int
    """First one after it that does not."""


class Drift(NamedTuple):
    """A mean KL and what it is over."""

    kl_per_token: float
    """Over all response tokens, in nats."""
    tokens: int
    replies: int

    @property
    def kl_per_reply(self) -> float:
        """In nats: of the distribution over whole replies, as far as these stand for it."""
        return self.kl_per_token * self.tokens / self.replies


class Forward(NamedTuple):
    """A model as two functions, to be called while tracing."""

    hidden: Callable[[jax.Array, jax.Array], jax.Array]
    """`(token ids [1, T], int: how many are no padding)` to hidden states `[T, D]`."""
    logits: Callable[[jax.Array], jax.Array]
    """Hidden states `[N, D]` to scores `[N, V]`."""


def forward(architecture: Architecture, params: Params) -> Forward:
    """Of the parameters that a `LoadedModel` holds."""
    import jax.numpy as jnp

    from clawjax.models.transformer import Transformer, causal_attention

    model = Transformer(architecture)

    def hidden(ids: jax.Array, count: jax.Array) -> jax.Array:
        positions = jnp.arange(ids.shape[1], dtype=jnp.int32)
        attend = causal_attention((positions < count)[None])
        states, _ = model.apply({"params": params}, ids, positions[None], attend)
        return states[0]

    def logits(states: jax.Array) -> jax.Array:
        return jnp.asarray(model.apply({"params": params}, states, method="logits"))

    return Forward(hidden, logits)


def padded(
    exchanges: Sequence[Exchange], padded_length: Callable[[int], int]
) -> tuple[Padded, ...]:
    """Those of the exchanges that have response tokens.

    Args:
        exchanges: each reply is conditioned on its prompt.
        padded_length: at least its argument and a multiple of `CHUNK`; of few values, as each is
            compiled for.
    """
    replies: list[Padded] = []
    for prompt_ids, response_ids in exchanges:
        if not response_ids:
            continue
        count = len(prompt_ids) + len(response_ids)
        ids = np.zeros((1, padded_length(count)), np.int32)
        ids[0, :count] = (*prompt_ids, *response_ids)
        replies.append(Padded(ids, count, len(prompt_ids) - 1, count - 1))
    return tuple(replies)


def mean_kl(sums: Iterable[jax.Array], replies: Sequence[Padded]) -> Drift | None:
    """Mean of `summed_kl` over all response tokens; None where there is none.

    Args:
        sums: one per reply, in their order.
        replies: that they are over.
    """
    total = sum(map(float, sums))
    tokens = sum(reply.end - reply.start for reply in replies)
    return Drift(total / tokens, tokens, len(replies)) if tokens else None


def mean_nll(summed: Callable[..., jax.Array], token_ids: Sequence[int]) -> float:
    """Mean of `-log p(t | t before it in its window)` over a text, in nats.

    Args:
        summed: compiled `summed_nll`, given `(ids [1, T], count)`.
        token_ids: at least two.
    """
    total, count = 0.0, 0
    for start in range(0, len(token_ids) - 1, _WINDOW):
        ids = np.zeros((1, _WINDOW), np.int32)
        chosen = token_ids[start : start + _WINDOW]
        ids[0, : len(chosen)] = chosen
        total += float(summed(ids, len(chosen)))
        count += len(chosen) - 1
    return total / count


def summed_kl(
    policy: Forward,
    base: Forward,
    ids: jax.Array,
    count: jax.Array,
    start: jax.Array,
    end: jax.Array,
) -> jax.Array:
    """`KL(policy || base) = sum_v p(v) (log p(v) - log q(v))`, summed over some positions.

    Args:
        policy: p.
        base: q.
        ids: `[1, T]`, with `start` and `end` as in `Padded`.
        count: how many are no padding.
        start: first position counted.
        end: first one that is not.
    """
    import jax
    import jax.numpy as jnp

    positions = jnp.arange(ids.shape[1], dtype=jnp.int32)

    def chunk_kl(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        here, policy_states, base_states = chunk

        def measured() -> jax.Array:
            log_p, log_q = _log_probs(policy, policy_states), _log_probs(base, base_states)
            kl = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
            return jnp.sum(jnp.where(here, kl, 0.0))

        return jax.lax.cond(jnp.any(here), measured, lambda: jnp.zeros((), jnp.float32))

    is_response = (positions >= start) & (positions < end)
    parts = (is_response, policy.hidden(ids, count), base.hidden(ids, count))
    return jnp.sum(jax.lax.map(chunk_kl, tuple(map(_in_chunks, parts))))


def summed_nll(model: Forward, ids: jax.Array, count: jax.Array) -> jax.Array:
    """`-log p(t | before t)`, summed over the first `count` tokens but the first of all.

    Args:
        model: p.
        ids: `[1, T]`, padded to a multiple of `CHUNK`.
        count: how many are no padding.
    """
    import jax
    import jax.numpy as jnp

    positions = jnp.arange(ids.shape[1], dtype=jnp.int32)
    following = jnp.roll(ids[0], -1)

    def chunk_nll(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        here, states, token_ids = chunk
        chosen = jnp.take_along_axis(_log_probs(model, states), token_ids[:, None], axis=-1)
        return jnp.sum(jnp.where(here, -chosen[:, 0], 0.0))

    parts = (positions < count - 1, model.hidden(ids, count), following)
    return jnp.sum(jax.lax.map(chunk_nll, tuple(map(_in_chunks, parts))))


def _log_probs(model: Forward, states: jax.Array) -> jax.Array:
    """`[N, D]` to `[N, V]`, in float32."""
    import jax
    import jax.numpy as jnp

    return jax.nn.log_softmax(model.logits(states).astype(jnp.float32), axis=-1)


def _in_chunks(values: jax.Array) -> jax.Array:
    """`[T, ...]` to `[T / CHUNK, CHUNK, ...]`."""
    return values.reshape(-1, CHUNK, *values.shape[1:])
