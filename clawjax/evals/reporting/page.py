"""One self-contained HTML page: the summary, then each trajectory step by step. Pure.

Invariant: every text that came from a task, an agent or an environment is escaped; the page loads
nothing and runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode
from clawjax.evals.harness.trajectory import Score, Step, effective_outcome
from clawjax.evals.reporting.markdown import Summary, interval

__all__ = ["render_html"]

_SHOWN = 4000
"""Characters of one text."""


def render_html(summary: Summary, episodes: Sequence[Episode], suite: Suite) -> str:
    """The page."""
    title = f"{summary['suite']} {summary['suite_version']}: {summary['agent']}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            *_summary(summary),
            "<h2>Episodes</h2>",
            *(_episode(episode, suite) for episode in episodes),
            "</body></html>\n",
        ]
    )


def _summary(summary: Summary) -> Iterable[str]:
    success = summary["success"]
    yield (
        f"<p>{summary['tasks']} tasks, {summary['episodes']} episodes: {summary['scored']} scored, "
        f"{summary['unscored']} unscored. Success {_number(success['value'])}, 95 % interval "
        f"{interval(success['ci'])}.</p>"
    )
    yield from _table("Outcomes", summary["outcomes"])
    yield from _table("Repeated trials: all of k succeed (pass^k)", summary["pass"]["pass^k"])
    for name in ("progress", "efficiency", "validity", "tool_calls", "coherence", "side_effects"):
        yield from _table(name.replace("_", " ").capitalize(), summary[name])
    if summary["judge"]:
        yield from _table("Judge", summary["judge"])


def _table(title: str, values: dict[str, Any]) -> Iterable[str]:
    yield f"<table><caption>{escape(title)}</caption>"
    for name, value in values.items():
        yield f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{_number(value)}</td></tr>"
    yield "</table>"


def _episode(episode: Episode, suite: Suite) -> str:
    task, trajectory, score = episode
    outcome = effective_outcome(trajectory, score)
    told = "unscored" if score.value is None else _number(score.value)
    kind = "none" if score.value is None else "good" if score.value >= 1 else "bad"
    effects = suite.side_effects(task, trajectory) or ()
    parts = [
        f'<details><summary><b class="{kind}">{told}</b> {escape(task.task_id)} '
        f"<i>trial {trajectory.trial}, {escape(outcome)}, {len(trajectory.steps)} steps, "
        f"{trajectory.wall_s:.1f} s</i></summary>",
        _block("Task", task.instruction),
        _block("First observation", trajectory.first_observation),
        *(_step(number, step) for number, step in enumerate(trajectory.steps, start=1)),
        _block("Answer", trajectory.answer),
        _block("Expected", None if task.reference.answer is None else str(task.reference.answer)),
        _block("Ended by", trajectory.detail),
        _block("Score", " ".join(filter(None, (score.explanation, score.error)))),
        _block("Parts of the score", json.dumps(dict(score.parts)) if score.parts else None),
        _block("A judge's opinion", _opinion(score)),
        _block("Side effects", "\n".join(effects)),
        "</details>",
    ]
    return "\n".join(part for part in parts if part)


def _opinion(score: Score) -> str | None:
    if score.judged is None:
        return None
    return f"{score.judged:.2f} of its votes for success; {score.judged_because}"


def _step(number: int, step: Step) -> str:
    calls = "\n".join(f"{call.name}({call.arguments})" for call in step.turn.calls)
    parts = [
        f"<section><h3>{number}</h3>",
        _block("Reply", step.turn.text),
        _block("Calls", calls),
        _block(f"Not carried out: {step.parse.replace('_', ' ')}", step.problem),
    ]
    for each in step.executed:
        mark = "Result" if each.result.is_valid else "Refused"
        parts.append(_block(f"{mark} of {each.action.name}", each.result.observation or "(none)"))
    return "\n".join(part for part in [*parts, "</section>"] if part)


def _block(title: str, text: str | None) -> str:
    if not text:
        return ""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} [{len(text) - _SHOWN} more]"
    return f"<h4>{escape(title)}</h4><pre>{escape(shown)}</pre>"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { display: inline-table; margin: 0 2rem 1rem 0; vertical-align: top }
caption { text-align: left; font-weight: 600 } th { text-align: left; font-weight: 400 }
th, td { padding: .1rem 1rem .1rem 0 } td { text-align: right }
details { border-top: 1px solid #ccc; padding: .4rem 0 } summary { cursor: pointer }
section { border-left: 3px solid #ddd; padding-left: 1rem; margin: .6rem 0 }
h3 { margin: 0; font-size: 1rem; color: #666 } h4 { margin: .5rem 0 .1rem; font-size: .85rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: .4rem }
pre { background: #f6f6f6 }
.good { color: #176b2c } .bad { color: #a31919 } .none { color: #666 }
"""
