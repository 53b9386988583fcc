"""`docs/reliability.md` from the committed results. Pure.

Invariant: a figure on the page is one of a result's; what was not measured is said to be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from _markdown import goal_table, not_measured, number, origin, table

from .promises import AFTER, INTRODUCTION, PROMISES

__all__ = ["MEASURED", "render_reliability"]

Result = Mapping[str, Any]

MEASURED = {
    "reliability": "Processes killed, weights resumed, streams while the learner trains",
    "soak": "Hours in minutes: what grows with use",
    "fuzz": "Bad input",
    "injection": "Texts that try to be more than text",
}
"""Results that the page shows where they are there, and what they are about."""
_OBJECT_BYTES = 80
_VERSIONS_A_DAY = 86_400 / 40
"""At a version every 40 seconds, as the default model makes them on two cores."""


def render_reliability(results: Mapping[str, Result]) -> str:
    """The whole page.

    Args:
        results: by name; those that are not of `MEASURED` do not matter.
    """
    parts = [INTRODUCTION, "## What is promised, and how it is tested", _promises()]
    parts += ["## Figures"]
    for name, title in MEASURED.items():
        parts.append(f"### {title}")
        parts += _section(name, results.get(name))
    return "\n\n".join([*parts, AFTER]) + "\n"


def _promises() -> str:
    rows = [
        [each.promise, each.how, " ".join(f"`{test}`" for test in each.tests)] for each in PROMISES
    ]
    return table(["promise", "how it is kept", "test"], rows)


def _section(name: str, result: Result | None) -> Iterator[str]:
    if result is None:
        yield not_measured(name)
        return
    yield origin(result)
    yield goal_table(result, ".4g")
    if name == "reliability":
        yield from _crash(result["rows"])
        yield from _availability(result["rows"])
    elif name == "soak":
        yield _soak(result["rows"])


def _crash(rows: Sequence[Result]) -> Iterator[str]:
    for row in (row for row in rows if row["case"] == "kill -9"):
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(row["dropped_why"].items()))
        nobody = row["attempts"] - row["broken_off"] - row["answered"]  # of requests, not ratings
        yield (
            f"{row['killed_serve']} kills of gateway, engine and judges, {row['killed_learn']} of "
            f"the learner, {row['killed_run']} of the supervisor in {row['minutes']:.0f} minutes. "
            f"Clients made {row['attempts']} attempts in {row['sessions']} conversations, of which "
            f"{nobody} found nobody and {row['broken_off']} broke off; "
            f"{row['answered']} were answered to the last byte. The log has {row['logged']} turns: "
            f"{row['trained']} trained, {row['dropped']} dropped ({why}), {row['queued']} queued. "
            f"Stopping in order while people talked took {row['stop_s']:.1f} s."
        )
    for row in (row for row in rows if row["case"] == "resume"):
        yield (
            f"Killed {row['kills']} times on the way, a learner made {row['versions']} versions of "
            f"{row['turns']} recorded turns, of which {row['different_versions']} differ in a bit "
            "from those of a learner that was left alone."
        )


def _availability(rows: Sequence[Result]) -> Iterator[str]:
    found = [row for row in rows if row["case"] == "availability"]
    if not found:
        return
    lines = [
        [
            row["state"],
            str(row["replies"]),
            str(row["non_2xx"]),
            str(row["dropped"]),
            str(row.get("versions", "")),
            *(_quantiles(row, measure) for measure in ("first_s", "gap_s")),
        ]
        for row in found
    ]
    yield (
        f"{found[0]['streams']} streams. Milliseconds to the first token and between tokens: 50th, "
        "95th and 99th percentile."
    )
    head = ["learner", "answers", "non-2xx", "dropped", "versions", "first token", "between tokens"]
    yield table(head, lines)


def _quantiles(row: Result, measure: str) -> str:
    values = [row.get(f"{measure}_p{q}") for q in (50, 95, 99)]
    return " / ".join(number(None if v is None else 1000 * v, ".0f", "-") for v in values)


def _soak(rows: Sequence[Result]) -> str:
    lines = [
        [
            name,
            f"{row[f'rss_{name}_mib']:.0f} MiB",
            f"{row[f'slope_{name}']:+.2f} MiB per 1,000 turns",
            str(row.get(f"compiled_{name}", "")),
        ]
        for row in rows
        for name in ("serve", "learn", "run")
    ]
    row = rows[0]
    lost_mb_a_day = row["objects_per_checkpoint"] * _OBJECT_BYTES * _VERSIONS_A_DAY / 1e6
    return (
        f"{row['turns']} turns in {row['sessions']} conversations in {row['minutes']:.0f} minutes; "
        f"the log's files had {row['log_mib']:.1f} MiB at most, the weight store "
        f"{row['weights_mib']:.1f} MiB, metrics and logs {row['told_mib']:.1f} MiB, the run's "
        f"whole folder {row['folder_mib']:.1f} MiB. The gateway remembered {row['most_sessions']} "
        "sessions at most. `run` is the supervisor.\n\n"
        + table(["process", "memory at the end", "slope", "programs compiled"], lines)
        + f"\n\nEach checkpoint leaves {row['objects_per_checkpoint']:.0f} Python objects in the "
        f"learner, of some {_OBJECT_BYTES} bytes (an estimate, not measured): tensorstore, which "
        "Orbax writes with, frees none "
        "of what it tells as JSON (in all of its versions from 0.1.78 to 0.1.86). With a version "
        f"every 40 seconds that is about {lost_mb_a_day:.0f} MB a day; a learner that is started "
        "again goes on where it was."
    )
