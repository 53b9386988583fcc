"""Summaries as Markdown: one table for several suites, one page for one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["UNKNOWN", "Summary", "interval", "render_overview", "render_summary", "table"]

Summary = Mapping[str, Any]
UNKNOWN = "not known"
"""In place of an interval or a p-value that so few tasks do not tell."""

_HEAD = ("suite", "agent", "tasks", "success", "score", "pass^k", "steps", "format", "unscored")


def render_overview(summaries: Sequence[Summary]) -> str:
    """One line per suite."""
    return table(_HEAD, (_line(summary) for summary in summaries)) + "\n"


def render_summary(summary: Summary) -> str:
    """Everything that was measured of one suite."""
    parts = [
        f"# {summary['suite']} {summary['suite_version']}: {summary['agent']}",
        f"{summary['tasks']} tasks, {summary['episodes']} episodes: {summary['scored']} scored, "
        f"{summary['unscored']} unscored, which no mean contains.",
        render_overview([summary]).rstrip(),
        "## Outcomes",
        table(
            ("outcome", "episodes"),
            ([str(name), str(count)] for name, count in summary["outcomes"].items() if count),
        ),
        *_repeated(summary),
        "## Measures",
        table(("measure", "mean"), _measures(summary)),
    ]
    for key, groups in summary["by"].items():
        rows = ([name, str(group["n"]), _uncertain(group)] for name, group in groups.items())
        parts += [f"## By {key}", table((key, "n", "score"), rows)]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def interval(bounds: Sequence[float] | None, form: str = ".3f") -> str:
    """From one bound to the other."""
    return UNKNOWN if bounds is None else f"{bounds[0]:{form}} to {bounds[1]:{form}}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _line(summary: Summary) -> list[str]:
    hats = summary["pass"]["pass^k"]
    most = max(hats, key=int, default=None)
    return [
        summary["suite"],
        str(summary["agent"]),
        str(summary["tasks"]),
        _uncertain(summary["success"]),
        _number(summary["score"]["value"]),
        "" if most is None else f"{_number(hats[most])} (k={most})",
        _number(summary["efficiency"]["steps"]),
        _number(summary["validity"]["format_valid"]),
        str(summary["unscored"]),
    ]


def _repeated(summary: Summary) -> list[str]:
    found = summary["pass"]
    if len(found["pass^k"]) < 2:
        return []
    rows = ([k, _number(found["pass@k"][k]), _number(found["pass^k"][k])] for k in found["pass^k"])
    return ["## Repeated trials", table(("k", "pass@k", "pass^k"), rows)]


def _measures(summary: Summary) -> Iterable[list[str]]:
    if summary["main_metric"] is not None:
        yield ["main metric", _number(summary["main_metric"])]
    groups = ("progress", "efficiency", "validity", "tool_calls", "coherence", "side_effects")
    for group in groups:
        for name, value in summary[group].items():
            label = name if group == name else f"{group}: {name}"
            yield [label.replace("_", " "), _number(value)]
    for name, value in (summary["judge"] or {}).items():
        yield [f"judge: {name}".replace("_", " "), _number(value)]


def _uncertain(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "not measured"
    return f"{found['value']:.3f} ({interval(found['ci'])})"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
