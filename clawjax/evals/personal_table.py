"""The personal suite as a table: every method against the base and against being told the wish.

Pure text from results. Invariant: a mean over seeds is shown with its range, a missing trial as a
gap and never as a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from clawjax.evals.bootstrap import interval_of_replies
from clawjax.evals.personal_summary import chance_of_base, is_degenerate

__all__ = ["render_table"]

_COLUMNS = (
    ("style", "style score on held-out prompts"),
    (
        "95 %",
        "bootstrap interval of the style score over seeds and prompts; of one seed over its "
        "replies alone",
    ),
    ("gain", "the same less the base's, of the same seed"),
    ("words", "mean words per reply"),
    ("KL", "to the base on neutral prompts, nats per token"),
    ("NLL", "of a fixed text, nats per token"),
    ("accuracy", "closed questions answered right"),
    ("stable", "sessions until the first reply met the wish three times in a row"),
    (
        "by chance",
        "sessions that this takes on average where nothing is learnt, by the base's held-out share",
    ),
    ("judge", "share of the scored reactions judged as the user meant them, thumbs included"),
    ("trained", "turns trained on"),
    ("minutes", "of one trial"),
)

Result = Mapping[str, Any]


def render_table(results: Sequence[Result]) -> str:
    """Markdown: one table per persona, one row per method, means over seeds with their range."""
    personas = dict.fromkeys(result["persona"] for result in results)
    parts = [_section(name, [r for r in results if r["persona"] == name]) for name in personas]
    legend = "\n".join(f"- **{name}**: {meaning}" for name, meaning in _COLUMNS)
    return "\n\n".join([*parts, legend]) + "\n"


def _section(persona: str, results: Sequence[Result]) -> str:
    methods = dict.fromkeys(result["method"] for result in results)
    base = {r["seed"]: r for r in results if r["method"] == "base"}
    rows = [_row(method, [r for r in results if r["method"] == method], base) for method in methods]
    names = ("method", "seeds", *(name for name, _ in _COLUMNS))
    head = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    return "\n".join([f"## {persona}", "", *head, *rows])


def _row(method: str, results: Sequence[Result], base: Mapping[int, Result]) -> str:
    style = [r["style"]["style_score"] for r in results]
    gains = [
        r["style"]["style_score"] - base[r["seed"]]["style"]["style_score"]
        for r in results
        if r["seed"] in base
    ]
    trained = [r for r in results if r["training"] is not None]
    training = [r["training"] for r in trained]
    judged = [t["judge"]["agreement"] for t in training if t["judge"]]
    mark = " (degenerate)" if any(is_degenerate(r, base.get(r["seed"])) for r in results) else ""
    cells = [
        method + mark,
        str(len(results)),
        _mean(style),
        _interval([r["style"]["scores"] for r in results]),
        "" if method == "base" else _mean(gains, signed=True),
        _mean([r["style"]["mean_words"] for r in results], digits=0),
        _mean([r["retention"]["kl_per_token"] for r in results], digits=3),
        _mean([r["retention"]["nll_per_token"] for r in results], digits=3),
        _mean([r["retention"]["accuracy"]["value"] for r in results]),
        _mean([t["sessions_to_stable"] for t in training], digits=0, absent="never"),
        _mean([chance_of_base(base.get(r["seed"])) for r in trained], digits=0),
        _mean(judged),
        _mean([t["trained"] for t in training], digits=0),
        _mean([r["seconds"] / 60 for r in results], digits=1),
    ]
    return f"| {' | '.join(cells)} |"


def _interval(replies: Sequence[Sequence[float]]) -> str:
    """95 % bootstrap interval over seeds and prompts."""
    bounds = interval_of_replies(replies)
    return "unknown" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _mean(
    values: Sequence[float | None],
    *,
    digits: int = 2,
    signed: bool = False,
    absent: str = "unknown",
) -> str:
    """Mean and range of what is known; how many are not, where some are not."""
    known = [value for value in values if value is not None]
    if not known:
        return absent if values else ""
    sign = "+" if signed else ""
    text = f"{fmean(known):{sign}.{digits}f}"
    if min(known) != max(known):
        text += f" ({min(known):{sign}.{digits}f} to {max(known):{sign}.{digits}f})"
    missing = len(values) - len(known)
    return text + (f", {missing} {absent}" if missing else "")
