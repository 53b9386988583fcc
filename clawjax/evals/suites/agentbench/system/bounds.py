"""Control groups around a process and all its children, where this system lets us make them.

Version 1 (a hierarchy for each of pids and memory) and version 2 (one for both). Without them only
the ulimits bound a machine, and those do not bound how many processes root starts.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from pathlib import Path

__all__ = ["bounded", "unbound"]

_log = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_GONE_S = 5.0


def bounded(pid: int, memory_mib: int, processes: int) -> list[Path]:
    """Put a process into groups with these bounds.

    Returns:
        The groups that could be made, for `unbound`.
    """
    name = f"clawjax-{secrets.token_hex(4)}"
    memory = str(memory_mib * 2**20)
    wanted = (
        (_ROOT / "pids" / name, {"pids.max": str(processes)}),
        (_ROOT / "memory" / name, {"memory.limit_in_bytes": memory}),
    )
    if (_ROOT / "cgroup.controllers").exists():
        wanted = ((_ROOT / name, {"pids.max": str(processes), "memory.max": memory}),)
    return [group for group, limits in wanted if _made(group, limits, pid)]


def unbound(groups: list[Path]) -> None:
    """Remove groups whose processes are dead; waits a moment for the last of them."""
    deadline = time.monotonic() + _GONE_S
    for group in groups:
        while True:
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError as error:  # EBUSY: a process is dying
                if time.monotonic() > deadline:
                    _log.warning("control group %s is left over: %s", group, error)
                    break
                time.sleep(0.02)
            else:
                break


def _made(group: Path, limits: dict[str, str], pid: int) -> bool:
    try:
        group.mkdir()
    except OSError as error:
        _log.debug("no control group %s: %s", group, error)
        return False
    try:
        for file, limit in limits.items():
            (group / file).write_text(limit)
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        _log.debug("control group %s cannot be used: %s", group, error)
        with contextlib.suppress(OSError):
            group.rmdir()
        return False
    return True
