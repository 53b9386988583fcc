"""Programs that an agent wrote, run where they can reach nothing: Linux namespaces by `unshare`.

The program sees the system's own files read-only, one writable folder as `/work`, no network, no
other process, and nothing of clawjax, so no gold either. Time, processes, memory and disk are
bounded in total. Invariant: it is dead when `run` returns, with everything that it started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import clawjax
from clawjax.evals.harness.bounds import bounded, joined, unbound

__all__ = ["Finished", "Sandbox", "sandbox_problem"]

_OUTER = ("unshare", "--user", "--map-root-user", "--mount")
_INNER = ("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
_KILLED = 128 + signal.SIGKILL
_COPY_S = 60.0
"""For the folder, before and after the program."""
_OUTPUT_BYTES = 65536
_PROBE_S = 30.0

_KEEP = r"""
set -e
root=$1; folder=$2; disk_mib=$3; seconds=$4; shift 4
mount --make-rprivate /
mount -t tmpfs -o "size=${disk_mib}m,nr_inodes=16k,mode=755" tmpfs "$root"
mkdir "$root/work" "$root/root"
cp -a "$folder/." "$root/work"
code=0
timeout --foreground -s KILL "$seconds" "$@" || code=$?
find "$folder" -mindepth 1 -delete </dev/null
cp -a --sparse=always "$root/work/." "$folder" </dev/null
exit "$code"
"""
"""A copy of the folder on a file system of bounded size, and back when the program has ended."""

_ENTER = r"""
set -e
root=$1/root; work=$1/work; memory_kib=$2; processes=$3; seconds=$4; hidden=$5; prefix=$6; shift 6
mount --make-rprivate /
mount -t tmpfs -o size=16m,mode=755 tmpfs "$root"
cd "$root"
fix() {
  mount -o remount,bind,ro "$1" 2>/dev/null || mount -o "remount,bind,ro,nosuid,$2" "$1"
}
show() {
  mkdir -p ".$1"
  mount --rbind "$1" ".$1"
  fix ".$1" nodev
}
for each in /usr /bin /sbin /lib /lib32 /lib64; do
  if [ -L "$each" ]; then ln -s "$(readlink "$each")" ".$each"
  elif [ -d "$each" ]; then show "$each"; fi
done
case "$prefix" in /usr|/usr/*) ;; *) show "$prefix" ;; esac
if [ -d ".$hidden" ]; then mount -t tmpfs -o size=4k,ro tmpfs ".$hidden"; fi
mkdir -p proc dev tmp etc work old
mount -t proc proc proc
fix proc nodev
for each in null zero random urandom; do
  touch "dev/$each"
  mount --bind "/dev/$each" "dev/$each"
  fix "dev/$each" noexec
done
mount -t tmpfs -o size=64m,nr_inodes=16k tmpfs tmp
mount --bind "$work" work
pivot_root . old
umount -l /old
rmdir /old
mount -o remount,ro / 2>/dev/null || true
cd /work
ulimit -v "$memory_kib"; ulimit -t "$seconds"; ulimit -f 65536; ulimit -c 0
exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/work LANG=C.UTF-8 TMPDIR=/tmp \
  prlimit "--nproc=$processes" setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
"""What is the host's is read-only, /proc too: root's programs could set the kernel's limits there,
which asks whose file it is, not what one is capable of."""


class Finished(NamedTuple):
    """What became of a program."""

    exit_code: int
    output: str
    """Standard output and error, in order; cut at 64 KiB."""
    timed_out: bool = False


class Sandbox:
    """Runs programs over one writable folder, which outlives each of them."""

    def __init__(
        self,
        folder: Path,
        *,
        timeout_s: float = 20.0,
        memory_mib: int = 1024,
        processes: int = 64,
        disk_mib: int = 256,
    ) -> None:
        """Nothing is started before `run`.

        Args:
            folder: what the programs see as `/work`.
            timeout_s: wall time of one program.
            memory_mib: address space of each of its processes, and memory of all of them together
                where there are control groups.
            processes: at once; for root only where there are control groups.
            disk_mib: of all in the folder.
        """
        self.folder = folder
        self._timeout_s = timeout_s
        self._memory_mib = memory_mib
        self._processes = processes
        self._disk_mib = disk_mib

    def run(self, arguments: Sequence[str], *, text: str = "") -> Finished:
        """Run a program to its end, with `text` as its standard input.

        It works on a copy of the folder, which takes its place when the program has ended.

        Raises:
            OSError: namespaces cannot be made; `sandbox_problem` tells beforehand.
        """
        groups = bounded(self._memory_mib + self._disk_mib, self._processes)
        try:
            with tempfile.TemporaryDirectory(prefix="clawjax-root-") as root:
                return self._run(self._command(root, groups, arguments), text)
        finally:
            unbound(groups)

    def _command(self, root: str, groups: list[Path], arguments: Sequence[str]) -> list[str]:
        return [
            *_OUTER, "sh", "-c", _KEEP, "sandbox", root, str(self.folder.resolve()),
            str(self._disk_mib), f"{self._timeout_s:.3f}", *joined(groups), *_INNER,
            "sh", "-c", _ENTER, "sandbox", root, str(self._memory_mib * 1024),
            str(self._processes), str(int(self._timeout_s) + 1),
            str(Path(clawjax.__file__).resolve().parent), _prefix(), *arguments,
        ]  # fmt: skip

    def _run(self, command: list[str], text: str) -> Finished:
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(text.encode(), timeout=self._timeout_s + _COPY_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            output.seek(0)
            told = output.read(_OUTPUT_BYTES).decode("utf-8", "replace")
        is_late = time.monotonic() - began >= self._timeout_s
        return Finished(code, told, is_late and code in (_KILLED, -signal.SIGKILL))

    def run_python(self, code: str) -> Finished:
        """Run Python code with the standard library only."""
        return self.run([_interpreter(), "-I", "-S", "-"], text=code)


@cache
def sandbox_problem() -> str | None:
    """Why there are no sandboxes on this machine; None where there are."""
    if not sys.platform.startswith("linux"):
        return f"namespaces are Linux's, and this is {sys.platform}"
    for tool in ("unshare", "pivot_root", "setpriv", "prlimit", "mount", "timeout"):
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
