"""A Linux machine for one task: real bash over a copy of this system that is thrown away.

No network, no process of the host, nothing of clawjax, so no gold; memory, processes, disk and time
are bounded. Checks run with the host's own programs, never the agent's. Invariant: after `close`
nothing of it is left, and nothing outside was changed.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from clawjax.evals.harness.bounds import bounded, joined, unbound
from clawjax.evals.harness.sandbox import Finished
from clawjax.evals.suites.agentbench.system import enter
from clawjax.evals.suites.agentbench.system.scripts import CHECK, CHECKER, GUARD, INNER, OUTER
from clawjax.evals.suites.agentbench.system.stopping import (
    StillRunningError,
    is_still,
    namespace_of,
    resume,
    stop,
)

__all__ = ["Machine", "machine_problem"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where no program is the agent's during a check."""
_CHECK_PATH = f"{_SYSTEM_PATH}:/usr/local/sbin:/usr/local/bin"
"""The system's programs first, so that none of the agent's is taken for one."""
_HOST = {"PATH": _CHECK_PATH, "LANG": "C.UTF-8"}
"""Environment of what enters a machine: in a check, too, /usr/local is the agent's."""
_START_S = 30.0
_STOP_S = 5.0
_CHECK_FACTOR = 4
"""Checks may take longer than what the agent runs: some look through whole folders."""
_OUTPUT_BYTES = 65536
_TOOLS = ("unshare", "nsenter", "pivot_root", "mount", "setpriv", "chroot", "bash", "python3")
_INTERPRETERS = {"bash": ("bash", "-c"), "python": ("python3", "-I", "-c")}
_CHECKERS = {"bash": ("bash", "-c"), "python": ("python3", "-I", "-S", "-c", CHECKER)}


class Machine:
    """One machine; `start` first."""

    def __init__(
        self,
        *,
        home: str = "/root",
        timeout_s: float = 30.0,
        disk_mib: int = 256,
        memory_mib: int = 1024,
        processes: int = 256,
    ) -> None:
        """Nothing is started.

        Args:
            home: folder of the user, where every program begins.
            timeout_s: of one program.
            disk_mib: of all that is written.
            memory_mib: address space of each process, and of all where there are control groups.
            processes: at once, where there are control groups.
        """
        self._home = home
        self._timeout_s = timeout_s
        self._disk_mib = disk_mib
        self._memory_mib = memory_mib
        self._processes = processes
        self._folder: str | None = None
        self._outer: subprocess.Popen[bytes] | None = None
        self._inner = self._namespace = 0
        self._groups: list[Path] = []
        self._shell: subprocess.Popen[bytes] | None = None
        self._stopped: set[int] = set()

    def start(self) -> None:
        """Build it.

        Raises:
            OSError: it cannot be built here; `machine_problem` tells beforehand.
        """
        self._folder = tempfile.mkdtemp(prefix="clawjax-machine-")
        self._outer = subprocess.Popen(
            ["unshare", "--user", "bash", "-c", OUTER, "outer", self._folder,
             str(self._disk_mib), self._home, INNER, *_hidden()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, env=_HOST,
        )  # fmt: skip
        try:
            self._await("user")
            _map_users(self._outer.pid)
            self._groups = bounded(self._memory_mib, self._processes, self._outer.pid)
            assert self._outer.stdin is not None
            self._outer.stdin.write(b"\n")
            self._outer.stdin.flush()  # and left open: its end is the machine's
            parent = int(self._await("inner", "up")["inner"])
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if not children:
                raise self._failure("its first process has ended")
            self._inner = int(children[0])
            self._namespace = namespace_of(self._inner)
        except BaseException:
            self.close()
            raise

    def run(self, language: str, code: str, *arguments: str) -> Finished:
        """A program of its own in the machine, to its end.

        Args:
            language: `bash` or `python`.
            code: the program.
            arguments: its `$1`, `$2`, ...
        """
        self._resume()
        program = self._program(_INTERPRETERS, language, code, arguments)
        return self._finish([*self._enter(), *program])

    def launch(self, code: str) -> None:
        """A bash program that goes on in the background."""
        self._resume()
        command = [*self._enter(), "setsid", *self._program(_INTERPRETERS, "bash", code, ())]
        self._finish(command, is_silent=True)

    def shell(self, command: str) -> Finished:
        """A command in the one shell that lives as long as the machine; it keeps folder and names.

        One that takes too long, or ends the shell, costs the shell: the next is a fresh one.
        """
        self._resume()
        if self._shell is None or self._shell.poll() is not None:
            self._shell = self._new_shell()
        assert self._shell.stdin is not None
        mark = secrets.token_hex(8)
        coded = base64.b64encode(command.encode()).decode()
        line = (
            f"eval \"$(printf %s {coded} | base64 -d)\" </dev/null\nprintf '\\n{mark} %d\\n' $?\n"
        )
        try:
            self._shell.stdin.write(line.encode())
            self._shell.stdin.flush()
        except BrokenPipeError:
            return Finished(-1, "")
        return self._read_until(mark.encode())

    def check(self, language: str, code: str, *arguments: str) -> Finished:
        """As `run`, with the system's own programs: what the agent replaced is not used.

        All that runs in the machine is stopped, until something else is run in it. Where that
        fails, or something ran nevertheless, the exit code is -1: what was found may be forged.
        """
        assert self._outer is not None
        assert self._folder is not None
        command = [
            *joined(self._groups), *self._outside(), "unshare", "--mount",
            "bash", "-c", CHECK, "check", self._folder, str(self._inner), ":".join(_hidden()),
            *_confined(self._home), *self._program(_CHECKERS, language, code, arguments),
        ]  # fmt: skip
        try:
            stopped = stop(self._namespace, self._inner, _STOP_S)
        except StillRunningError as error:
            return Finished(-1, f"not checked: {error}")
        self._stopped.update(stopped)
        found = self._finish(command, timeout_s=_CHECK_FACTOR * self._timeout_s)
        if not is_still(stopped):
            return Finished(-1, "a program that was left running ran during the check")
        return found

    def close(self) -> None:
        """Kill everything and remove the folder."""
        for process in (self._shell, self._outer):
            if process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._shell = self._outer = None
        self._stopped.clear()
        unbound(self._groups)
        self._groups = []
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _resume(self) -> None:
        if self._stopped:
            resume(self._namespace, self._inner, self._stopped)
            self._stopped.clear()

    def _outside(self) -> list[str]:
        """The namespaces around the machine, with this system's programs, read-only."""
        assert self._outer is not None
        return ["nsenter", "-t", str(self._outer.pid), "-U", "--preserve-credentials", "-m", "--"]

    def _enter(self) -> list[str]:
        return [
            *joined(self._groups), *self._outside(), *_clean(self._home, _PATH),
            _interpreter(), "-I", "-S", "-c", _entrance(), str(self._inner),
        ]  # fmt: skip

    def _program(
        self, known: Mapping[str, Sequence[str]], language: str, code: str, arguments: Sequence[str]
    ) -> list[str]:
        if language not in known:
            msg = f"language={language!r} is not supported: use {', '.join(known)}"
            raise ValueError(msg)
        name = ("--",) if language == "bash" else ()  # bash takes the first as $0
        program = [*known[language], code, *name, *arguments]
        return [*self._guard(), *program]

    def _guard(self) -> list[str]:
        return ["bash", "-c", GUARD, "guard", str(self._memory_mib * 1024), self._home]

    def _new_shell(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._enter(), *self._guard(), "bash", "--login"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_HOST,
        )

    def _finish(
        self, command: Sequence[str], *, is_silent: bool = False, timeout_s: float | None = None
    ) -> Finished:
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if is_silent else output,
                stderr=subprocess.DEVNULL if is_silent else subprocess.STDOUT,
                start_new_session=True,
                env=_HOST,
            )
            timed_out = False
            try:
                process.wait(timeout_s or self._timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            told = output.read(_OUTPUT_BYTES).decode("utf-8", "replace")
        return Finished(process.returncode, told, timed_out)

    def _read_until(self, mark: bytes) -> Finished:
        assert self._shell is not None
        assert self._shell.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        held = b""
        while True:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._shell.stdout], [], [], left)[0]
            if not ready:
                self._end_shell()
                return Finished(-1, _text(held), timed_out=True)
            chunk = os.read(self._shell.stdout.fileno(), _OUTPUT_BYTES)
            if not chunk:
                self._end_shell()
                return Finished(-1, _text(held))
            held += chunk
            before, found, after = held.partition(b"\n" + mark + b" ")
            if found and b"\n" in after:
                return Finished(int(after.split(b"\n")[0]), _text(before))
            if len(held) > 2 * _OUTPUT_BYTES:
                held = held[:_OUTPUT_BYTES] + held[-_OUTPUT_BYTES:]

    def _end_shell(self) -> None:
        assert self._shell is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        for stream in (self._shell.stdin, self._shell.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._shell = None

    def _await(self, *words: str) -> dict[str, str]:
        """What comes after each of these words, in whichever order they are said."""
        assert self._outer is not None
        assert self._outer.stdout is not None
        deadline = time.monotonic() + _START_S
        held = b""
        while True:
            lines = [line.partition(" ") for line in held.decode().split("\n")[:-1]]
            said = {word: rest for word, _, rest in lines}
            if said.keys() >= set(words):
                return said
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._outer.stdout], [], [], left)[0]
            # Not by readline: it may take more than a line, of which `select` then knows nothing.
            chunk = os.read(self._outer.stdout.fileno(), _OUTPUT_BYTES) if ready else b""
            if not chunk:
                raise self._failure(f"no {' and '.join(words)} in {_START_S:g} s")
            held += chunk

    def _failure(self, why: str) -> OSError:
        """The end of a machine that cannot be built: its last words, or `why` if it has none."""
        assert self._outer is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._outer.pid, signal.SIGKILL)
        try:
            _, told = self._outer.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired as error:  # something that it started lives on
            told = error.stderr or b""
        words = told.decode("utf-8", "replace").strip()[-300:]
        return OSError(f"no machine can be built here: {words or why}")


@cache
def machine_problem() -> str | None:
    """Why there are no machines on this system; None where there are."""
    if not sys.platform.startswith("linux"):
        return f"namespaces are Linux's, and this is {sys.platform}"
    for tool in _TOOLS:
        if shutil.which(tool, path=_SYSTEM_PATH) is None:
            return f"{tool} is not in {_SYSTEM_PATH}: install util-linux, bash and python3 there"
    machine = Machine()
    try:
        machine.start()
        found = machine.check("bash", "echo $((6 * 7))")
    except OSError as error:
        return str(error)
    finally:
        machine.close()
    if found.exit_code == 0 and found.output.strip() == "42":
        return None
    return f"no checks can be run in a machine here: {found.output.strip()[:200]}"


def _confined(home: str) -> list[str]:
    """Fewer capabilities, and an environment of its own."""
    dropped = ",".join(f"-{name}" for name in enter.CAPABILITIES)
    confined = ["setpriv", f"--bounding-set={dropped}", "--inh-caps=-all"]
    return [*confined, *_clean(home, _CHECK_PATH), "PYTHONNOUSERSITE=1"]


def _clean(home: str, path: str) -> list[str]:
    return [
        "env", "-i", f"PATH={path}", f"HOME={home}", "USER=root", "LOGNAME=root", "SHELL=/bin/bash",
        "LANG=C.UTF-8", "TERM=dumb",
    ]  # fmt: skip


@cache
def _interpreter() -> str:
    """The system's: it lies below /usr, which `_outside` shows read-only."""
    found = shutil.which("python3", path=_SYSTEM_PATH)
    assert found is not None, "machine_problem tells beforehand"
    return found


@cache
def _entrance() -> str:
    return Path(enter.__file__).read_text(encoding="utf-8")


@cache
def _hidden() -> tuple[str, ...]:
    """Folders with tasks and gold, where they lie in what a machine shows."""
    specs = [importlib.util.find_spec(name) for name in ("clawjax", "inspect_evals")]
    folders = [each for spec in specs if spec for each in spec.submodule_search_locations or ()]
    return tuple(os.path.realpath(folder) for folder in folders)


def _map_users(pid: int) -> None:
    """All users of the machine where we are root, root alone otherwise."""
    process = Path(f"/proc/{pid}")
    if os.getuid() == 0:
        (process / "uid_map").write_text("0 0 65536\n")
        (process / "gid_map").write_text("0 0 65536\n")
        return
    (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"0 {os.getuid()} 1\n")
    (process / "gid_map").write_text(f"0 {os.getgid()} 1\n")


def _text(output: bytes) -> str:
    return output[:_OUTPUT_BYTES].decode("utf-8", "replace")
