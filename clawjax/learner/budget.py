"""The drift budget: how far a version may be from the base model and still be served.

Measured after a step and before its version is served, exactly: the KL on replies just trained on,
and what a fixed text has become less likely by. An update that goes too far at once is shortened
along its way. Invariant: what has no limit costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from clawjax.config import DriftConfig
from clawjax.learner.decoder import HEAD_KEYS, Decoder
from clawjax.learner.scoring import Model
from clawjax.models.divergence import (
    CHUNK,
    Exchange,
    Forward,
    mean_kl,
    mean_nll,
    summed_kl,
    summed_nll,
)
from clawjax.models.transformer import Params
from clawjax.records import Sample

__all__ = ["Checked", "DriftBudget", "Shortened"]


class Checked(NamedTuple):
    """What was measured, and what follows."""

    metrics: dict[str, float]
    refused: str | None
    """Which limit is passed, and by what; None where all are kept."""


class Shortened(NamedTuple):
    """Where an update ends, and how far along its way that is."""

    trainable: Params
    metrics: dict[str, float]


_GUESSES = 4
_SHORTEST = 128
"""Padded lengths, in tokens, are not halved further."""


class DriftBudget:
    """Compares policies with one base model."""

    def __init__(
        self,
        config: DriftConfig,
        base: Model,
        *,
        fixed_text: Sequence[int],
        length_buckets: Sequence[int],
    ) -> None:
        """Prepare; nothing is compiled or computed before the first check.

        Args:
            config: the limits.
            base: the model that the policy started as.
            fixed_text: token ids, at least two where `max_nll_increase` is set.
            length_buckets: of the learner, any order; no turn is longer than the longest.
        """
        self._config = config
        self._base = base
        self._fixed_text = fixed_text
        self._lengths = _halvings(max(length_buckets))
        self._base_nll: float | None = None
        self._kl = jax.jit(_kl, static_argnums=(0, 1))
        self._nll = jax.jit(_nll, static_argnums=0)

    def check(self, policy: Model, samples: Sequence[Sample]) -> Checked:
        """Measure what has a limit, on the first `max_turns` of `samples` and on the fixed text."""
        metrics: dict[str, float] = {}
        excesses: list[str] = []
        if self._config.max_kl is not None:
            metrics["drift/kl"] = self._measured_kl(policy, samples)
            excesses += _excess("KL to the base model", metrics["drift/kl"], self._config, "max_kl")
        if self._config.max_nll_increase is not None:
            metrics["drift/nll_increase"] = self._measured_nll_increase(policy)
            excesses += _excess(
                "the fixed text's negative log-likelihood, less the base model's,",
                metrics["drift/nll_increase"],
                self._config,
                "max_nll_increase",
            )
        return Checked(metrics, "; ".join(excesses) or None)

    def shortened(
        self,
        before: Params,
        after: Params,
        *,
        max_kl: float,
        model: Callable[[Params], Model],
        samples: Sequence[Sample],
    ) -> Shortened:
        """The farthest point from `before` towards `after` that `max_kl` allows, or nearly.

        The KL of a short step grows with the square of its length, from which the next length is
        guessed; after a few guesses the last one is taken.

        Args:
            before: what the update changed, as it was.
            after: the same, as the optimiser left it.
            max_kl: exact KL to the policy before, nats per response token.
            model: the policy that such weights make.
            samples: whose replies the KL is measured on.

        Reference: the line search of TRPO, Schulman et al. 2015, arXiv:1502.05477, appendix C,
        without its condition on the surrogate.
        """
        share, reference = 1.0, model(before)
        for _ in range(_GUESSES):
            moved = after if share == 1.0 else _between(before, after, share)
            kl = self._kl_between(model(moved), reference, samples)
            if kl <= max_kl:
                return Shortened(moved, {"drift/step_kl": kl, "drift/step_share": share})
            share *= min(0.5, 0.9 * (max_kl / kl) ** 0.5) if kl < float("inf") else 0.25
        return Shortened(_between(before, after, share), {"drift/step_share": share})

    def _measured_kl(self, policy: Model, samples: Sequence[Sample]) -> float:
        return self._kl_between(policy, self._base, samples)

    def _kl_between(self, policy: Model, reference: Model, samples: Sequence[Sample]) -> float:
        exchanges = [
            Exchange(sample.prompt_ids, sample.response_ids)
            for sample in samples[: self._config.max_turns]
        ]
        summed = partial(
            self._kl, policy.decoder, reference.decoder, policy.params, reference.params
        )
        drift = mean_kl(summed, exchanges, self._padded_length)
        assert drift is not None, "a batch has response tokens"
        return drift.kl_per_token

    def _measured_nll_increase(self, policy: Model) -> float:
        if self._base_nll is None:
            self._base_nll = self._measured_nll(self._base)
        return self._measured_nll(policy) - self._base_nll

    def _measured_nll(self, model: Model) -> float:
        return mean_nll(partial(self._nll, model.decoder, model.params), self._fixed_text)

    def _padded_length(self, tokens: int) -> int:
        return next(length for length in self._lengths if length >= tokens)


def _halvings(longest: int) -> list[int]:
    """Lengths to pad to, shortest first; one turn seldom fills a learner's row."""
    lengths = [-(-longest // CHUNK) * CHUNK]
    while lengths[-1] > _SHORTEST:
        lengths.append(-(-lengths[-1] // (2 * CHUNK)) * CHUNK)
    return lengths[::-1]


@jax.jit
def _between(before: Params, after: Params, share: float) -> Params:
    return jax.tree.map(lambda start, end: start + share * (end - start), before, after)


def _excess(what: str, value: float, config: DriftConfig, limit: str) -> list[str]:
    allowed: float = getattr(config, limit)
    if value <= allowed:  # what is not a number is not within a limit
        return []
    return [f"{what} is {value:.4g} nats per token, above learner.drift.{limit}={allowed:g}"]


def _kl(policy: Decoder, base: Decoder, params: Params, base_params: Params, *at: Array) -> Array:
    return summed_kl(_forward(policy, params), _forward(base, base_params), *at)


def _nll(decoder: Decoder, params: Params, *at: Array) -> Array:
    return summed_nll(_forward(decoder, params), *at)


def _forward(decoder: Decoder, params: Params) -> Forward:
    head: Callable[[Array], Array] = partial(
        decoder.logits, {name: params[name] for name in HEAD_KEYS & set(params)}
    )

    def hidden(ids: Array, count: Array) -> Array:
        positions = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
        segment_ids = (positions < count).astype(jnp.int32)
        return decoder.hidden(params, ids, positions, segment_ids)[0]

    return Forward(hidden, head)
