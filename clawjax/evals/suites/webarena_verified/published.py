"""The published scorer as a process: `python -I published.py`, by the interpreter that has it.

JSON lines. The first that it writes says what is installed, `{"ok": {"version", "data"}}`, `data`
being the package's own task file, or `{"error": ...}`. Then each request, `{"data", "task_id",
"agent_response", "har", "sites"}` (`har` null where there were no requests, `sites` a list of
addresses by placeholder), has one answer: `{"ok": {"status", "score", "error", "evaluators":
[{"name", "status", "score", "said", "error"}]}}` or `{"error": ...}`. Ends when its input does.

Depends on `webarena-verified` and the standard library only: no other part of this project can be
imported here. What the package prints goes to standard error.
"""

# The package is in the environment that runs this, not in the one that type checks it.
# pyright: reportMissingImports=false
from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = "webarena_verified"


def installed() -> dict[str, str]:
    """Version of the package, and its task file; nothing of it is imported.

    Raises:
        ImportError: it is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        msg = f"{sys.executable} has no webarena-verified"
        raise ImportError(msg)
    data = Path(spec.origin).parent / "assets" / "dataset" / "webarena-verified.json"
    return {"version": importlib.metadata.version("webarena-verified"), "data": str(data)}


@cache
def _evaluator(data: str, sites: str) -> Any:
    from webarena_verified.api.internal.evaluator import WebArenaVerifiedEvaluator
    from webarena_verified.types.config import WebArenaVerifiedConfig

    if not Path(data).is_file():  # the package would silently take its own tasks instead
        msg = f"there is no task file {data}"
        raise FileNotFoundError(msg)
    places = {name: {"urls": urls} for name, urls in json.loads(sites).items()}
    config = WebArenaVerifiedConfig.model_validate({"test_data_file": data, "environments": places})
    return WebArenaVerifiedEvaluator(config=config, reader=_reader(data))


@cache
def _reader(data: str) -> Any:
    """The tasks; as a subset, because a file is otherwise refused that has not all 812."""
    from webarena_verified.api.internal.data_reader import WebArenaVerifiedDataReader
    from webarena_verified.types.config import WebArenaVerifiedConfig
    from webarena_verified.types.data import TaskSubset

    ids = [entry["task_id"] for entry in json.loads(Path(data).read_text(encoding="utf-8"))]
    subset = TaskSubset(task_ids=ids, checksum=TaskSubset.compute_checksum(ids))
    config = WebArenaVerifiedConfig.model_validate({"test_data_file": data})
    return WebArenaVerifiedDataReader(config, subset)


def score(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the package makes of an answer and the requests."""
    from webarena_verified.types.tracing import NetworkTrace

    har = request["har"]
    if har is None:  # a trace has to be there, but answers are scored without looking at it
        trace = NetworkTrace.model_construct(is_playwright=False, src_file=Path(), events=())
    else:
        trace = Path(har)
    evaluator = _evaluator(request["data"], json.dumps(request["sites"], sort_keys=True))
    result = evaluator.evaluate_task(
        task_id=request["task_id"],
        agent_response=request["agent_response"],
        network_trace=trace,
    )
    return {
        "status": str(result.status),
        "score": result.score,
        "error": result.error_msg,
        "evaluators": [_told(each) for each in result.evaluators_results],
    }


def _told(result: Any) -> dict[str, Any]:
    failed = [each for each in result.assertions or () if not each.is_success]
    return {
        "name": result.evaluator_name,
        "status": str(result.status),
        "score": result.score,
        "said": [": ".join((each.assertion_name, *(each.assertion_msgs or ()))) for each in failed],
        "error": result.error_msg,
    }


def main() -> None:
    """Serve until the input ends."""
    logging.disable(logging.CRITICAL)  # what fails is in the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(work: Any) -> None:
        try:
            told = {"ok": work()}
        except Exception as error:  # the boundary: it becomes a scorer error
            told = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(told) + "\n")
        answers.flush()

    answer(installed)
    for line in sys.stdin:
        answer(lambda line=line: score(json.loads(line)))


if __name__ == "__main__":
    main()
