"""What the live view shows, with and without a terminal."""

from __future__ import annotations

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.live import LatestMetrics, LiveView, plain_line, render

SNAPSHOT = {
    "ok": True,
    "version": 3,
    "engine": {"running": 2, "slots": 8, "waiting": 1, "tokens_per_s": 87.6},
    "counts": {
        "logged": 90, "trained": 48, "pending": 40, "dropped": {"stale": 1, "side": 1},
        "linked": 70, "scored": 60, "abstained": 7,
    },
    "loops": {"serve": {"state": "running"}, "learn": "training"},
}  # fmt: skip
METRICS = {
    "train/loss": -0.0213, "train/reward_mean": 0.5, "train/kl": 0.04, "train/refused": 2.0,
}  # fmt: skip


def drawn(snapshot: dict, metrics: dict, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(render(snapshot, metrics, title="demo", elapsed_s=75))
    return console.file.getvalue()  # pyright: ignore


def test_the_panel_shows_all_four_loops_in_80_columns() -> None:
    text = drawn(SNAPSHOT, METRICS)
    for expected in (
        "demo", "version 3", "1:15", "running 2/8", "tokens/s 88", "turns 90", "scored 60",
        "abstained 7", "to judge 3", "trained 48", "dropped 2", "pending 40", "loss -0.021",
        "reward +0.50", "KL 0.040", "refused 2",
    ):  # fmt: skip
        assert expected in text
    assert len(text.splitlines()) == 8


def test_judges_count_their_own_queue_where_they_do() -> None:
    assert "to judge 9" in drawn(SNAPSHOT, METRICS | {"judge/waiting": 9.0})


def test_the_plain_line_says_the_same_and_leaves_out_the_unknown() -> None:
    line = plain_line(SNAPSHOT, {"train/loss": -0.0213}, elapsed_s=75)
    assert line.startswith("[1:15] version 3 | running 2/8 | waiting 1 | tokens/s 88 | turns 90")
    assert "loss -0.021" in line
    assert "KL" not in line
    assert "\n" not in line


@given(st.sets(st.sampled_from(sorted(SNAPSHOT))), st.sets(st.sampled_from(sorted(METRICS))))
def test_anything_may_be_missing(parts: set[str], keys: set[str]) -> None:
    snapshot = {part: SNAPSHOT[part] for part in parts}
    metrics = {key: METRICS[key] for key in keys}
    assert drawn(snapshot, metrics)
    assert plain_line(snapshot, metrics)


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    times = iter([0.0, 1.0, 2.0, 7.0])
    view = LiveView(title="demo", console=console, line_interval_s=5.0, clock=lambda: next(times))
    with view:
        for _ in range(3):
            view.update(SNAPSHOT, METRICS)
        view.say("All done.")
    lines = console.file.getvalue().splitlines()  # pyright: ignore
    assert [line[:6] for line in lines] == ["[0:01]", "[0:07]", "All do"]


def test_on_a_terminal_the_last_view_stays() -> None:
    console = Console(file=io.StringIO(), width=90, force_terminal=True)
    with LiveView(title="demo", console=console) as view:
        view.update({}, {})
        view.update(SNAPSHOT, METRICS)
        view.say("Halfway.")
    text = console.file.getvalue()  # pyright: ignore
    assert "Halfway." in text
    assert "demo" in text.rsplit("Halfway.", 1)[1]


def test_latest_metrics_follow_the_file(tmp_path: Path) -> None:
    latest = LatestMetrics(tmp_path / "m.jsonl")
    assert latest.read() == {}
    monitor = JsonlMonitor(tmp_path / "m.jsonl")
    monitor.log({"train/loss": 1.0, "train/kl": 0.1}, step=1)
    assert latest.read() == {"train/loss": 1.0, "train/kl": 0.1}
    monitor.log({"train/loss": 0.5}, step=2, texts={"train/objective": "L = 0"})
    monitor.close()
    assert latest.read() == {"train/loss": 0.5, "train/kl": 0.1}
