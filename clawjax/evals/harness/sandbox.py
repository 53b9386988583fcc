"""Programs that an agent wrote, run where they can reach nothing: Linux namespaces by `unshare`.

The program sees the system's own files read-only, one writable folder as `/work`, no network, no
other process, and nothing of clawjax, so no gold either. Invariant: it is dead when `run` returns,
with everything that it started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import clawjax

__all__ = ["Finished", "Sandbox", "sandbox_problem"]

_UNSHARE = (
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts",
    "--fork", "--kill-child",
)  # fmt: skip
_OUTPUT_BYTES = 65536
_PROBE_S = 30.0

_ENTER = r"""
set -e
root=$1; work=$2; memory_kib=$3; seconds=$4; hidden=$5; prefix=$6; shift 6
mount --make-rprivate /
mount -t tmpfs -o size=16m,mode=755 tmpfs "$root"
cd "$root"
show() {
  mkdir -p ".$1"
  mount --rbind "$1" ".$1"
  mount -o remount,bind,ro ".$1" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev ".$1"
}
for each in /usr /bin /sbin /lib /lib32 /lib64; do
  if [ -L "$each" ]; then ln -s "$(readlink "$each")" ".$each"
  elif [ -d "$each" ]; then show "$each"; fi
done
case "$prefix" in /usr|/usr/*) ;; *) show "$prefix" ;; esac
if [ -d ".$hidden" ]; then mount -t tmpfs -o size=4k,ro tmpfs ".$hidden"; fi
mkdir -p proc dev tmp etc work old
mount -t proc proc proc
for each in null zero random urandom; do
  touch "dev/$each"
  mount --bind "/dev/$each" "dev/$each"
done
mount -t tmpfs -o size=64m tmpfs tmp
mount --bind "$work" work
pivot_root . old
umount -l /old
rmdir /old
mount -o remount,ro / 2>/dev/null || true
cd /work
ulimit -v "$memory_kib"; ulimit -t "$seconds"; ulimit -f 65536; ulimit -c 0
exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/work LANG=C.UTF-8 TMPDIR=/tmp \
  setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


class Finished(NamedTuple):
    """What became of a program."""

    exit_code: int
    output: str
    """Standard output and error, in order; cut at 64 KiB."""
    timed_out: bool = False


class Sandbox:
    """Runs programs over one writable folder, which outlives each of them."""

    def __init__(self, folder: Path, *, timeout_s: float = 20.0, memory_mib: int = 1024) -> None:
        """Nothing is started before `run`.

        Args:
            folder: what the programs see as `/work`.
            timeout_s: wall time of one program.
            memory_mib: address space of each of its processes.
        """
        self.folder = folder
        self._timeout_s = timeout_s
        self._memory_mib = memory_mib

    def run(self, arguments: Sequence[str], *, text: str = "") -> Finished:
        """Run a program to its end, with `text` as its standard input.

        Raises:
            OSError: namespaces cannot be made; `sandbox_problem` tells beforehand.
        """
        with tempfile.TemporaryDirectory(prefix="clawjax-root-") as root:
            with tempfile.TemporaryFile() as output:
                command = [
                    *_UNSHARE,
                    "sh", "-c", _ENTER, "sandbox", root, str(self.folder.resolve()),
                    str(self._memory_mib * 1024), str(int(self._timeout_s) + 1),
                    str(Path(clawjax.__file__).resolve().parent), _prefix(), *arguments,
                ]  # fmt: skip
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                timed_out = False
                try:
                    process.communicate(text.encode(), timeout=self._timeout_s)
                except subprocess.TimeoutExpired:
                    timed_out = True
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                output.seek(0)
                told = output.read(_OUTPUT_BYTES).decode("utf-8", "replace")
            return Finished(process.returncode, told, timed_out)

    def run_python(self, code: str) -> Finished:
        """Run Python code with the standard library only."""
        return self.run([_interpreter(), "-I", "-S", "-"], text=code)


@cache
def sandbox_problem() -> str | None:
    """Why there are no sandboxes on this machine; None where there are."""
    if not sys.platform.startswith("linux"):
        return f"namespaces are Linux's, and this is {sys.platform}"
    for tool in ("unshare", "pivot_root", "setpriv", "mount"):
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{tool} is not installed: install util-linux"
    with tempfile.TemporaryDirectory() as folder:
        found = Sandbox(Path(folder), timeout_s=_PROBE_S).run_python("print(6 * 7)")
    if found.exit_code == 0 and found.output.strip() == "42":
        return None
    return f"namespaces are forbidden or incomplete here: {found.output.strip()[:200]}"


def _interpreter() -> str:
    """The interpreter below any virtual environment, which the sandbox does not show."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _prefix() -> str:
    return os.path.realpath(sys.base_prefix)
