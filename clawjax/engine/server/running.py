"""Which requests are under way, by the names that clients gave them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from clawjax.engine.server.wire import GenerateCall

__all__ = ["Rids"]


class Rids:
    """From the name of a prompt to the requests that were made of it."""

    def __init__(self) -> None:
        """Nothing runs."""
        self._running: defaultdict[str, list[str]] = defaultdict(list)

    @contextmanager
    def running(self, call: GenerateCall) -> Iterator[None]:
        """Know a call's requests as long as the context lasts."""
        samples = len(call.wanted) // len(call.rids)
        pairs = [(call.rids[i // samples], one.rid) for i, one in enumerate(call.wanted)]
        for name, rid in pairs:
            self._running[name].append(rid)
        try:
            yield
        finally:
            for name, rid in pairs:
                self._running[name].remove(rid)
                if not self._running[name]:
                    del self._running[name]

    def of(self, name: str) -> tuple[str, ...]:
        """The engine's requests behind a name; itself where nobody named any so."""
        return tuple(self._running.get(name, ())) or (name,)
