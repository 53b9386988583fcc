"""From sampled tokens to visible text, one token at a time.

Owns stop strings. Invariant: however the text arrives, what has been shown equals what the whole
reply would show: everything before the stop string that completes first, and never a character
of it. Text that may yet turn out to begin a stop string is held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["ReplyText", "StopStrings", "TokenText"]


class TokenText(Protocol):
    """Turns token ids into text that is complete UTF-8 (`ChatTokenizer.detokenizer`)."""

    def push(self, token_id: int) -> str:
        """The text that this token completes, possibly none."""
        ...

    def flush(self) -> str:
        """What is left, incomplete characters replaced."""
        ...


class StopStrings:
    """Cuts a stream of text before the first stop string to be completed."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Watch for `stops`; empty ones are ignored."""
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.is_stopped = False
        self.matched: str | None = None
        """The string that stopped it."""

    def push(self, text: str) -> str:
        """Take new text, return what may be shown; nothing once stopped."""
        if self.is_stopped:
            return ""
        self._held += text
        ends = [
            (start + len(stop), start, stop)
            for stop in self._stops
            if (start := self._held.find(stop)) >= 0
        ]
        if ends:
            self.is_stopped = True
            _, start, self.matched = min(ends)
            return self._release(start)
        return self._release(len(self._held) - self._undecided())

    def flush(self) -> str:
        """Return what was held back: no stop string came of it."""
        return "" if self.is_stopped else self._release(len(self._held))

    def _release(self, count: int) -> str:
        shown, self._held = self._held[:count], self._held[count:]
        return shown

    def _undecided(self) -> int:
        """Length of the longest suffix that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-count:]) for stop in self._stops):
                return count
        return 0


class ReplyText:
    """The visible text of one reply."""

    def __init__(self, tokens: TokenText, stops: Sequence[str]) -> None:
        """Begin a reply."""
        self._tokens = tokens
        self._stops = StopStrings(stops)

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has been completed."""
        return self._stops.is_stopped

    def push(self, token_id: int) -> str:
        """Take a token, return the text it makes visible."""
        return self._stops.push(self._tokens.push(token_id))

    def finish(self) -> str:
        """Return what was still held back; the reply is over."""
        return self._stops.push(self._tokens.flush()) + self._stops.flush()
