"""What can go wrong with a server, told apart by what may be done about it.

EngineError
├── UnreachableError   the request never ran
├── CrowdedError       nor did this one: every connection to the servers is taken
├── LostError          it may have run, and its answer is gone
├── RefusedError       the server answered with an error, in its own words
├── DeclinedError      it does not take weights, and those it has are untouched
├── UnreadableError    its answer is no answer of SGLang's, its numbers are none, or nobody knows
│                      of which weights they are
└── InterruptError     the server gave a reply up before its end
"""

from __future__ import annotations

from clawjax.errors import EngineError

__all__ = [
    "CrowdedError",
    "DeclinedError",
    "InterruptError",
    "LostError",
    "RefusedError",
    "UnreachableError",
    "UnreadableError",
]


class UnreachableError(EngineError):
    """No connection, so nothing ran."""


class CrowdedError(EngineError):
    """No connection was free in time. It says nothing about any server."""


class UnreadableError(EngineError):
    """What came cannot be used; another server may do better."""


class LostError(EngineError):
    """The connection broke, or nothing came for too long, after the request had been sent."""


class RefusedError(EngineError):
    """An answer that is an error."""

    def __init__(self, url: str, path: str, status: int, words: str) -> None:
        """Say who refused what: HTTP `status` and the server's own `words`."""
        super().__init__(f"{url}{path} answered {status}: {words}")
        self.status = status
        self.words = words


class DeclinedError(EngineError):
    """Weights that a server does not take, and of which it has loaded nothing."""


class InterruptError(EngineError):
    """A reply that a server gave up; what it has sampled so far counts."""

    def __init__(self, words: str, status: int | None = None) -> None:
        """In the server's own `words`; `status` as HTTP would have it, None where it was told to.

        SGLang names one where it had to (503: too many wait; 500: it failed), and none where
        somebody asked for it, as for new weights.
        """
        super().__init__(words)
        self.status = status
