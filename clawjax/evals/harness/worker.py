"""The process that an environment lives in: `python -m clawjax.evals.harness.worker`.

JSON lines on standard input and output: `{"op": ..., ...}` is answered by `{"ok": ...}` or
`{"error": ..., "is_outside": ...}`. What the environment prints goes to standard error, so it
cannot be mistaken for an answer. Ends when its input does.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from clawjax.evals.harness.failures import OutsideFailure
from clawjax.evals.harness.protocols import Environment
from clawjax.evals.harness.tasks import Action, Setup
from clawjax.evals.harness.trajectory import to_json

__all__ = ["answer", "main", "make"]

_TRACE_CHARACTERS = 4000


def make(factory: str, options: Mapping[str, Any]) -> Environment:
    """The environment that `module:callable` makes.

    Raises:
        ImportError, AttributeError: there is none such.
    """
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)(**options)


def answer(environment: Environment, request: Mapping[str, Any]) -> Any:
    """Do what was asked for; the result as JSON values."""
    match request["op"]:
        case "reset":
            return environment.reset(Setup(**request["setup"]))
        case "step":
            return to_json(environment.step(Action(**request["action"])))
        case "snapshot":
            return dict(environment.snapshot())
        case "inspect":
            return dict(environment.inspect(request["request"]))
    msg = f"op={request['op']!r} is unknown: use reset, step, snapshot or inspect"
    raise ValueError(msg)


def main() -> None:
    """Serve one environment until the input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    environment: Environment | None = None
    try:
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if request["op"] == "make":
                    environment = make(request["factory"], request["options"])
                    _write(replies, {"ok": None})
                else:
                    assert environment is not None, "the first request has to be make"
                    _write(replies, {"ok": answer(environment, request)})
            except Exception as error:  # the boundary: it becomes an environment error
                told = {
                    "error": f"{type(error).__name__}: {error}",
                    "trace": traceback.format_exc()[-_TRACE_CHARACTERS:],
                    "is_outside": isinstance(error, OutsideFailure),
                }
                _write(replies, told)
    finally:
        if environment is not None:
            environment.close()


def _write(replies: TextIO, reply: Mapping[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
