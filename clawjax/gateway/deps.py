"""What the gateway is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.gateway.gateway_log import GatewayLog
from clawjax.gateway.render import Tokenizer
from clawjax.gateway.stored import Forget
from clawjax.keys import KeyRing
from clawjax.protocols import Engine
from clawjax.review.queue import ReviewQueue

__all__ = ["GatewayDeps"]


def _nothing() -> Mapping[str, object]:
    return {}


def _nobody_to_wake() -> None:
    pass


@dataclass(frozen=True, slots=True)
class GatewayDeps:
    """What the gateway is made of."""

    engine: Engine
    tokenizer: Tokenizer
    log: GatewayLog
    config: GatewayConfig
    sampling_defaults: EngineConfig
    """Temperature, top-p and reply length where the client names none; whether keys share a cache
    of prefixes."""
    model_name: str
    run_name: str = ""
    """Told by `/healthz`, so that who asks knows whose endpoint it found."""
    keys: KeyRing = field(default_factory=KeyRing)
    """Who may ask; anybody where it has never had a key."""
    reads_ratings: bool = True
    """Whether a judge takes the numbers that users give to replies."""
    recalls_reactions: bool = False
    """Whether what is said of a turn counts after it was taken into a batch, too."""
    on_linked: Callable[[], None] = _nobody_to_wake
    """Called on the event loop when the log has something new for the judges."""
    loop_status: Callable[[], Mapping[str, object]] = _nothing
    """The loops' states for `/healthz`."""
    turn_counts: Callable[[], Mapping[str, object]] = _nothing
    """The turn log's balance for `/healthz`; must not touch the log itself."""
    latest_metrics: Callable[[], Mapping[str, float]] = dict
    """The newest value of every key in `metrics.jsonl`, for `/metrics`; must not read the file."""
    forget: Forget | None = None
    """Takes a session or a response out of the log; None: nobody may ask for it over HTTP."""
    review: ReviewQueue | None = None
    """What people are to judge; None: nobody is asked."""
    clock: Callable[[], float] = time.time
