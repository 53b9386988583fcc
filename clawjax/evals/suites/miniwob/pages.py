"""Where MiniWoB++'s task pages are, which are played, and with which seeds."""

from __future__ import annotations

import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from clawjax.errors import ConfigError, UnavailableError

__all__ = ["LEFT_OUT", "PageServer", "data_version", "find_pages", "page_seed", "repeat_seeds"]

LEFT_OUT = frozenset(("button-delay", "chase-circle", "hover-shape", "moving-items", "simon-says"))
"""Tasks that depend on time: BrowserGym's 125 are the others."""

_REPEATS_SEED = 42
_SEEDS_BELOW = 2 ^ 32  # 34: the protocol's own slip, kept for its seeds
_PAGE_SEEDS_BELOW = 1_000_000


def find_pages(path: str | None) -> Path:
    """The folder `html` of MiniWoB++, with `miniwob/*.html` and `core/core.js`.

    Args:
        path: it, where somebody has it; None: of the installed `miniwob` package, unimported.

    Raises:
        UnavailableError: none is installed.
        ConfigError: the folder is another one.
    """
    if path is None:
        try:  # by the distribution: a module of that name may be another's
            path = str(metadata.distribution("miniwob").locate_file("miniwob/html"))
        except metadata.PackageNotFoundError as missing:
            msg = (
                "MiniWoB++'s pages are not installed: pip install --no-deps miniwob==1.1.0, or set "
                "suite.options.path to its html folder"
            )
            raise UnavailableError(msg) from missing
    folder = Path(path).resolve()
    if not (folder / "core" / "core.js").is_file():
        msg = f"suite.options.path={path!r} is no html folder of MiniWoB++: it has no core/core.js"
        raise ConfigError(msg)
    return folder


def data_version(folder: Path) -> str:
    """sha256 over all task pages and the code that scores them."""
    digest = hashlib.sha256()
    for file in [folder / "core" / "core.js", *sorted((folder / "miniwob").glob("*.html"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def repeat_seeds(names: list[str], repeats: int) -> list[list[int]]:
    """Seeds of each task's repetitions, as AgentLab's benchmark draws them.

    Args:
        names: all tasks in the benchmark's order, which is the alphabet's.
        repeats: of each; 5 in published results.
    """
    rng = np.random.RandomState(_REPEATS_SEED)
    return [rng.randint(low=0, high=_SEEDS_BELOW, size=repeats).tolist() for _ in names]


def page_seed(seed: int) -> int:
    """What a page's random numbers are seeded with, as BrowserGym draws it."""
    return int(np.random.RandomState(seed).randint(0, _PAGE_SEEDS_BELOW))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class PageServer:
    """The pages on loopback; ends with `close`."""

    def __init__(self, folder: Path) -> None:
        """Serve them."""
        handler = functools.partial(_Quiet, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
