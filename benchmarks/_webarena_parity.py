"""Our scorer of WebArena's tasks beside the published one, on all 812, right and wrong.

For every task evidence is made from its references that has to pass, and from that, by changing one
thing at a time, evidence that has to fail. The published evaluators are read from the installed
`libwebarena` and run on the same, with stand-ins for browser and clock; in place of the model a
judge compares texts, on both sides.
"""

from __future__ import annotations

import ast
import asyncio
import collections
import html
import importlib.util
import json
import tempfile
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clawjax.evals.suites.webarena.judge import fuzzy_prompt
from clawjax.evals.suites.webarena.records import (
    PLACEHOLDERS,
    WebTask,
    at_sites,
    placed,
    read_tasks,
)
from clawjax.evals.suites.webarena.scoring import evaluate
from clawjax.evals.suites.webarena.tokens import tokens

__all__ = ["SITES", "Evidence", "TextJudge", "compare", "evaluators_file", "variants"]

SITES = {each: f"http://{name}.test:7770" for name, each in PLACEHOLDERS.items()}
_WRONG = "nothing of the kind"
_ASKED = ("reference answer: ", "student answer: ")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an agent left behind."""

    answer: str
    url: str
    contents: tuple[str, ...]


class TextJudge:
    """Finds an answer correct that contains the reference, and any reason different."""

    name = "text"

    async def ask(self, prompt: str) -> str:
        """A verdict on one of the harness's questions."""
        return self.verdict(prompt)

    @staticmethod
    def verdict(prompt: str) -> str:
        """The same, at once."""
        found = [
            line.removeprefix(start).lower()
            for start in _ASKED
            for line in prompt.splitlines()
            if line.startswith(start)
        ]
        if len(found) != len(_ASKED):
            return "different"
        return "correct" if found[0].strip() in found[1] else "incorrect"


def evaluators_file() -> Path | None:
    """The published evaluators; None where `libwebarena` is not installed."""
    spec = importlib.util.find_spec("webarena")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "evaluation_harness" / "evaluators.py"
        if file.is_file():
            return file
    return None


def variants(task: WebTask) -> Iterator[tuple[Evidence, bool]]:
    """Evidence and whether it should pass: the right one first."""
    right = Evidence(_answer(task), _url(task), tuple(map(_content, task.targets)))
    yield right, True
    if "string_match" in task.evaluators:
        yield replace(right, answer=_WRONG), False
        yield replace(right, answer=""), False
        for each in _shortened(task.reference_answers.get("must_include", [])):
            yield replace(right, answer=each), False
    if "url_match" in task.evaluators:
        yield replace(right, url="http://elsewhere.test/"), False
        if "?" in right.url:
            yield replace(right, url=right.url.partition("?")[0]), False
    for index in range(len(task.targets)):
        contents = [*right.contents]
        contents[index] = _WRONG
        yield replace(right, contents=tuple(contents)), False


def compare(content: bytes, evaluators: Path) -> dict[str, list[int]]:
    """Tasks by what was found: `agreeing`, `disagreeing`, and those `unexpected` on both sides.

    Args:
        content: a task file.
        evaluators: the published `evaluators.py`.
    """
    published = _Published(evaluators, json.loads(content))
    found: dict[str, list[int]] = {"agreeing": [], "disagreeing": [], "unexpected": []}
    for task in (placed(each, SITES) for each in read_tasks(content)):
        pairs = [
            (_ours(task, evidence), published.score(task, evidence), expected)
            for evidence, expected in variants(task)
        ]
        is_same = all(ours == theirs for ours, theirs, _ in pairs)
        found["agreeing" if is_same else "disagreeing"].append(task.task_id)
        if is_same and any(ours != expected for ours, _, expected in pairs):
            found["unexpected"].append(task.task_id)
    return found


def _ours(task: WebTask, evidence: Evidence) -> bool:
    verdicts = evaluate(
        task,
        answer=evidence.answer,
        url=evidence.url,
        contents=evidence.contents,
        sites=SITES,
        judge=TextJudge(),
    )
    return all(asyncio.run(verdicts).values())


class _Published:
    """The published evaluators, in a namespace of stand-ins."""

    def __init__(self, file: Path, entries: list[Mapping[str, Any]]) -> None:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        kept = [each for each in tree.body if isinstance(each, ast.ClassDef | ast.FunctionDef)]
        names: dict[str, Any] = dict.fromkeys(
            ("Action", "StateInfo", "Page", "PseudoPage", "CDPSession", "Trajectory"), Any
        )
        names |= {
            "beartype": lambda function: function,
            "collections": collections,
            "html": html,
            "json": json,
            "time": SimpleNamespace(sleep=lambda seconds: None),
            "urllib": urllib,
            "word_tokenize": tokens,
            "Path": Path,
            "Any": Any,
            "llm_fuzzy_match": _fuzzy,
            "llm_ua_match": lambda pred, reference, question: 0.0,
            **{name: lambda *given: "" for name in _HELPERS},
        }
        header = ast.parse("from __future__ import annotations").body
        exec(compile(ast.Module(header + kept, []), str(file), "exec"), names)  # noqa: S102 - the code that is compared with
        self._route = names["evaluator_router"]
        self._names = names
        self._entries = {
            entry["task_id"]: json.loads(at_sites(json.dumps(entry), SITES)) for entry in entries
        }

    def score(self, task: WebTask, evidence: Evidence) -> bool:
        contents = iter(evidence.contents)

        def found(*given: Any) -> str:
            return next(contents)

        self._names |= dict.fromkeys(_LOCATORS, found)
        page = SimpleNamespace(url=evidence.url, content=found, evaluate=_evaluator(found))
        page.goto = page.close = lambda *given: None
        page.context = SimpleNamespace(new_page=lambda: page)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
            json.dump(self._entries[task.task_id], config)
            config.flush()
            evaluator = self._route(config.name)
            return evaluator([{}, {"answer": evidence.answer}], config.name, page, None) == 1.0


_LOCATORS = (
    "shopping_get_sku_latest_review_author",
    "shopping_get_sku_latest_review_rating",
    "gitlab_get_project_memeber_role",
)
_HELPERS = ("shopping_get_latest_order_url", "reddit_get_post_url", *_LOCATORS)


def _evaluator(found: Any) -> Any:
    """Preparing actions find nothing."""
    return lambda script: None if script.endswith(".click()") else found()


def _fuzzy(pred: str, reference: str, question: str) -> float:
    return float(TextJudge.verdict(fuzzy_prompt(pred, reference, question)) == "correct")


def _answer(task: WebTask) -> str:
    parts = [
        each if isinstance(each, str) else ", ".join(each)
        for each in task.reference_answers.values()
    ]
    return ", ".join(parts)


def _shortened(phrases: list[str]) -> Iterator[str]:
    """Answers that lack one of the phrases."""
    for index, phrase in enumerate(phrases):
        rest = ", ".join(phrases[:index] + phrases[index + 1 :])
        if phrase.lower().strip() not in rest.lower():
            yield rest


def _url(task: WebTask) -> str:
    return task.reference_url.split(" |OR| ")[0] or "http://elsewhere.test/"


def _content(target: Any) -> str:
    if "exact_match" in target.required:
        return target.required["exact_match"]
    return " ".join(each.split(" |OR| ")[0] for each in target.required["must_include"])
