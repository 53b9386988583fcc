"""Follows the weight store: what it points to gets served, be it newer or older.

Invariant: a version that cannot be adopted costs a line in the log and nothing else; it is tried
again only when it has changed. The old weights stay in use meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from clawjax.errors import StoreError
from clawjax.protocols import Engine, WeightStore, WeightVersion

__all__ = ["follow_weights"]

logger = logging.getLogger(__name__)


class _Fingerprint(NamedTuple):
    """Tells a version from the same version published again or repaired."""

    version: int
    manifest: bytes | None


async def follow_weights(
    engine: Engine,
    store: WeightStore,
    *,
    poll_s: float,
    on_swap: Callable[[WeightVersion], None] | None = None,
) -> NoReturn:
    """Look for other weights every `poll_s` seconds and hand them to the engine, until cancelled.

    Raises:
        EngineError: the engine has stopped.
    """
    failed: _Fingerprint | None = None
    complaint = ""
    while True:
        try:
            latest = await asyncio.to_thread(store.latest)
            if latest is not None and latest.version != engine.status().version:
                found = await asyncio.to_thread(_fingerprint, latest)
                if found != failed:
                    failed = found  # until it has been adopted
                    await engine.swap(latest)
                    failed = None
                    if on_swap is not None:
                        on_swap(latest)
            complaint = ""
        except StoreError as error:
            if str(error) != complaint:
                logger.warning("other weights are not adopted: %s", error)
            complaint = str(error)
        await asyncio.sleep(poll_s)


def _fingerprint(weights: WeightVersion) -> _Fingerprint:
    try:
        manifest = (weights.path / "manifest.json").read_bytes()
    except OSError:
        manifest = None
    return _Fingerprint(weights.version, manifest)
