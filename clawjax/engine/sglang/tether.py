"""Becomes another program that ends when its parent does: `python tether.py PARENT_PID COMMAND...`.

Run as a file, between fork and exec of a server, where a process with threads must not run Python.
On Linux the kernel tells the program itself of its parent's death, by SIGTERM, so that nothing
stands between the two. Elsewhere this process stays as its parent, looks whether its own still
lives, and ends the program: asked first, then made to.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.5
_STOP_TIMEOUT_S = 20.0


def main(parent: int, command: list[str]) -> None:
    """Replace this process, or stand by the program until it has ended.

    Raises:
        OSError: there is no such program.
    """
    if sys.platform != "linux":
        sys.exit(stand_by(parent, command))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be watched
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command of the configuration


def stand_by(parent: int, command: Sequence[str]) -> int:
    """Run the program as a child as long as `parent` is this process's; returns its exit code.

    A signal to stop is passed on.
    """
    with subprocess.Popen(command) as program:

        def pass_on(number: int, _: FrameType | None) -> None:
            program.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        while (code := _ended(program, _LOOK_S)) is None:
            if os.getppid() != parent:
                program.terminate()
                if _ended(program, _STOP_TIMEOUT_S) is None:
                    program.kill()
        return code


def _ended(program: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Its exit code; None where it still runs after so long."""
    try:
        return program.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
