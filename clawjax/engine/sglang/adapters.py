"""Which adapters a server has, and when one may go.

Invariants: the newest stays; an older one is unloaded after its last request and not before, as a
server would hold up every other load until then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from clawjax.engine.sglang.delivery_plan import adapter_name
from clawjax.engine.sglang.lease import Calls
from clawjax.errors import EngineError

__all__ = ["AdapterShelf"]

logger = logging.getLogger(__name__)


class AdapterShelf:
    """The adapters of one server, for one event loop."""

    def __init__(self) -> None:
        """A server that has just been started has none."""
        self._loaded: set[int] = set()
        self._current = 0
        self._requests: Counter[int] = Counter()

    @property
    def current(self) -> int:
        """The version that new requests are to ask; 0 is the base model, without an adapter."""
        return self._current

    def place(self, version: int) -> None:
        """A server has loaded a version, which is asked from now on."""
        if version > 0:
            self._loaded.add(version)
        self._current = version

    @contextmanager
    def asked(self) -> Generator[int]:
        """The version to ask, which stays loaded until this is left."""
        version = self._current
        self._requests[version] += 1
        try:
            yield version
        finally:
            self._requests[version] -= 1

    def idle(self) -> tuple[int, ...]:
        """Versions that are loaded and that nobody asks, nor will."""
        busy = {version for version, count in self._requests.items() if count > 0}
        return tuple(sorted(self._loaded - busy - {self._current}))

    async def unload_idle(self, server: Calls, *, timeout_s: float) -> tuple[int, ...]:
        """Free what nobody asks; what a server does not let go of is tried again the next time."""
        gone = []
        for version in self.idle():
            body = {"lora_name": adapter_name(version)}
            self._loaded.discard(version)
            try:
                await server.call("POST", "/unload_lora_adapter", body, timeout_s=timeout_s)
            except EngineError as error:
                self._loaded.add(version)
                logger.warning("adapter %d stays on its server: %s", version, error)
            else:
                gone.append(version)
        return tuple(gone)
