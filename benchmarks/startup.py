"""How long does starting take: imports, `--help`, an endpoint that answers, a first token?

    python benchmarks/startup.py [--quick]

Each start is a process of its own. `experiments/run.py experiment=serve` runs in a folder that is
thrown away, with an empty compilation cache and then with a filled one; it is stopped as Ctrl-C
does it. About four minutes on two quiet cores. `--quick` starts the tiny random model, once each.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from _compare import in_turn, load, one_line, spread
from _result import Goal, write_result

from clawjax.testing import free_port

ROOT = Path(__file__).resolve().parents[1]
IMPORT, HELP = "import clawjax.gateway.app", "experiments/run.py --help"
COMMANDS = {
    "import clawjax.gateway": ("-c", "import clawjax.gateway"),
    IMPORT: ("-c", "import clawjax.gateway.app"),
    HELP: ("experiments/run.py", "--help"),
}
TINY = ("model=tiny", "engine=tiny", "learner=tiny")

_READY_TIMEOUT_S = 900.0
_STOP_TIMEOUT_S = 120.0
_LOOK_S = 0.02

Row = dict[str, Any]

NOTES = {
    "import, --help": "wall time of a whole Python process, interpreter included; "
    "clawjax.gateway.app is all that the endpoint needs, the package itself imports nothing",
    "ready": "from starting the process of `experiments/run.py experiment=serve` to the first 200 "
    "of GET /healthz; every loop starts, the learner too",
    "first token": "from starting that process to the first text of a streamed chat completion, "
    "which is asked for as soon as it is ready",
    "cold, warm": "the engine's compilation cache is empty, or holds what a start before left; "
    "files are in the page cache of the system either way",
    "stopped": "from SIGINT to the end of the process",
}


class Size(NamedTuple):
    """How often each is done."""

    commands: int
    cold: int
    warm: int


FULL, QUICK = Size(commands=9, cold=3, warm=5), Size(commands=1, cold=1, warm=1)


class Start(NamedTuple):
    """Seconds from starting the process, and from the signal to its end."""

    ready_s: float
    first_token_s: float
    stopped_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    rows = [*command_rows(size), *start_rows(size, TINY if options.quick else ())]
    for row in rows:
        print(one_line(row))
    write_result(
        "startup_quick" if options.quick else "startup",
        rows,
        goals(rows),
        command="python benchmarks/startup.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def command_rows(size: Size) -> list[Row]:
    """Processes that only begin and end."""
    measured = in_turn(
        {name: partial(command_s, arguments) for name, arguments in COMMANDS.items()},
        rounds=size.commands,
    )
    return [
        {"case": name, "load": load()} | spread(values).as_row("seconds")
        for name, values in measured.items()
    ]


def command_s(arguments: Sequence[str]) -> float:
    """Seconds that a Python process takes.

    Raises:
        subprocess.CalledProcessError: it fails.
    """
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=_STOP_TIMEOUT_S,
    )
    return time.perf_counter() - began


def start_rows(size: Size, overrides: Sequence[str]) -> list[Row]:
    """Endpoints that start, answer once and stop: with empty caches, then with a filled one."""
    with tempfile.TemporaryDirectory(prefix="startup-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        cold = [start(root / f"cold{i}", root / f"xla{i}", overrides) for i in range(size.cold)]
        warm = [start(root / f"warm{i}", root / "xla0", overrides) for i in range(size.warm)]
    return [
        {"case": f"{what}, {state} compilation cache", "load": load()}
        | spread([getattr(one, field) for one in starts]).as_row("seconds")
        for state, starts in (("cold", cold), ("warm", warm))
        for what, field in (
            ("ready", "ready_s"),
            ("first token", "first_token_s"),
            ("stopped", "stopped_s"),
        )
    ]


def start(runs: Path, cache: Path, overrides: Sequence[str]) -> Start:
    """Start once, ask once, stop.

    Raises:
        RuntimeError: the process ended too early or badly; with what it had to say.
    """
    port = free_port()
    began = time.perf_counter()
    with running(runs, port, (f"engine.compilation_cache={cache}", *overrides)) as process:
        if not wait_until_ready(process, port):
            raise RuntimeError(_ended(process.wait(_STOP_TIMEOUT_S), runs))
        ready = time.perf_counter()
        wait_for_text(port)
        answered = time.perf_counter()
        process.send_signal(signal.SIGINT)
        code = process.wait(_STOP_TIMEOUT_S)
        stopped = time.perf_counter()
    if code != 0:
        raise RuntimeError(_ended(code, runs))
    print(f"  ready after {ready - began:.1f} s, first token after {answered - began:.1f} s")
    return Start(ready - began, answered - began, stopped - answered)


@contextmanager
def running(runs: Path, port: int, overrides: Sequence[str]) -> Generator[subprocess.Popen[bytes]]:
    """The serving command in a process, which does not outlive this."""
    runs.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "CLAWJAX_API_KEY"}
    with output_of(runs).open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "experiments/run.py",
                "experiment=serve",
                f"gateway.port={port}",
                *overrides,
            ],
            cwd=ROOT,
            env=environment | {"CLAWJAX_RUNS": str(runs)},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)


def output_of(runs: Path) -> Path:
    return runs / "output.txt"


def _ended(code: int, runs: Path) -> str:
    output = output_of(runs).read_text(encoding="utf-8", errors="replace")
    return f"the endpoint's process ended with {code}; the end of its output:\n{output[-2000:]}"


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return True at the first 200 of `/healthz`, False where the process ends before.

    Raises:
        TimeoutError: it is not ready within a quarter of an hour.
    """
    deadline = time.monotonic() + _READY_TIMEOUT_S
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while not is_ready(client):
            if process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                msg = f"the endpoint was not ready within {_READY_TIMEOUT_S:.0f} s"
                raise TimeoutError(msg)
            time.sleep(_LOOK_S)
    return True


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz", timeout=1.0).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def wait_for_text(port: int) -> None:
    """Ask for a streamed reply and return at its first text.

    Raises:
        RuntimeError: it ends without any.
    """
    body = {
        "messages": [{"role": "user", "content": "Describe a walk along a beach in winter."}],
        "max_tokens": 16,
        "stream": True,
    }
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    with (
        httpx.Client(trust_env=False, timeout=_STOP_TIMEOUT_S) as client,
        client.stream("POST", url, json=body) as response,
    ):
        response.raise_for_status()
        if not any(text_of(line) for line in response.iter_lines()):
            msg = "the reply ended without any text"
            raise RuntimeError(msg)


def text_of(line: str) -> str:
    """What a line of a completion's event stream adds to the reply; empty for all others."""
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line.removeprefix("data: "))["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Medians of what has a goal."""
    medians = {row["case"]: row["seconds"] for row in rows}
    return [
        Goal(IMPORT, "<=", 0.5, medians[IMPORT], "s"),
        Goal(HELP, "<=", 1.0, medians[HELP], "s"),
    ]


if __name__ == "__main__":
    main()
