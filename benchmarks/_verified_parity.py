"""WebArena-Verified's own scorer on its response-only tasks, with answers right and wrong.

The right answer is built from each task's expected response, the wrong ones from it by changing one
thing at a time. Everything goes through the process that scores episodes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clawjax.evals.suites.webarena.records import PLACEHOLDERS
from clawjax.evals.suites.webarena_verified.answers import right_answer
from clawjax.evals.suites.webarena_verified.records import Needs, VerifiedTask, read_verified
from clawjax.evals.suites.webarena_verified.scorer import PublishedScorer, Question
from clawjax.evals.suites.webarena_verified.scoring import scored

__all__ = ["PYTHON_VARIABLE", "UNSOLVABLE", "compare_verified", "scorer_python", "wrong_answers"]

PYTHON_VARIABLE = "CLAWJAX_VERIFIED_PYTHON"
"""Environment variable with the interpreter that has the package."""

UNSOLVABLE = frozenset({319})
"""Tasks that no answer solves: their expected response lacks `retrieved_data`, which 1.2.3 then
misses in every answer."""

_SITES = {each: [f"http://{name}.test:7770"] for name, each in PLACEHOLDERS.items()}
_WRONG = "nothing of the kind"


def scorer_python() -> str | None:
    """The interpreter that has the scorer; None: nobody said."""
    return os.environ.get(PYTHON_VARIABLE) or None


def wrong_answers(task: VerifiedTask) -> Iterator[str | None]:
    """Answers that have to fail."""
    right = json.loads(right_answer(task))
    yield from (None, "", "Done.", "{}", right["status"], '{"status": 5}')
    yield json.dumps(right | {"task_type": "NAVIGATE"})
    is_success = right["status"] == "SUCCESS"
    yield json.dumps(right | {"status": "UNKNOWN_ERROR" if is_success else "SUCCESS"})
    items = right["retrieved_data"] or []
    if not items and right["task_type"] == "RETRIEVE":
        yield json.dumps(right | {"retrieved_data": [_WRONG]})
    for index, item in enumerate(items):
        others = items[:index] + items[index + 1 :]
        yield json.dumps(right | {"retrieved_data": others})
        for each in _changed(item):
            yield json.dumps(right | {"retrieved_data": [*others, each]})


def compare_verified(scorer: PublishedScorer) -> dict[int, list[str | None]]:
    """Of each response-only task the answers that were not scored as they should be; None is one.

    Raises:
        EvalError: the scorer broke down.
    """
    data = Path(scorer.installed().data)
    tasks = [each for each in read_verified(data.read_bytes()) if each.needs is Needs.RESPONSE]
    return {task.task_id: asyncio.run(_unexpected(scorer, data, task)) for task in tasks}


async def _unexpected(scorer: PublishedScorer, data: Path, task: VerifiedTask) -> list[str | None]:
    best = 0.0 if task.task_id in UNSOLVABLE else 1.0
    answers = [(right_answer(task), best), *((each, 0.0) for each in wrong_answers(task))]
    return [
        answer
        for answer, expected in answers
        if await _score(scorer, data, task, answer) != expected
    ]


async def _score(
    scorer: PublishedScorer, data: Path, task: VerifiedTask, answer: str | None
) -> float | None:
    return (await scored(scorer, task, Question(data, task.task_id, answer, None, _SITES))).value


def _changed(item: Any) -> Iterator[Any]:
    """The same with one value changed, each in turn."""
    if isinstance(item, Mapping):
        for name, value in item.items():
            yield from ({**item, name: each} for each in _changed(value))
    elif isinstance(item, int | float) and not isinstance(item, bool):
        yield item + 1
    else:
        yield _WRONG
