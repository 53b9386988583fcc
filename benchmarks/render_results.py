"""Writes `docs/results.md`, `docs/performance.md`, `docs/reliability.md`, `benchmarks/README.md`.

    python benchmarks/render_results.py

Invariant: the pages are functions of the committed `benchmarks/results/*.json` and of the scripts'
docstrings, so that a number on them is one of theirs; a result that is not there leaves its section
out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _benchmarks_page import render_readme, scripts
from _markdown import commit, interval, number, table
from _performance_page import render_performance
from _personal_page import CURVES, panels, personal_sections, unmet_sections
from _result import RESULTS
from _reward_page import reward_sections
from reliability.page import render_reliability

from clawjax.evals.plot import plot_curves

FOLDER = Path(__file__).resolve().parent
PAGE, README = FOLDER.parent / "docs" / "results.md", FOLDER / "README.md"
RELIABILITY_PAGE = PAGE.with_name("reliability.md")
PERFORMANCE_PAGE = PAGE.with_name("performance.md")
PERSONAL, UNMET = "personal", "personal_unmet"
ABLATIONS, CLIENTS = "ablations", "clients"

Row = Mapping[str, Any]
Result = Mapping[str, Any]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    results = read_results(RESULTS)
    if PERSONAL in results:
        picture = PAGE.parent / CURVES
        picture.parent.mkdir(parents=True, exist_ok=True)
        plot_curves(picture, panels(results[PERSONAL]))
        print(f"written: docs/{CURVES}")
    PAGE.write_text(render(results), encoding="utf-8")
    RELIABILITY_PAGE.write_text(render_reliability(results), encoding="utf-8")
    PERFORMANCE_PAGE.write_text(render_performance(results), encoding="utf-8")
    README.write_text(render_readme(scripts(FOLDER), results), encoding="utf-8")
    print("written: docs/{results,reliability,performance}.md, benchmarks/README.md")


def read_results(folder: Path) -> dict[str, Result]:
    """Everything in the shape of `_result.write_result`, by name; quick runs measure nothing."""
    found = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob("*.json"))
        if not file.stem.endswith("_quick")
    }
    return {name: result for name, result in found.items() if "goals" in result}


def render(results: Mapping[str, Result]) -> str:
    """The whole page."""
    parts = ["# Results", _INTRODUCTION]
    if PERSONAL in results:
        parts += personal_sections(results[PERSONAL])
    if UNMET in results:
        parts += unmet_sections(results[UNMET])
    parts += reward_sections(results)
    if ABLATIONS in results:
        parts += [
            "## Ablations of the objectives",
            ablations(results[ABLATIONS], results.get(PERSONAL)),
        ]
    if CLIENTS in results:
        parts += ["## Clients", clients(results[CLIENTS])]
    parts += ["## All goals", goals(results), provenance(results)]
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """\
Made from `benchmarks/results/*.json` by `python benchmarks/render_results.py`; a test holds the
page to those files. Whether a goal is met is computed, and a missed goal stays in the list."""


def goals(results: Mapping[str, Result]) -> str:
    rows = [
        [
            name,
            goal["name"].replace("|", "\\|"),
            f"{goal['op']} {goal['target']:g}",
            f"{number(goal['value'], '.3g', 'not measured')} {goal['unit']}",
            "met" if goal["met"] else "**not met**",
        ]
        for name, result in results.items()
        for goal in result["goals"]
    ]
    return table(["benchmark", "measured", "goal", "value", ""], rows)


def provenance(results: Mapping[str, Result]) -> str:
    rows = [
        [
            name,
            f"`{result['command']}`",
            commit(result["commit"]),
            f"{result['machine']['cores']} cores, {result['machine']['cpu']}",
            f"{result['versions']['python']}, {result['versions']['jax']}",
        ]
        for name, result in results.items()
    ]
    return table(["benchmark", "command", "commit", "machine", "Python, jax"], rows)


_ABLATED = """\
held-out style, the bootstrap interval of a trial's replies, and
KL to the base in nats per token. An interval says nothing about other seeds, which move a style
score by more: where two settings have one trial each, their order is not settled. What chance does
is seen in `hint_choice`: the hint that `quote` ranks first is all that the user complained of, and
so the longest, which makes `first` and `longest` two trials of the same algorithm. `far_behind` is
`staleness=16` on further seeds; 13 to 16 of the 96 turns of each of its trials were dropped for
their age, since reactions to them came two rounds later, which the suite allows for by now."""


def ablations(result: Result, personal: Result | None) -> str:
    """One row per trial, and what the base model does for the same user."""
    rows = result["rows"]
    commits = ", ".join(map(commit, dict.fromkeys(row["git_sha"] for row in rows)))
    lines = [
        [
            row["ablation"],
            row["setting"],
            row["persona"],
            str(row["seed"]),
            number(row["style_score"], ".2f"),
            interval(row["ci"]),
            number(row["kl_per_token"], ".3f"),
            str(row["trained"]),
        ]
        for row in (*_untrained(rows, personal), *rows)
    ]
    head = ["ablation", "setting", "persona", "seed", "style", "95 %", "KL", "turns trained on"]
    return f"`{result['command']}`: {_ABLATED} Measured at {commits}.\n\n{table(head, lines)}"


def _untrained(trials: Sequence[Row], personal: Result | None) -> list[Row]:
    """The base model's trials of the same personas and seeds, as far as they were measured."""
    wanted = {(trial["persona"], trial["seed"]) for trial in trials}
    return [
        {**row, "ablation": "none", "setting": "base model", "trained": 0}
        for row in ([] if personal is None else personal["rows"])
        if row.get("method") == "base" and (row.get("persona"), row.get("seed")) in wanted
    ]


def clients(result: Result) -> str:
    """One row per client, as it was installed."""
    lines = [
        [
            row["client"],
            row["version"] or "",
            f"{row['linked_right']} of {row['turns']}",
            str(row["sides"]),
            ", ".join(row["keys"]),
            "yes" if row["ok"] else f"**no**: {row['reason']}".replace("|", "\\|"),
        ]
        for row in result["rows"]
    ]
    head = ["client", "version", "turns linked right", "side requests", "session's name", "works"]
    return f"`{result['command']}`; set up as in [clients.md](clients.md).\n\n{table(head, lines)}"


if __name__ == "__main__":
    main()
