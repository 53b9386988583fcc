"""Control groups around programs and all their children, where this system lets us make them.

Version 1 (a hierarchy for each of pids and memory) and version 2 (one for both). Without them only
the ulimits bound programs, and those do not bound how many processes root starts.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from pathlib import Path

__all__ = ["bounded", "joined", "unbound"]

logger = logging.getLogger(__name__)

_ROOT = Path("/sys/fs/cgroup")
_GONE_S = 5.0
_JOIN = r"""
for each in $1; do echo $$ > "$each/cgroup.procs"; done
shift
exec "$@"
"""


def bounded(memory_mib: int, processes: int, pid: int | None = None) -> list[Path]:
    """Make groups with these bounds.

    Args:
        memory_mib: of all members together.
        processes: at once.
        pid: is put into them; None: they are empty, for `joined`.

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


def joined(groups: list[Path]) -> list[str]:
    """A command, without the program that it is put before, which then begins in these groups."""
    return ["sh", "-c", _JOIN, "join", " ".join(map(str, groups))]


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
                    logger.warning("control group %s is left over: %s", group, error)
                    break
                time.sleep(0.02)
            else:
                break


def _made(group: Path, limits: dict[str, str], pid: int | None) -> bool:
    try:
        group.mkdir()
    except OSError as error:
        logger.debug("no control group %s: %s", group, error)
        return False
    try:
        for file, limit in limits.items():
            (group / file).write_text(limit)
        if pid is not None:
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        logger.debug("control group %s cannot be used: %s", group, error)
        with contextlib.suppress(OSError):
            group.rmdir()
        return False
    return True
