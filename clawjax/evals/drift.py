"""How far the policy has moved from its base: exact KL per response token on held-out replies.

From full distributions at temperature 1, not estimated from samples. Invariant: at most one chunk
of positions has its vocabulary-wide scores in memory, for either model. Imports jax only when
called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

from clawjax.errors import StoreError
from clawjax.log.store import SqlTurnLog
from clawjax.protocols import BASE_KIND, WeightVersion

if TYPE_CHECKING:
    import jax
    import numpy as np

    from clawjax.models.architecture import Architecture
    from clawjax.models.load import LoadedModel
    from clawjax.models.transformer import Params

__all__ = ["Drift", "Exchange", "kl_from_base", "logged_exchanges", "policy_params"]

_CHUNK = 32
"""Positions scored at once: 32 x 49152 fp32 scores are 6 MB."""
_BUCKET = 64
"""Lengths are padded to multiples of this, so that few shapes are compiled."""


class Exchange(NamedTuple):
    """One reply as token ids, exactly as sampled."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


class Drift(NamedTuple):
    """The result of `kl_from_base`."""

    kl_per_token: float
    """Mean over all response tokens, in nats."""
    tokens: int


def logged_exchanges(log: SqlTurnLog, response_ids: Sequence[str]) -> tuple[Exchange, ...]:
    """The replies that clients know by these ids; unknown ids and empty replies are left out."""
    turn_ids = [log.find_response(response_id) for response_id in response_ids]
    judged = [log.get(turn_id) for turn_id in turn_ids if turn_id is not None]
    return tuple(
        Exchange(found.turn.prompt_ids, found.turn.response_ids)
        for found in judged
        if found is not None and found.turn.response_ids
    )


def policy_params(
    model: LoadedModel, weights: WeightVersion, tensors: Mapping[str, np.ndarray]
) -> Params:
    """The parameters of a version, adapters merged into the base; version 0 is the base.

    Raises:
        StoreError: weights of an unknown kind.
    """
    from clawjax.models.export import tensors_to_params
    from clawjax.models.lora import adapter_from_tensors, merge

    if weights.kind == BASE_KIND:
        return model.params
    if weights.kind == "full":
        return tensors_to_params(tensors, model.architecture)
    if weights.kind == "adapter":
        config = json.loads((weights.path / "adapter_config.json").read_text(encoding="utf-8"))
        scale = config["lora_alpha"] / config["r"]
        return merge(model.params, adapter_from_tensors(tensors), scale)
    msg = f"version {weights.version} is of kind {weights.kind!r}: expected adapter or full"
    raise StoreError(msg)


def kl_from_base(
    architecture: Architecture, policy: Params, base: Params, exchanges: Sequence[Exchange]
) -> Drift | None:
    """Mean of `KL(policy || base) = sum_v p(v) (log p(v) - log q(v))` over response positions.

    Each position is conditioned on the prompt and the reply before it. None where there is no
    response token.
    """
    step = _compiled(architecture)
    total, tokens = 0.0, 0
    for exchange in exchanges:
        if not exchange.response_ids:
            continue
        ids, count, start, end = _padded(exchange)
        total += float(step(policy, base, ids, count, start, end))
        tokens += len(exchange.response_ids)
    return Drift(total / tokens, tokens) if tokens else None


@cache
def _compiled(architecture: Architecture) -> Callable[..., jax.Array]:
    import jax

    return jax.jit(partial(_summed_kl, architecture))


def _padded(exchange: Exchange) -> tuple[np.ndarray, int, int, int]:
    """Ids `[1, T]`, real length, and the positions `[start, end)` that predict the response."""
    import numpy as np

    ids = (*exchange.prompt_ids, *exchange.response_ids)
    padded = np.zeros((1, -(-len(ids) // _BUCKET) * _BUCKET), np.int32)
    padded[0, : len(ids)] = ids
    return padded, len(ids), len(exchange.prompt_ids) - 1, len(ids) - 1


def _summed_kl(
    architecture: Architecture,
    policy: Params,
    base: Params,
    ids: jax.Array,
    count: jax.Array,
    start: jax.Array,
    end: jax.Array,
) -> jax.Array:
    import jax
    import jax.numpy as jnp

    from clawjax.models.transformer import Transformer, causal_attention

    model = Transformer(architecture)
    positions = jnp.arange(ids.shape[1], dtype=jnp.int32)

    def hidden(params: Params) -> jax.Array:
        attend = causal_attention((positions < count)[None])
        states, _ = model.apply({"params": params}, ids, positions[None], attend)
        return states[0].reshape(-1, _CHUNK, architecture.hidden_size)

    def log_probs(params: Params, states: jax.Array) -> jax.Array:
        logits = jnp.asarray(model.apply({"params": params}, states, method="logits"))
        return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

    def chunk_kl(chunk: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        here, policy_states, base_states = chunk

        def measured() -> jax.Array:
            log_p, log_q = log_probs(policy, policy_states), log_probs(base, base_states)
            kl = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
            return jnp.sum(jnp.where(here, kl, 0.0))

        return jax.lax.cond(jnp.any(here), measured, lambda: jnp.zeros((), jnp.float32))

    is_response = ((positions >= start) & (positions < end)).reshape(-1, _CHUNK)
    return jnp.sum(jax.lax.map(chunk_kl, (is_response, hidden(policy), hidden(base))))
