"""Follows the weight store: what it points to gets served, be it newer or older.

Invariant: a version that cannot be adopted costs a line in the log and nothing else; it is tried
again as soon as it has changed, and every minute until then, as a disk may have failed it only for
a while. The old weights stay in use meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from clawjax.errors import StoreError
from clawjax.protocols import Engine, WeightStore, WeightVersion

__all__ = ["follow_weights"]

logger = logging.getLogger(__name__)

_RETRY_S = 60.0
"""Between two tries of the same version, each of which may read all of it."""


class _Fingerprint(NamedTuple):
    """Tells a version from the same version published again or repaired."""

    version: int
    manifest: bytes | None


class _Failure(NamedTuple):
    """A version that was not adopted."""

    of: _Fingerprint
    until: float
    """When it is tried again, if it stays as it is; of the monotonic clock."""


async def follow_weights(
    engine: Engine,
    store: WeightStore,
    *,
    poll_s: float,
    retry_s: float = _RETRY_S,
    on_swap: Callable[[WeightVersion], None] | None = None,
) -> NoReturn:
    """Look for other weights every `poll_s` seconds and hand them to the engine, until cancelled.

    What could not be adopted is handed to it again after `retry_s`, or once it has changed.

    Raises:
        EngineError: the engine has stopped.
    """
    failure: _Failure | None = None
    complaint = ""
    while True:
        try:
            latest = await asyncio.to_thread(store.latest)
            if latest is None or latest.version == engine.status().version:
                complaint = ""
            elif _is_due(found := await asyncio.to_thread(_fingerprint, latest), failure):
                try:
                    await engine.swap(latest)
                except StoreError:
                    failure = _Failure(found, time.monotonic() + retry_s)
                    raise
                failure, complaint = None, ""
                if on_swap is not None:
                    on_swap(latest)
        except StoreError as error:
            if str(error) != complaint:
                logger.warning("other weights are not adopted: %s", error)
            complaint = str(error)
        await asyncio.sleep(poll_s)


def _is_due(found: _Fingerprint, failure: _Failure | None) -> bool:
    """Whether to try a version: it is not the one that failed, or that was long ago."""
    return failure is None or found != failure.of or time.monotonic() >= failure.until


def _fingerprint(weights: WeightVersion) -> _Fingerprint:
    try:
        manifest = (weights.path / "manifest.json").read_bytes()
    except OSError:
        manifest = None
    return _Fingerprint(weights.version, manifest)
