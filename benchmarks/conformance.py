"""Do servers speak SGLang's protocol, and are their log-probs those of their own scoring?

    python benchmarks/conformance.py [--sglang-jax PYTHON]
        [--sglang-url http://HOST:PORT [--sglang-api-key KEY]]

Runs `tests/conformance`, one row per test: against `python -m clawjax.engine.server` with a tiny
random model, started in a process of its own; then against the real sglang-jax, started by
`clawjax.engine.sglang_jax` with such a model, where PYTHON is the interpreter of an environment
that has it (`_sglang_jax.py` says how one is made); and against the server at the URL, if one is
given. The shapes are those of recorded answers of sglang-jax. Takes some minutes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from _result import Goal, largest, write_result
from _sglang_jax import running_sglang_jax, write_model

CASES = Path(__file__).parents[1] / "tests" / "conformance"
OURS, LAUNCHED = "clawjax.engine.server", "sglang-jax by clawjax.engine.sglang_jax"
ROOM = ("--context-length=512", "--max-total-tokens=4096", "--max-running-requests=4",
        "--precompile-bs-paddings=4")  # fmt: skip
"""What the cases take."""
PARITY = 1e-4
_IMPORTED_BEFORE = "ignore::pytest.PytestAssertRewriteWarning"
"""This process has imported what pytest plugins would rather import themselves."""
MEASURED = "largest difference of log-probs"
NOTES = {
    "outcome": "passed, failed, or skipped where the server does not offer what is tested",
    "seconds": "of the test alone, compilation included where it is the first to need a program",
    MEASURED: "in nats, between what `/generate` reported of 64 tokens drawn at temperature 1 and "
    "what the server says when it is asked to score the same tokens",
}

Row = dict[str, object]


class Collected:
    """A pytest plugin: what became of each test."""

    def __init__(self, server: str) -> None:
        self.rows: list[Row] = []
        self._server = server

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pytest calls this after each phase of each test."""
        if report.when != "call" and report.outcome == "passed":
            return
        row: Row = {
            "server": self._server,
            "case": report.nodeid.rpartition("::")[2],
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
        }
        if report.outcome == "failed":
            row["why"] = first_error(report.longreprtext)
        self.rows.append(row | dict(report.user_properties))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sglang-jax", metavar="PYTHON")
    parser.add_argument("--sglang-url")
    parser.add_argument("--sglang-api-key")
    options = parser.parse_args()
    rows = run(OURS, [])
    measured = goals(OURS, rows)
    if options.sglang_jax:
        found = run_launched(options.sglang_jax)
        rows, measured = rows + found, measured + goals(LAUNCHED, found)
    if options.sglang_url:
        arguments = ["--sglang-url", options.sglang_url]
        if options.sglang_api_key:
            arguments += ["--sglang-api-key", options.sglang_api_key]
        theirs = name_of(options.sglang_url, options.sglang_api_key)
        found = run(theirs, arguments)
        rows, measured = rows + found, measured + goals(theirs, found)
    write_result(
        "conformance",
        rows,
        measured,
        command="python benchmarks/conformance.py"
        + (" --sglang-jax PYTHON" if options.sglang_jax else "")
        + (" --sglang-url URL" if options.sglang_url else ""),
        notes=NOTES,
    )


def run_launched(python: str) -> list[Row]:
    """All cases against the real sglang-jax with a tiny random model."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        model = write_model(Path(folder) / "model", seed=0)
        log = Path(folder) / "server.log"
        with running_sglang_jax(python, model, log, options=ROOM) as url:
            return run(LAUNCHED, ["--sglang-url", url])


def run(server: str, arguments: Sequence[str]) -> list[Row]:
    """All cases against one server."""
    collected = Collected(server)
    quiet = ("-q", "-p", "no:cacheprovider", "-W", _IMPORTED_BEFORE)
    pytest.main([str(CASES), *quiet, *arguments], plugins=[collected])
    return collected.rows


def goals(server: str, rows: Sequence[Row]) -> list[Goal]:
    """Enough is tried, nothing fails, and log-probs agree."""
    outcomes = [row["outcome"] for row in rows]
    parity = [value for row in rows if isinstance(value := row.get(MEASURED), float)]
    return [
        Goal(f"{server}: cases that pass", ">=", 50, outcomes.count("passed"), "cases"),
        Goal(f"{server}: cases that fail", "==", 0, outcomes.count("failed"), "cases"),
        Goal(f"{server}: {MEASURED}", "<=", PARITY, largest(parity), "nats"),
    ]


def name_of(url: str, api_key: str | None) -> str:
    """What a server says it is."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    info = httpx.get(f"{url}/get_server_info", headers=headers, timeout=30).json()
    return f"{info.get('server', 'sglang')} {info.get('version', 'of unknown version')}"


def first_error(text: str) -> str:
    """The first line of a failure that says what was wrong."""
    lines = [line for line in text.splitlines() if line.startswith("E ")]
    return lines[0].removeprefix("E").strip()[:200] if lines else text[-200:]


if __name__ == "__main__":
    main()
