"""`docs/performance.md` from the committed results. Pure.

Invariant: a figure on the page is one of a result's; what was not measured is said to be missing,
and a goal that is missed stands beside what explains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from _markdown import goal_table, not_measured, number, origin, table
from _performance_words import AFTER, EXPLAINED, INTRODUCTION, MEMORY, SCRIPTS

__all__ = ["render_performance"]

Result = Mapping[str, Any]
_PART = "part: "
_SHOWN = 0.005
"""A part of the work that takes a smaller share everywhere has no column."""


def render_performance(results: Mapping[str, Result]) -> str:
    """The whole page.

    Args:
        results: by name; those of other scripts than `SCRIPTS` do not matter.
    """
    parts = [INTRODUCTION, "## Where the time goes", *_profile(results.get("profiles"))]
    parts += ["## Where the memory goes", *_memory(results.get("memory"))]
    parts.append("## Beside others, and against the goals")
    for name, title in SCRIPTS.items():
        parts += [f"### {title}", *_section(name, results.get(name))]
    return "\n\n".join([*parts, AFTER]) + "\n"


def _profile(result: Result | None) -> Iterator[str]:
    if result is None:
        yield not_measured("profiles")
        return
    rows = result["rows"]
    yield origin(result)
    yield table(
        ["", "tokens/s", "the machine's limit", "of it", "device busy"],
        [
            [
                row["case"],
                number(row["tokens_per_s"], ".0f"),
                number(row["limit_tokens_per_s"], ".0f"),
                number(row["share_of_limit"], ".0%"),
                number(row["busy"], ".0%"),
            ]
            for row in rows
        ],
    )
    named = [key for key in rows[0] if key.startswith(_PART)]
    shown = [key for key in named if any(row[key] >= _SHOWN for row in rows)]
    yield table(
        ["share of the device's time", *(row["case"] for row in rows)],
        [
            [key.removeprefix(_PART), *(number(row[key], ".1%") for row in rows)]
            for key in sorted(shown, key=lambda key: -max(row[key] for row in rows))
        ],
    )
    yield "\n".join(f"- *{name}*: {words}." for name, words in result["notes"].items())


def _memory(result: Result | None) -> Iterator[str]:
    if result is None:
        yield not_measured("memory")
        return
    yield origin(result)
    yield table(
        ["of a serving process", "MiB", "bytes of its arrays, MiB", "programs", "MiB each"],
        [
            [
                row["part"].removeprefix("programs: "),
                number(row["mib"], ".0f"),
                number(row["counted_mib"], ".0f"),
                number(row["programs"], "d"),
                number(row["mib_each"], ".0f"),
            ]
            for row in result["rows"]
        ],
    )
    yield MEMORY


def _section(name: str, result: Result | None) -> Iterator[str]:
    if result is None:
        yield not_measured(name)
        return
    yield origin(result)
    yield goal_table(result, ".3g")
    if name in EXPLAINED and not all(goal["met"] for goal in result["goals"]):
        yield EXPLAINED[name]
