"""WebArena's score of an episode, from its record: the product of the task's evaluators, 0 or 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawjax.evals.suites.webarena.judge import (
    Judge,
    fuzzy_prompt,
    read_fuzzy,
    read_ua,
    ua_prompt,
)
from clawjax.evals.suites.webarena.matching import (
    clean_answer,
    contents_match,
    exact_match,
    must_include,
    url_match,
)
from clawjax.evals.suites.webarena.records import WebTask, placed

__all__ = ["evaluate", "string_match"]

_NOT_ACHIEVABLE = "N/A"


async def evaluate(
    task: WebTask,
    *,
    answer: str,
    url: str,
    contents: Sequence[str],
    sites: Mapping[str, str],
    judge: Judge | None = None,
) -> dict[str, float]:
    """The verdict of each of the task's evaluators.

    Args:
        task: what was to be done.
        answer: what the agent stopped with; empty if with nothing.
        url: of the page in front at the end.
        contents: what was found where each target looks, in order.
        sites: addresses by placeholder.
        judge: for tasks that need one.

    Raises:
        ValueError: a task needs a judge and there is none, its verdict cannot be read, or there is
            not one content per target.
    """
    task = placed(task, sites)
    verdicts: dict[str, float] = {}
    for name in task.evaluators:
        if name == "string_match":
            verdict = await string_match(task, answer, judge)
        elif name == "url_match":
            if task.url_note != "GOLD in PRED":
                msg = f"url_note={task.url_note!r} is unknown: WebArena has GOLD in PRED only"
                raise ValueError(msg)
            verdict = url_match(task.reference_url, url)
        else:
            pairs = list(zip(task.targets, contents, strict=True))
            verdict = all(contents_match(target.required, found) for target, found in pairs)
        verdicts[name] = float(verdict)
    return verdicts


async def string_match(task: WebTask, answer: str, judge: Judge | None) -> bool:
    """The answer against all references; a judge is only asked where they leave it open.

    Raises:
        ValueError: see `evaluate`.
    """
    answer = clean_answer(answer)
    is_right = True
    for kind, reference in task.reference_answers.items():
        if kind == "exact_match":
            is_right = is_right and exact_match(reference, answer)
        elif kind == "must_include":
            alone = len(reference) == 1
            is_right = is_right and all(
                must_include(each, answer, tokenize=alone) for each in reference
            )
        elif kind == "fuzzy_match" and reference == _NOT_ACHIEVABLE:
            is_right = (is_right and exact_match(reference, answer)) or read_ua(
                await _ask(judge, ua_prompt(answer, task.string_note, task.intent))
            )
        elif kind == "fuzzy_match":
            for each in reference if is_right else ():
                reply = await _ask(judge, fuzzy_prompt(answer, each, task.intent))
                is_right = is_right and read_fuzzy(reply)
        else:
            msg = f"reference_answers has {kind!r}, which WebArena does not have"
            raise ValueError(msg)
    return is_right


async def _ask(judge: Judge | None, prompt: str) -> str:
    if judge is None:
        msg = "this answer needs a judge: set suite.options.judge_url and judge_model"
        raise ValueError(msg)
    return await judge.ask(prompt)
