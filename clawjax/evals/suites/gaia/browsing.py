"""A real browser for questions: one Chromium per process, one window per question.

Invariant: only pages over HTTP are read, and none of this machine or its private networks unless
its origin is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clawjax.evals.harness.tasks import Action, Tool
from clawjax.evals.web.grammar import WEB_TOOLS
from clawjax.evals.web.session import RefusedError
from clawjax.evals.web.windows import Windows

__all__ = ["BROWSE_TOOLS", "ChromiumBrowser"]

_PREFIX = "browse_"
_OFFERED = ("goto", "click", "type", "press", "scroll", "go_back", "go_forward")

BROWSE_TOOLS: tuple[Tool, ...] = tuple(
    replace(tool, name=_PREFIX + tool.name) for tool in WEB_TOOLS if tool.name in _OFFERED
)
"""WebArena's actions on one page; each tells what is then seen of it."""


class ChromiumBrowser:
    """`environment.Browser` over `clawjax.evals.web`."""

    def __init__(self, origins: Sequence[str] | None = None) -> None:
        """Start it.

        Args:
            origins: pages of these only, e.g. `http://127.0.0.1:8000`; None: of all public hosts.

        Raises:
            RuntimeError: none can be started.
        """
        self._windows = Windows(None)
        self._origins = origins

    def begin(self) -> None:
        """An empty window: no history, no cookies."""
        self._windows.open(origins=self._origins)

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Act, and read the page: its tabs, its accessibility tree, its URL.

        Raises:
            ValueError: it cannot be done on this page; the message has reason and page.
        """
        window = self._windows.current
        try:
            window.carry_out(Action(name.removeprefix(_PREFIX), arguments))
        except RefusedError as refused:
            msg = f"{name} was not carried out: {refused}\n\n{self._look()}"
            raise ValueError(msg) from refused
        url = window.page.url
        if url.startswith("http") and not window.may_open(url):  # a redirect is followed unasked
            window.page.goto("about:blank")
            msg = f"{name} led to {url!r:.100}, which may not be opened: the page was left"
            raise ValueError(msg)
        return self._look()

    def close(self) -> None:
        """End window and browser."""
        self._windows.__exit__(None, None, None)

    def _look(self) -> str:
        window = self._windows.current
        return f"{window.tabs()}\n\n{window.look().text}\n\nURL: {window.page.url}"
