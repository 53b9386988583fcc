"""Numbers and tables as Markdown; what is not known is a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "commit",
    "estimate",
    "goal_table",
    "interval",
    "not_measured",
    "number",
    "origin",
    "table",
]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None, form: str, absent: str = "") -> str:
    return absent if value is None else format(value, form)


def interval(bounds: Sequence[float] | None, form: str = ".2f", absent: str = "") -> str:
    return absent if bounds is None else f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def estimate(value: float | None, bounds: Sequence[float] | None, form: str = "+.2f") -> list[str]:
    """A value and its interval, as two cells; gaps where there is no value."""
    if value is None:
        return ["", ""]
    return [format(value, form), interval(bounds, form, "not known")]


def commit(sha: str | None) -> str:
    """Its first digits."""
    if sha is None:
        return "unknown"
    return sha[:8] + ("-dirty" if sha.endswith("-dirty") else "")


def goal_table(result: Mapping[str, Any], form: str) -> str:
    """The goals of a result, values in `form`."""
    rows = [
        [
            goal["name"].replace("|", "\\|"),
            f"{goal['op']} {goal['target']:g}",
            f"{number(goal['value'], form, 'not measured')} {goal['unit']}".strip(),
            "met" if goal["met"] else "**not met**",
        ]
        for goal in result["goals"]
    ]
    return table(["measured", "goal", "value", ""], rows)


def origin(result: Mapping[str, Any]) -> str:
    """How, of what and where a result was measured."""
    machine = result["machine"]
    return (
        f"`{result['command']}`, commit {commit(result['commit'])}, {machine['cores']} cores, "
        f"{machine['cpu']}."
    )


def not_measured(name: str) -> str:
    """In place of a result that is not there."""
    return f"Not measured yet: `python benchmarks/{name}.py` measures it."
