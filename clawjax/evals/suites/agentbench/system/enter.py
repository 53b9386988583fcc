"""Runs a program in a machine: `python -I -S -c THIS INNER PROGRAM...` from its outer namespaces.

Whoever enters is privileged until it has dropped its capabilities, so nothing of the machine may be
executed before that: its `setpriv` is the agent's to replace. Needs the standard library only; the
environment of the program is that of this process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence

__all__ = ["CAPABILITIES", "main"]

CAPABILITIES = {
    "net_admin": 12, "sys_module": 16, "sys_rawio": 17, "sys_ptrace": 19, "sys_admin": 21,
    "sys_boot": 22, "sys_resource": 24, "sys_time": 25, "mknod": 27, "mac_override": 32,
    "mac_admin": 33, "syslog": 34, "perfmon": 38, "bpf": 39,
}  # fmt: skip
"""Those that are taken away, as container engines do, with their numbers (linux/capability.h)."""

_NAMESPACES = ("mnt", "pid", "net", "ipc", "uts")
_PR_CAPBSET_DROP = 24
_NO_PROGRAM = 127


def main(arguments: Sequence[str]) -> None:
    """Enter and run.

    Args:
        arguments: a process of the machine, then the program with its arguments.

    Raises:
        OSError: the machine is not there, or may not be entered.
    """
    inner, *program = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    doors = [os.open(f"/proc/{inner}/ns/{each}", os.O_RDONLY) for each in _NAMESPACES]
    for door in doors:
        if libc.setns(door, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(door)
    child = os.fork()  # only children are in the namespace of processes
    if child == 0:
        try:
            _drop(libc)
            _execute(program)
        finally:
            os._exit(_NO_PROGRAM)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)


def _drop(libc: ctypes.CDLL) -> None:
    """Programs that root executes get the capabilities of the bounding set, whatever we hold."""
    for number in CAPABILITIES.values():
        if libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            if code != errno.EINVAL:  # EINVAL: an older kernel does not know it
                raise OSError(code, "PR_CAPBSET_DROP")


def _execute(program: list[str]) -> None:
    for folder in os.environ["PATH"].split(":"):
        try:
            os.execv(f"{folder}/{program[0]}", program)  # noqa: S606 -- no shell is wanted
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue


if __name__ == "__main__":
    main(sys.argv[1:])
