"""A live view of the four loops: a panel on a terminal, plain lines elsewhere.

Drawn from the health report of the endpoint and the latest metrics, nothing else. Invariant:
`render` and `plain_line` are pure and take reports with anything missing; this is the one module
that writes to the console.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clawjax.metrics.jsonl import JsonlTail

__all__ = ["LatestMetrics", "LiveView", "plain_line", "render"]

_UNKNOWN = "-"
_CONTINUED = ""
"""The row that goes on with the loop above."""
_GOOD_STATES = ("ok", "running", "ready", "idle", "waiting", "training", "done")


class LatestMetrics:
    """The newest value of every key in `metrics.jsonl`; reads only what was added."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning of the file."""
        self._tail = JsonlTail(path)
        self._values: dict[str, float] = {}

    def read(self) -> Mapping[str, float]:
        """Catch up with the file."""
        for entry in self._tail.read():
            self._values |= {
                key: value
                for key, value in entry.items()
                if "/" in key and isinstance(value, int | float)
            }
        return self._values


class LiveView:
    """Shows snapshots while it is entered as a context."""

    def __init__(
        self,
        *,
        title: str,
        console: Console | None = None,
        line_interval_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Draw on `console`, standard output by default.

        Args:
            title: what is running.
            console: where to draw; a panel if it is a terminal, else a line now and then.
            line_interval_s: between two plain lines.
            clock: seconds, for the time shown and the pace of the lines.
        """
        self._title = title
        self._console = console or Console()
        self._line_interval_s = line_interval_s
        self._clock = clock
        self._started = clock()
        self._last_line: float | None = None
        self._live = (
            Live(console=self._console, refresh_per_second=4, transient=False)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        """Take over the terminal's last lines."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last view standing and give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def update(self, snapshot: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Show a health report and the latest metrics; cheap, call it as often as you like."""
        now = self._clock()
        elapsed = now - self._started
        if self._live is not None:
            self._live.update(render(snapshot, metrics, title=self._title, elapsed_s=elapsed))
        elif self._last_line is None or now - self._last_line >= self._line_interval_s:
            self._last_line = now
            line = plain_line(snapshot, metrics, elapsed_s=elapsed)
            self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def say(self, message: str) -> None:
        """Print a line that stays, above the panel."""
        self._console.print(message, soft_wrap=True, markup=False, highlight=False)


def render(
    snapshot: Mapping[str, Any],
    metrics: Mapping[str, float],
    *,
    title: str = "clawjax",
    elapsed_s: float = 0.0,
) -> RenderableType:
    """The panel: one row per loop."""
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(style="bold", width=8)
    table.add_column(width=9)
    table.add_column(ratio=1)
    for name, cells in _rows(snapshot, metrics).items():
        table.add_row(name, _state(snapshot, name), _facts(cells))
    head = Text(f"version {_whole(snapshot.get('version'))}", style="bold cyan")
    head.append(f"   {_clock_time(elapsed_s)}", style="dim")
    return Panel(Group(head, table), title=title, title_align="left", border_style="cyan")


def plain_line(
    snapshot: Mapping[str, Any], metrics: Mapping[str, float], *, elapsed_s: float = 0.0
) -> str:
    """The same as one line of text."""
    parts = [
        f"{label} {value}" if label else value
        for cells in _rows(snapshot, metrics).values()
        for label, value in cells
        if value != _UNKNOWN
    ]
    head = f"[{_clock_time(elapsed_s)}] version {_whole(snapshot.get('version'))}"
    return " | ".join([head, *parts])


_Cells = list[tuple[str, str]]


def _rows(snapshot: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, _Cells]:
    engine = _mapping(snapshot.get("engine"))
    counts = _mapping(snapshot.get("counts"))
    queue = _difference(counts.get("linked"), counts.get("scored"), counts.get("abstained"))
    return {
        "serve": [
            ("running", _ratio(engine.get("running"), engine.get("slots"))),
            ("waiting", _whole(engine.get("waiting"))),
            ("tokens/s", _real(engine.get("tokens_per_s"), ".0f")),
        ],
        "collect": [
            ("turns", _whole(counts.get("logged"))),
            ("answered", _whole(counts.get("linked"))),
        ],
        "judge": [
            ("scored", _whole(counts.get("scored"))),
            ("abstained", _whole(counts.get("abstained"))),
            ("to judge", _whole(metrics.get("judge/waiting", queue))),
        ],
        "learn": [
            ("trained", _whole(counts.get("trained"))),
            ("dropped", _total(counts.get("dropped"))),
            ("pending", _whole(counts.get("pending"))),
        ],
        _CONTINUED: [
            ("loss", _real(metrics.get("train/loss"), ".3f")),
            ("reward", _real(metrics.get("train/reward_mean"), "+.2f")),
            ("KL", _real(metrics.get("train/kl"), ".3f")),
            ("refused", _whole(metrics.get("train/refused"))),
        ],
    }


def _facts(cells: _Cells) -> Text:
    text = Text()
    for index, (label, value) in enumerate(cells):
        text.append("   " if index else "")
        text.append(f"{label} ", style="dim")
        text.append(value)
    return text


def _state(snapshot: Mapping[str, Any], loop: str) -> Text:
    """What a loop says of itself: a word, or an object with one under `state`."""
    if loop == _CONTINUED:
        return Text()
    found = _mapping(snapshot.get("loops")).get(loop)
    word = _mapping(found).get("state") if isinstance(found, Mapping) else found
    if word is None:
        return Text(_UNKNOWN, style="dim")
    return Text(str(word), style="green" if word in _GOOD_STATES else "yellow")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f}"


def _real(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _ratio(part: float | None, whole: float | None) -> str:
    return _UNKNOWN if part is None or whole is None else f"{part:.0f}/{whole:.0f}"


def _total(parts: Mapping[str, int] | int | None) -> str:
    return _whole(sum(parts.values()) if isinstance(parts, Mapping) else parts)


def _difference(whole: int | None, *parts: int | None) -> int | None:
    known = [part for part in parts if part is not None]
    if whole is None or len(known) < len(parts):
        return None
    return max(0, whole - sum(known))


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
