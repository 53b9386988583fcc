"""Weights told by what they compute: log-probs of a fixed reply, beside the expected ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clawjax.engine.sglang.lease import Calls
from clawjax.errors import EngineError

__all__ = ["WeightProbe", "check_probe"]


@dataclass(frozen=True, slots=True)
class WeightProbe:
    """A reply and what the wanted weights make of it."""

    prompt_ids: tuple[int, ...]
    """At least one."""
    response_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Of the response's tokens, at temperature 1."""

    def __post_init__(self) -> None:
        """A probe of nothing would pass always."""
        if not self.prompt_ids or not self.response_ids:
            msg = "a probe needs a token of prompt and one of reply"
            raise ValueError(msg)
        if len(self.logprobs) != len(self.response_ids):
            msg = f"{len(self.logprobs)} log-probs for {len(self.response_ids)} tokens of reply"
            raise ValueError(msg)


async def check_probe(
    server: Calls, probe: WeightProbe, *, tolerance: float, timeout_s: float
) -> float:
    """The largest difference from what is expected, in nats.

    Raises:
        EngineError: it is above the tolerance, or the server does not tell.
    """
    body = {
        "input_ids": [*probe.prompt_ids, *probe.response_ids],
        "sampling_params": {"temperature": 0, "max_new_tokens": 1},
        "return_logprob": True,
        "logprob_start_len": len(probe.prompt_ids) - 1,
    }
    answer = await server.call("POST", "/generate", body, timeout_s=timeout_s)
    found = _response_logprobs(answer, probe)
    worst = max(abs(a - b) for a, b in zip(found, probe.logprobs, strict=True))
    if worst > tolerance:
        msg = (
            f"the server computes with other weights: a probe's log-probs are off by {worst:.3g} "
            f"nats, engine.sglang.delivery.probe_tolerance is {tolerance:g}"
        )
        raise EngineError(msg)
    return worst


def _response_logprobs(answer: Mapping[str, Any], probe: WeightProbe) -> list[float]:
    """The first entry is the last prompt token's, which nothing before it predicts."""
    try:
        entries = answer["meta_info"]["input_token_logprobs"][1:]
        found = [(float(logprob), int(token)) for logprob, token, *_ in entries]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the server did not report the log-probs of a probe ({error!r})"
        raise EngineError(msg) from error
    if tuple(token for _, token in found) != probe.response_ids:
        msg = f"the server reported log-probs of {len(found)} other tokens than the probe's"
        raise EngineError(msg)
    return [logprob if math.isfinite(logprob) else -math.inf for logprob, _ in found]
