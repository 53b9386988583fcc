"""Becomes another program that ends when its parent does: `python tether.py PARENT_PID COMMAND...`.

Run as a file, between fork and exec of a server, where a process with threads must not run Python.
Where the kernel knows no such thing (not Linux), it only becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process.

    Raises:
        OSError: there is no such program.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before it could be watched
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command of the configuration


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
