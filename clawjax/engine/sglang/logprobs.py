"""Which distribution a server's log-probs are of, and what follows for a token's two log-probs.

What the servers do (their samplers, `layers/sampler.py`, read at sglang 0.4.2 to 0.5.x and
sglang-jax cddbf6f1):

- At temperature 0 all of them give the log-softmax of the raw logits: temperature 1, nothing cut.
- Otherwise SGLang gives the log-softmax of logits / temperature *before* top-p, top-k and min-p;
  sglang-jax too: `SCALED`.
- SGLang with the environment variable SGLANG_RETURN_ORIGINAL_LOGPROB (RETURN_ORIGINAL_LOGPROB
  before 0.5.4) gives the log-softmax of the raw logits whatever the temperature: `ORIGINAL`.
- SGLang up to 0.4.x with the flashinfer backend gives logits / temperature renormalised within
  top-p, but not within top-k or min-p: `TOP_P`.

With a grammar, SGLang masks the logits before any of this, so whatever a server is, its log-probs
may be of the tokens allowed or of all: they are of no known distribution.

- clawjax's own engine server gives the same as `ORIGINAL`, and in a field of its own those of the
  distribution drawn from: `BOTH`.

Nothing says which of the first three a server is, so the start-up probe finds out (`classify`).

Invariant: a log-prob is the server's own or absent, never an approximation. In particular the mass
that top-p, top-k or min-p leave is not in the answer (and the servers disagree on the order of the
filters, sglang-jax on a TPU even on the temperature at which top-p counts), so a truncated token's
`sampler_logprobs` are absent where the server is `SCALED`; log Z at temperature 1 cannot be had
from one at another temperature, so `sampler_logprobs_t1` are absent there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from clawjax.records import SamplingParams

__all__ = ["PROBE_TEMPERATURE", "PROBE_TOP_P", "Logprobs", "LogprobsOf", "classify", "derive"]

PROBE_TEMPERATURE = 2.0
PROBE_TOP_P = 1e-6
_SAME = 1e-3
"""Nats within which two log-probs of one token count as the same; bf16 logits are this noisy."""


class LogprobsOf(StrEnum):
    """The distribution whose log-probs a server reports."""

    SCALED = "scaled"
    """Logits over the temperature, nothing cut."""
    ORIGINAL = "original"
    """Logits as they are."""
    TOP_P = "top_p"
    """Logits over the temperature, cut to top-p."""
    BOTH = "both"
    """Logits as they are, and besides those of the distribution drawn from."""


class Logprobs(NamedTuple):
    """A run of tokens' log-probs; each is empty where it cannot be known."""

    sampler: tuple[float, ...]
    at_t1: tuple[float, ...]


def classify(greedy: float, probed: float) -> LogprobsOf:
    """Tell the first three apart by the likeliest token's log-prob.

    Args:
        greedy: as reported at temperature 0.
        probed: of the same token, reported at `PROBE_TEMPERATURE` and `PROBE_TOP_P`, which leaves
            no other.
    """
    if abs(probed) < _SAME < abs(greedy):
        return LogprobsOf.TOP_P
    if abs(probed - greedy) < _SAME:
        return LogprobsOf.ORIGINAL
    return LogprobsOf.SCALED


def derive(
    of: LogprobsOf,
    sampling: SamplingParams,
    reported: Sequence[float],
    told: Sequence[float] | None = None,
) -> Logprobs:
    """What the reported log-probs say about tokens drawn by `sampling`.

    `told` are those of the distribution drawn from, by servers of `BOTH`.
    """
    known = tuple(reported)
    if sampling.grammar is not None:
        return Logprobs(tuple(told or ()), known) if of is LogprobsOf.BOTH else Logprobs((), ())
    if sampling.temperature == 0:
        return Logprobs(known, known)
    is_cut = sampling.top_k > 0 or sampling.min_p > 0
    is_plain = not is_cut and sampling.top_p >= 1
    is_t1 = sampling.temperature == 1
    match of:
        case LogprobsOf.SCALED:
            return Logprobs(known if is_plain else (), known if is_t1 else ())
        case LogprobsOf.BOTH:
            return Logprobs(tuple(told or ()), known)
        case LogprobsOf.ORIGINAL:
            return Logprobs(known if is_plain and is_t1 else (), known)
        case LogprobsOf.TOP_P:
            return Logprobs(() if is_cut else known, known if is_t1 and sampling.top_p >= 1 else ())
