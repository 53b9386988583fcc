"""The drift budget: how far a version may be from the base model and still be served.

Measured after a step and before its version is served, exactly: the KL on replies just trained on,
and what a fixed text has become less likely by. An update that goes too far at once is shortened
along its way. Invariant: what has no limit costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from clawjax.config import DriftConfig
from clawjax.learner.decoder import StackedDecoder
from clawjax.learner.scoring import Model
from clawjax.models.divergence import (
    CHUNK,
    Drift,
    Exchange,
    Forward,
    Padded,
    mean_kl,
    mean_nll,
    padded,
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


class _Reference(NamedTuple):
    """What policies are compared with; its states are read once, however many are."""

    model: Model
    replies: Sequence[Padded]
    states: Sequence[Array]
    """Of each reply, `[T, D]`."""


class _Step(NamedTuple):
    """Part of an update and how far it leads."""

    share: float
    kl: float
    """Nats per reply."""


_GUESSES = 5
_AIM, _NEAR = 0.85, 0.7
"""Of the bound: what a guess tries to hit, and what is near enough."""
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
        self._states = jax.jit(_states, static_argnums=0)
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
        guessed; between a step too long and one within the bound it grows as these two say. The
        search ends near the bound, or after a few guesses with the longest step that kept it.

        Args:
            before: what the update changed, as it was.
            after: the same, as the optimiser left it.
            max_kl: exact KL to the policy before, nats per reply.
            model: the policy that such weights make.
            samples: whose replies the KL is measured on.

        Reference: the line search of TRPO, Schulman et al. 2015, arXiv:1502.05477, appendix C,
        without its condition on the surrogate.
        """
        reference = self._reference(model(before), samples)
        kept, too_long, share = _Step(0.0, 0.0), None, 1.0
        for _ in range(_GUESSES):
            moved = _between(before, after, share)
            step = _Step(share, self._drift(model(moved), reference).kl_per_reply)
            if step.kl <= max_kl:
                kept = step
            else:
                too_long = step
            if too_long is None or kept.kl >= _NEAR * max_kl:
                break
            share = _guess(kept, too_long, max_kl)
        metrics = {"drift/step_reply_kl": kept.kl, "drift/step_share": kept.share}
        return Shortened(_between(before, after, kept.share), metrics)

    def _measured_kl(self, policy: Model, samples: Sequence[Sample]) -> float:
        return self._drift(policy, self._reference(self._base, samples)).kl_per_token

    def _reference(self, model: Model, samples: Sequence[Sample]) -> _Reference:
        exchanges = [
            Exchange(sample.prompt_ids, sample.response_ids)
            for sample in samples[: self._config.max_turns]
        ]
        replies = padded(exchanges, self._padded_length)
        states = [
            self._states(model.decoder, model.params, reply.ids, reply.length) for reply in replies
        ]
        return _Reference(model, replies, states)

    def _drift(self, policy: Model, reference: _Reference) -> Drift:
        model, replies, states = reference
        summed = partial(self._kl, policy.decoder, model.decoder, policy.params, model.params)
        sums = (summed(known, *reply) for known, reply in zip(states, replies, strict=True))
        drift = mean_kl(sums, replies)
        assert drift is not None, "a batch has response tokens"
        return drift

    def _measured_nll_increase(self, policy: Model) -> float:
        if self._base_nll is None:
            self._base_nll = self._measured_nll(self._base)
        return self._measured_nll(policy) - self._base_nll

    def _measured_nll(self, model: Model) -> float:
        return mean_nll(partial(self._nll, model.decoder, model.params), self._fixed_text)

    def _padded_length(self, tokens: int) -> int:
        return next(length for length in self._lengths if length >= tokens)


def _guess(kept: _Step, too_long: _Step, max_kl: float) -> float:
    """Which share of a step comes a little below the bound, as far as two steps can tell."""
    if not too_long.kl < float("inf"):
        return 0.25 * too_long.share
    if kept.kl <= 0.0:
        return too_long.share * min(0.5, (_AIM * max_kl / too_long.kl) ** 0.5)
    growth = math.log(too_long.kl / kept.kl) / math.log(too_long.share / kept.share)
    return kept.share * (_AIM * max_kl / kept.kl) ** (1.0 / growth)


def _halvings(longest: int) -> list[int]:
    """Lengths to pad to, shortest first; one turn seldom fills a learner's row."""
    lengths = [-(-longest // CHUNK) * CHUNK]
    while lengths[-1] > _SHORTEST:
        lengths.append(-(-lengths[-1] // (2 * CHUNK)) * CHUNK)
    return lengths[::-1]


def _between(before: Params, after: Params, share: float) -> Params:
    """At the ends exactly these, whatever the other one is."""
    if share in (0.0, 1.0):
        return after if share else before
    return _mixed(before, after, share)


@jax.jit
def _mixed(before: Params, after: Params, share: float) -> Params:
    return jax.tree.map(lambda start, end: start + share * (end - start), before, after)


def _excess(what: str, value: float, config: DriftConfig, limit: str) -> list[str]:
    allowed: float = getattr(config, limit)
    if value <= allowed:  # what is not a number is not within a limit
        return []
    return [f"{what} is {value:.4g} nats per token, above learner.drift.{limit}={allowed:g}"]


def _states(decoder: StackedDecoder, params: Params, ids: Array, count: Array) -> Array:
    return _forward(decoder, params).hidden(ids, count)


def _kl(
    policy: StackedDecoder,
    base: StackedDecoder,
    params: Params,
    base_params: Params,
    states: Array,
    *at: Array,
) -> Array:
    known = _forward(base, base_params)._replace(hidden=lambda *_: states)
    return summed_kl(_forward(policy, params), known, *at)


def _nll(decoder: StackedDecoder, params: Params, *at: Array) -> Array:
    return summed_nll(_forward(decoder, params), *at)


def _forward(decoder: StackedDecoder, params: Params) -> Forward:
    head: Callable[[Array], Array] = partial(decoder.logits, decoder.head(params))

    def hidden(ids: Array, count: Array) -> Array:
        positions = jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
        segment_ids = (positions < count).astype(jnp.int32)
        return decoder.hidden(params, ids, positions, segment_ids)[0]

    return Forward(hidden, head)
