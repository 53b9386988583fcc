"""Steps of Mind2Web's released JSON: confirmed tasks with their actions and candidates.

A task: `{annotation_id, confirmed_task, website, action_reprs: [text], actions: [{operation: {op,
value}, pos_candidates, neg_candidates}]}`; a candidate has `backend_node_id`, `tag`, `attributes`
(JSON as text). AgentBench keeps those that a ranker put among the best ten; where the file has no
`rank`, the released order stands for it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.errors import ConfigError

__all__ = ["Candidate", "WebStep", "load_steps"]

TOP_K = 10
"""`eval.topk` in `configs/tasks/mind2web.yaml`."""


class Candidate(NamedTuple):
    """An element that may be chosen."""

    element: str
    text: str


class WebStep(NamedTuple):
    """One step of a task."""

    name: str
    task: str
    previous: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    """Right and wrong ones, shuffled."""
    gold: tuple[str, ...]
    """Right ones among them; empty where the ranker lost them all."""
    operation: str
    """E.g. `TYPE London`."""
    website: str


def load_steps(path: Path, *, seed: int = 123) -> tuple[tuple[WebStep, ...], str]:
    """All steps of a file or of a folder's JSON files, and their sha256.

    Raises:
        ConfigError: there is no such file.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files or not all(file.exists() for file in files):
        msg = f"suite.options.path={path} has no JSON: name Mind2Web's test file, or its folder"
        raise ConfigError(msg)
    digest = hashlib.sha256()
    found: list[WebStep] = []
    for file in files:
        content = file.read_bytes()
        digest.update(content)
        for task in json.loads(content):
            found += _steps(task, random.Random(f"{seed}:{task['annotation_id']}"))
    return tuple(found), digest.hexdigest()


def _steps(task: Mapping[str, Any], rng: random.Random) -> list[WebStep]:
    reprs = tuple(task.get("action_reprs", ()))
    return [_step(task, reprs, number, rng) for number in range(len(task["actions"]))]


def _step(
    task: Mapping[str, Any], reprs: tuple[str, ...], number: int, rng: random.Random
) -> WebStep:
    action = task["actions"][number]
    right, wrong = (_best(action[f"{sign}_candidates"]) for sign in ("pos", "neg"))
    candidates = [Candidate(str(each["backend_node_id"]), _text(each)) for each in (*right, *wrong)]
    rng.shuffle(candidates)
    told = action["operation"]
    return WebStep(
        name=f"{task['annotation_id']}/{number:02d}",
        task=task["confirmed_task"],
        previous=reprs[:number],
        candidates=tuple(candidates),
        gold=tuple(str(each["backend_node_id"]) for each in right),
        operation="CLICK" if told["op"] == "CLICK" else f"{told['op']} {told['value']}",
        website=task.get("website", ""),
    )


def _best(candidates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    ranked = [(each.get("rank", place), each) for place, each in enumerate(candidates)]
    return [each for rank, each in ranked if rank < TOP_K]


def _text(candidate: Mapping[str, Any]) -> str:
    attributes = candidate.get("attributes", "{}")
    held = json.loads(attributes) if isinstance(attributes, str) else attributes
    shown = " ".join(
        f"{name}={value}"
        for name, value in held.items()
        if name not in ("backend_node_id", "bounding_box_rect", "data_pw_testid_buckeye", "class")
    )
    return f"<{candidate.get('tag', 'div')} {shown}>"
