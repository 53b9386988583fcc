"""How far the policy has moved from its base: exact KL per response token on held-out replies.

Imports jax only when called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import starmap
from typing import TYPE_CHECKING

from clawjax.errors import StoreError
from clawjax.log.store import SqlTurnLog
from clawjax.models.divergence import CHUNK, Drift, Exchange, forward, mean_kl, padded, summed_kl
from clawjax.protocols import BASE_KIND, WeightVersion

if TYPE_CHECKING:
    import jax
    import numpy as np

    from clawjax.models.architecture import Architecture
    from clawjax.models.load import LoadedModel
    from clawjax.models.transformer import Params

__all__ = ["Drift", "Exchange", "kl_from_base", "logged_exchanges", "policy_params"]

_BUCKET = 2 * CHUNK
"""Lengths are padded to multiples of this, so that few shapes are compiled."""


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
    replies = padded(exchanges, _padded_length)
    return mean_kl(starmap(partial(_compiled(architecture), policy, base), replies), replies)


@cache
def _compiled(architecture: Architecture) -> Callable[..., jax.Array]:
    import jax

    def measure(policy: Params, base: Params, *where: jax.Array) -> jax.Array:
        return summed_kl(forward(architecture, policy), forward(architecture, base), *where)

    return jax.jit(measure)


def _padded_length(tokens: int) -> int:
    return -(-tokens // _BUCKET) * _BUCKET
