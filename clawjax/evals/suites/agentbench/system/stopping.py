"""Programs of a machine, stopped while it is judged.

SIGSTOP needs no privileges, but a program can arrange to be continued, by a timer whose signal is
SIGCONT. So it is not trusted: how often each thread has run is noted, and compared afterwards.
Invariant: `is_still` only where no program that `stop` found has run since.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["StillRunningError", "inhabitants", "is_still", "namespace_of", "resume", "stop"]

_NS_GET_PARENT = 0xB702
_PAUSE_S = 0.02
_STOP_BIT = 1 << (signal.SIGSTOP - 1)

Threads = Mapping[int, int]
"""How often each thread of a process was put on or off a processor, by its number."""


class StillRunningError(Exception):
    """A program cannot be stopped."""


def namespace_of(pid: int) -> int:
    """The process namespace that a process is in."""
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def inhabitants(namespace: int, but: int) -> list[int]:
    """Processes in a process namespace, or in one below it, without its first, `but`."""
    if namespace == namespace_of(os.getpid()):
        raise ValueError(f"namespace={namespace} is our own: name that of a machine")
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in numbers if pid != but and _is_within(pid, namespace)]


def stop(namespace: int, but: int, patience_s: float) -> dict[int, Threads]:
    """Stop all `inhabitants` until two looks in a row find the same, all stopped.

    Returns:
        What is known of each, for `is_still`.

    Raises:
        StillRunningError: something runs on after `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    before: dict[int, Threads] | None = None
    while True:
        found = {pid: _threads(pid) for pid in inhabitants(namespace, but)}
        running = [pid for pid, threads in found.items() if threads is None]
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        # The dead are left out: they may be reaped, and do nothing.
        stopped = {pid: threads for pid, threads in found.items() if threads}
        if not running and stopped == before:
            return stopped
        before = None if running else stopped
        if time.monotonic() > deadline:
            msg = f"{len(running)} processes run on {patience_s:g} s after they were stopped"
            raise StillRunningError(msg)
        time.sleep(_PAUSE_S)


def is_still(stopped: Mapping[int, Threads]) -> bool:
    """Whether all that were stopped are there and have not run."""
    return all(_threads(pid) == threads for pid, threads in stopped.items())


def resume(namespace: int, but: int, stopped: Iterable[int]) -> None:
    """Let them go on."""
    for pid in set(stopped) & set(inhabitants(namespace, but)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _is_within(pid: int, wanted: int) -> bool:
    try:
        held = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # gone, or another user's: that is none of a machine of ours
    while True:
        try:
            if os.fstat(held).st_ino == wanted:
                return True
            above = fcntl.ioctl(held, _NS_GET_PARENT)
        except PermissionError:  # above is what we may not see
            return False
        finally:
            os.close(held)
        held = above


def _threads(pid: int) -> Threads | None:
    """None where one of them may run or is gone; empty where the process is dead."""
    found = {}
    try:
        texts = {
            int(name): Path(f"/proc/{pid}/task/{name}/status").read_text()
            for name in os.listdir(f"/proc/{pid}/task")
        }
    except (FileNotFoundError, ProcessLookupError):
        return None
    for number, text in texts.items():
        fields = dict(line.split(":", 1) for line in text.splitlines())
        state = fields["State"].split()[0]
        if state in "ZX":
            continue
        if state not in "Tt" and not (state == "D" and _is_told(fields)):
            return None
        switches = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
        found[number] = sum(int(fields[name]) for name in switches)
    return found


def _is_told(fields: Mapping[str, str]) -> bool:
    """SIGSTOP waits for it: it does nothing before it stops, e.g. waiting for a child by vfork."""
    return any(int(fields[name], 16) & _STOP_BIT for name in ("SigPnd", "ShdPnd"))
