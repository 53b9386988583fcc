"""A peer's half of the conversation with a benchmark: a line of JSON in, a line of JSON out.

Needs nothing but the standard library: it runs in the peer's own environment. What libraries print
goes to stderr, so that stdout carries answers only.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["serve"]


def serve(commands: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Answer `{"command": name, **arguments}` until stdin ends; a failure is an answer too."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = commands[asked.pop("command")](**asked)
        except Exception as error:
            traceback.print_exc()  # and to the person
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
