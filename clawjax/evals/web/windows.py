"""One Chromium, and in it one window per episode."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Self

from clawjax.evals.web.chromium import started
from clawjax.evals.web.session import Session

__all__ = ["Windows"]


class Windows(contextlib.AbstractContextManager["Windows"]):
    """Opens one window after the other; leaving it ends the browser."""

    def __init__(self, hosts: Sequence[str] | None) -> None:
        """Start the browser.

        Args:
            hosts: names that it may look up; None: all.
        """
        self._exits = contextlib.ExitStack()
        self._browser = self._exits.enter_context(started(hosts))
        self._session: Session | None = None

    @property
    def current(self) -> Session:
        """The window of the episode under way."""
        assert self._session is not None, "reset comes first"
        return self._session

    def open(self, **options: Any) -> Session:
        """A new one in place of the last, with these options of `Session`."""
        self.leave()
        self._session = Session(self._browser, **options)
        return self._session

    def leave(self) -> None:
        """Close the window."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close window and browser."""
        self.leave()
        self._exits.close()
