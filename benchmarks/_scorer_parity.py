"""The checks of `scorer_parity.py`, one function each; a further one is a function and its name.

Invariant: a check depends on nothing but its own data, and where that is missing it says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _result import Goal
from _tau_parity import agreeing_tasks, published_suite
from _verified_parity import PYTHON_VARIABLE, compare_verified, scorer_python
from _webarena_parity import compare, evaluators_file

from clawjax.errors import UnavailableError
from clawjax.evals.metrics.statistics import pass_hat_k
from clawjax.evals.metrics.summary import is_success
from clawjax.evals.suites.agentbench.dbbench.dataset import read_entries, tables_of
from clawjax.evals.suites.agentbench.dbbench.mysql import MySQL
from clawjax.evals.suites.agentbench.dbbench.rules import CHANGES, EDITIONS, is_right, same_hash
from clawjax.evals.suites.agentbench.overall import overall_score
from clawjax.evals.suites.gaia.scoring import is_match
from clawjax.evals.suites.webarena.records import find_tasks
from clawjax.evals.suites.webarena_verified.scorer import REQUIREMENT, PublishedScorer

__all__ = ["CHECKS", "Parity", "goal_of", "row_of"]

DATA = Path(__file__).parents[1] / "tests" / "data"
_ROUNDING = 0.01
"""The paper's table has two decimals, made from scores with one."""
_HALF_A_DIGIT = 0.0005
"""tau-bench's table has three decimals."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What a check found."""

    source: str
    items: int = 0
    agreeing: int = 0
    largest: float | None = None
    gap: str | None = None


def dbbench() -> Parity:
    """Gold statements give the published hash, and only they; labels are right answers."""
    source = "AgentBench, 60 development tasks of the database environment"
    file = DATA / "agentbench" / "dbbench_dev.jsonl"
    if not file.exists():
        return Parity(source, gap=f"{file} is missing")
    entries, _ = read_entries(file)
    return Parity(source, len(entries), sum(map(_is_reproduced, entries)))


def overall() -> Parity:
    """The weighted score over eight tasks, of every model in the paper's table."""
    source = "AgentBench, table 3 of arXiv:2308.03688, 27 models"
    file = DATA / "agentbench" / "overall_scores.json"
    if not file.exists():
        return Parity(source, gap=f"{file} is missing")
    table = json.loads(file.read_text(encoding="utf-8"))
    differences = [
        abs(overall_score(dict(zip(table["columns"][1:], scores, strict=True))) - published)
        for published, *scores in table["rows"].values()
    ]
    agreeing = sum(each <= _ROUNDING for each in differences)
    return Parity(source, len(differences), agreeing, max(differences))


def webarena() -> Parity:
    """All tasks, with evidence that has to pass and some that has to fail, beside the published."""
    source = "WebArena, 812 tasks, beside the published evaluators of libwebarena 0.0.5"
    evaluators = evaluators_file()
    if evaluators is None:
        return Parity(source, gap="libwebarena is not installed: bash scripts/setup_web.sh")
    found = compare(find_tasks().read_bytes(), evaluators)
    agreeing = set(found["agreeing"]) - set(found["unexpected"])
    return Parity(source, sum(map(len, found.values())) - len(found["unexpected"]), len(agreeing))


def verified() -> Parity:
    """Right answers and wrong ones to the response-only tasks, through the process that scores."""
    source = "WebArena-Verified, 324 response-only tasks, its own scorer (webarena-verified 1.2.3)"
    python = scorer_python()
    if python is None:
        gap = f"{PYTHON_VARIABLE} is missing: it names an interpreter with {REQUIREMENT}"
        return Parity(source, gap=gap)
    scorer = PublishedScorer(python)
    try:
        found = compare_verified(scorer)
    finally:
        scorer.close()
    return Parity(source, len(found), sum(not unexpected for unexpected in found.values()))


def gaia() -> Parity:
    """Pairs of an answer and a gold, beside the verdicts of the official scorer."""
    source = "GAIA, pairs of answer and gold beside the official scorer (inspect-evals 0.26.0)"
    file = DATA / "gaia" / "golden.jsonl"
    if not file.exists():
        return Parity(source, gap=f"{file} is missing")
    pairs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    agreeing = sum(is_match(each["answer"], each["gold"]) is each["match"] for each in pairs)
    return Parity(source, len(pairs), agreeing)


def tau_pass_k() -> Parity:
    """pass^k of a published run, from its rewards, for each k of the table."""
    source = "tau-bench, airline, pass^1 to pass^4 of gpt-4o from its 200 published trajectories"
    file = DATA / "tau" / "gpt_4o_airline.json"
    if not file.exists():
        return Parity(source, gap=f"{file} is missing")
    run = json.loads(file.read_text(encoding="utf-8"))
    counts = [(len(rewards), sum(map(is_success, rewards))) for rewards in run["rewards"]]
    found = {k: pass_hat_k(counts, int(k)) for k in run["published"]}
    differences = [
        abs(value - run["published"][k]) for k, value in found.items() if value is not None
    ]
    agreeing = sum(each <= _HALF_A_DIGIT for each in differences)
    return Parity(source, len(found), agreeing, max(differences, default=None))


def tau(domain: str) -> Parity:
    """Reference runs score 1 and end in the state that upstream's own tools leave."""
    source = f"tau2-bench, {domain}, beside the states that the tools of inspect-evals 0.28.0 leave"
    file = DATA / "tau" / "states.json"
    if not file.exists():
        return Parity(source, gap=f"{file} is missing")
    try:
        suite = published_suite(domain)
    except UnavailableError as missing:
        return Parity(source, gap=str(missing))
    states = json.loads(file.read_text(encoding="utf-8"))["published"][domain]
    return Parity(source, len(suite.tasks), len(agreeing_tasks(suite, states)))


CHECKS: dict[str, Callable[[], Parity]] = {
    "dbbench": dbbench,
    "gaia": gaia,
    "overall": overall,
    "verified": verified,
    "webarena": webarena,
    "tau_airline": partial(tau, "airline"),
    "tau_retail": partial(tau, "retail"),
    "tau_pass_k": tau_pass_k,
}


def row_of(name: str, parity: Parity) -> dict[str, Any]:
    """A check as a row of the result."""
    told = {"check": name, "source": parity.source}
    if parity.gap is not None:
        return {**told, "gap": parity.gap}
    return {
        **told,
        "items": parity.items,
        "agreeing": parity.agreeing,
        "largest": parity.largest,
    }


def goal_of(name: str, parity: Parity) -> Goal:
    """All items agree."""
    return Goal(f"{name}: items that disagree", "==", 0, parity.items - parity.agreeing, "items")


def _is_reproduced(entry: dict[str, Any]) -> bool:
    kind, label = entry["type"][0], entry["label"]
    if kind not in CHANGES:
        return all(is_right(json.dumps(label), label, edition) for edition in EDITIONS)
    database = MySQL(tables_of(entry))
    try:
        is_already = same_hash(database.fingerprint(), entry["answer_md5"])
        database.execute(label[0])
        return not is_already and same_hash(database.fingerprint(), entry["answer_md5"])
    finally:
        database.close()
