"""Pictures: style, reward, KL and version of one run; learning curves of methods side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from clawjax.evals.personal import StyleResult
from clawjax.evals.series import RunSeries, rolling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import RcKeyType

__all__ = ["Curve", "Panel", "plot_curves", "plot_run"]

_WINDOW = 16
"""Turns averaged over: about one batch."""
_TITLE_COLUMNS = 88
_INK, _SOFT, _BLUE, _ORANGE, _GREEN = "#1f2933", "#9aa5b1", "#2563eb", "#c2570c", "#0f766e"
_RULES: dict[RcKeyType, object] = {
    "font.size": 9,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}
_COLUMNS = 2
_METHOD_LINES = {
    "combined": ("#0072b2", "o"),
    "opd_topk": ("#cc79a7", "D"),
    "opd": ("#009e73", "s"),
    "binary_rl": ("#e69f00", "^"),
    "sft": ("#d55e00", "v"),
}
"""Colours that colour-blind people tell apart (Okabe and Ito 2008), and a marker besides."""
_LEVEL_LINES = {"base": (0, (4, 2)), "prompted": (0, (1, 1.5))}


class Curve(NamedTuple):
    """Style of one seed's live turns: the mean of each round, at the number of turns at its end."""

    turns: Sequence[int]
    style: Sequence[float]


class Panel(NamedTuple):
    """One persona."""

    curves: Mapping[str, Sequence[Curve]]
    """By method, one per seed."""
    levels: Mapping[str, float]
    """Held-out style score of the methods that do not learn."""


def plot_curves(path: Path, panels: Mapping[str, Panel]) -> None:
    """Draw a panel per persona, a line per method (mean over seeds, their range shaded), as PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(panels) // _COLUMNS)
    with mpl.rc_context(_RULES):
        figure = Figure(figsize=(9.0, 0.7 + 2.3 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, (persona, panel) in zip(grid, panels.items(), strict=False):
            _draw_panel(ax, persona, panel)
        for ax in grid[len(panels) :]:
            ax.set_axis_off()
        grid[0].set_xlim(left=0)
        handles = {
            label: line
            for ax in grid
            for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside upper left", ncols=len(handles) or 1)
        figure.supxlabel("turns of the live conversation", fontsize=9, color=_INK)
        figure.supylabel("style score", fontsize=9, color=_INK)
        figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _draw_panel(ax: Axes, persona: str, panel: Panel) -> None:
    ax.set_title(persona)
    ax.set_ylim(-0.04, 1.04)
    ax.tick_params(labelbottom=True)
    for method, level in panel.levels.items():
        ax.axhline(
            level, color=_SOFT, lw=1.5, ls=_LEVEL_LINES[method], label=f"{method} (held out)"
        )
    for method, (colour, marker) in _METHOD_LINES.items():
        by_turns: dict[int, list[float]] = {}
        for curve in panel.curves.get(method, ()):
            for turns, style in zip(curve.turns, curve.style, strict=True):
                by_turns.setdefault(turns, []).append(style)
        if by_turns:
            turns = sorted(by_turns)
            found = [by_turns[at] for at in turns]
            ax.fill_between(
                turns, list(map(min, found)), list(map(max, found)),
                color=colour, alpha=0.15, lw=0,
            )  # fmt: skip
            ax.plot(
                turns, list(map(fmean, found)),
                color=colour, marker=marker, ms=4, lw=1.8, label=method,
            )  # fmt: skip


def plot_run(
    path: Path,
    series: RunSeries,
    *,
    before: StyleResult | None,
    after: StyleResult | None,
    title: str,
) -> None:
    """Draw one page and write it as PNG; needs no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_RULES):
        figure = Figure(figsize=(8.0, 8.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(2.4, 1.2, 1.2, 1.0))
        wrapped = textwrap.fill(title, _TITLE_COLUMNS)
        figure.suptitle(wrapped, x=0.01, ha="left", fontsize=11, color=_INK, fontweight="bold")
        _draw_style(axes[0], series, before, after)
        _draw_reward(axes[1], series)
        _draw_kl(axes[2], series, after)
        _draw_version(axes[3], series)
        axes[3].set_xlabel("turns of the conversations, in order of arrival")
        figure.savefig(path, dpi=130, format="png")


def _draw_style(
    ax: Axes, series: RunSeries, before: StyleResult | None, after: StyleResult | None
) -> None:
    turns = len(series.style)
    ax.set_title(
        f"Style score: mean of the last {_WINDOW} turns; held-out prompts before and after"
    )
    ax.set_ylim(-0.04, 1.04)
    known = [(i + 1, value) for i, value in enumerate(series.style) if value is not None]
    ax.scatter(*_columns(known), s=34, color=_INK, alpha=0.45, marker="|", lw=1, label="one reply")
    ax.plot(*_columns(_known_means(series.style)), color=_BLUE, lw=2, label="rolling mean")
    for result, at, label, marker in (
        (before, 0, "held out, before", "o"),
        (after, turns + 1, "held out, after", "D"),
    ):
        if result is not None:
            low, high = result.ci
            score = result.style_score
            spread = [[max(0.0, score - low)], [max(0.0, high - score)]]
            ax.errorbar(
                at, score, yerr=spread, color=_ORANGE, fmt=marker, ms=7, capsize=3, zorder=5,
                label=f"{label}: {score:.2f}",
            )  # fmt: skip
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.02), ncols=4, fontsize=8)


def _draw_reward(ax: Axes, series: RunSeries) -> None:
    ax.set_title(f"Reward: the judges' mean score over the last {_WINDOW} turns")
    ax.axhline(0, color=_SOFT, lw=0.8)
    ax.set_ylim(-1.08, 1.08)
    ax.plot(*_columns(_known_means(series.reward)), color=_GREEN, lw=2)


def _draw_kl(ax: Axes, series: RunSeries, after: StyleResult | None) -> None:
    ax.set_title("KL to the base model per token (nats): training batches, and held out after")
    ax.plot(*_columns(series.kl), color=_BLUE, lw=1.5, marker="o", ms=4)
    if after is not None and after.kl_per_token is not None:
        ax.plot(len(series.style) + 1, after.kl_per_token, "D", color=_ORANGE, ms=7)
    ax.margins(y=0.15)
    ax.set_ylim(bottom=0)


def _draw_version(ax: Axes, series: RunSeries) -> None:
    ax.set_title("Policy version that answered")
    known = [(i + 1, value) for i, value in enumerate(series.version) if value is not None]
    ax.step(*_columns(known), where="mid", color=_INK, lw=1.5)
    ax.locator_params(axis="y", integer=True, nbins=5)
    ax.set_ylim(bottom=-0.3)


def _known_means(values: tuple[float | None, ...]) -> list[tuple[int, float]]:
    means = rolling(values, _WINDOW)
    return [(i + 1, mean) for i, mean in enumerate(means) if mean is not None]


def _columns(points: Sequence[tuple[int, float]]) -> list[list[float]]:
    return [[point[0] for point in points], [point[1] for point in points]]
