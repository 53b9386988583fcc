"""A server of a benchmark's own in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import httpx

from clawjax.engine.sglang.launch import tethered

__all__ = ["running_script"]

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0
_LOOK_S = 0.02


@contextmanager
def running_script(
    script: str, port: int, arguments: Sequence[str], *, look: str
) -> Generator[str]:
    """The address of a server on loopback, while it runs.

    Args:
        script: a Python file that serves on the port it is given first.
        port: free.
        arguments: what else it is given.
        look: a path that answers 2xx once it is ready.

    Raises:
        RuntimeError: it does not start.
    """
    process = subprocess.Popen(tethered([sys.executable, script, str(port), *arguments]))
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url, look)
        yield url
    finally:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, look: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with httpx.Client(base_url=url, trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get(look, timeout=1.0).raise_for_status()
            except httpx.HTTPError:
                time.sleep(_LOOK_S)
            else:
                return
    msg = f"the server at {url} has not started within {_START_TIMEOUT_S:.0f} s"
    raise RuntimeError(msg)
