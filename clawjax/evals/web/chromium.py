"""Finding and starting a Chromium; Playwright is an extra (`clawjax[web]`), imported when used.

Invariant: a started browser resolves no host name but those it was given, and belongs to the
process that started it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["EXECUTABLE_VARIABLE", "browser_problem", "executable", "lacks_browser", "started"]

EXECUTABLE_VARIABLE = "CLAWJAX_CHROMIUM"
"""Environment variable with the path of a Chromium."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_START_MS = 120_000


def executable() -> str | None:
    """A Chromium's path: of the variable, on the PATH, or the newest that Playwright installed."""
    named = os.environ.get(EXECUTABLE_VARIABLE)
    if named:
        return named
    on_path = next(filter(None, map(shutil.which, _NAMES)), None)
    if on_path is not None:
        return on_path
    folder = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright"
    found = sorted(Path(folder).glob("chromium-*/chrome-linux*/chrome"))
    return str(found[-1]) if found else None


def browser_problem() -> str | None:
    """Why no browser can be started, and what to do; None where one can."""
    if importlib.util.find_spec("playwright") is None:
        return "Playwright is not installed: bash scripts/setup_web.sh"
    path = executable()
    if path is None or not Path(path).exists():
        return (
            f"there is no Chromium ({path or 'none on the PATH'}): bash scripts/setup_web.sh, or "
            f"set {EXECUTABLE_VARIABLE} to one"
        )
    return None


def lacks_browser(suite: str) -> str | None:
    """The same as an answer to who wants to play a suite."""
    problem = browser_problem()
    return None if problem is None else f"suite.name={suite} needs a browser: {problem}"


@contextmanager
def started(hosts: Sequence[str] | None) -> Iterator[Browser]:
    """A headless Chromium, until the context ends.

    Args:
        hosts: host names that it may look up; None: all.

    Raises:
        RuntimeError: none can be started.
    """
    problem = browser_problem()
    if problem is not None:
        raise RuntimeError(problem)
    from playwright.sync_api import sync_playwright

    arguments = ["--disable-dev-shm-usage", "--disable-gpu", "--mute-audio"]
    if hosts is not None:
        kept = "".join(f", EXCLUDE {host}" for host in hosts)
        arguments.append(f"--host-resolver-rules=MAP * ~NOTFOUND{kept}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), headless=True, args=arguments, timeout=_START_MS
        )
        try:
            yield browser
        finally:
            browser.close()
