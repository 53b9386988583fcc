"""A made-up run, summed up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from eval_records import answered, open_log, replies, scored, turn, write_lines

from clawjax.evals.personal import StyleResult, summarise
from clawjax.evals.report import (
    AFTER_FILE,
    BEFORE_FILE,
    RunFacts,
    build_report,
    judge_learning,
    write_report,
)
from clawjax.log.store import SqlTurnLog
from clawjax.records import DropReason, Outcome, TurnKind
from clawjax.weights import DirectoryWeightStore

FACTS = RunFacts(
    seed=3, seconds=12.34, peak_rss_bytes=2**31, git_sha="abc", policy_version=2,
    model="tiny", persona="brief", wish="wants little", objective="J = ...",
    versions={"python": "3.11"},
)  # fmt: skip
BEFORE = summarise(replies([0.0] * 9 + [1.0]), version=0)
AFTER = dataclasses.replace(summarise(replies([1.0] * 9 + [0.0]), version=2), kl_per_token=0.25)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    """Eight turns: two trained, one dropped, a side turn dropped, the rest pending."""
    log = open_log(tmp_path)
    for number in range(8):
        kind = TurnKind.SIDE if number == 7 else TurnKind.MAIN
        log.append(turn(number, version=number // 4, kind=kind))
    log.append(answered(0, 1.0), answered(1, 2.0), answered(2, 3.0))
    log.append(scored(0, 1.0), scored(1, -1.0), scored(2, None))
    log.append(
        Outcome("t0", 0.0, trained_version=1),
        Outcome("t1", 0.0, trained_version=1),
        Outcome("t2", 0.0, drop_reason=DropReason.ABSTAINED),
        Outcome("t7", 0.0, drop_reason=DropReason.SIDE),
    )
    log.count("requests", 8)
    log.count("non_2xx", 1)
    yield log
    log.close()


def fill(folder: Path, *, before: StyleResult | None = BEFORE, after: StyleResult | None = AFTER):
    for name, result in ((BEFORE_FILE, before), (AFTER_FILE, after)):
        if result is not None:
            result.save(folder / name)
    step = "train/mean_abs_logprob_diff"
    write_lines(
        folder / "metrics.jsonl",
        [
            {"t": 3.5, "step": 1, step: 1e-4, "train/mismatch_tokens": 30, "train/kl": 0.1},
            {"t": 5.5, "step": 2, step: 5e-4, "train/mismatch_tokens": 10, "train/kl": 0.2},
            {"t": 6.0, "step": None, "engine/running": 2},
        ],
    )
    moods = ["praise", "praise", "complaint"]
    write_lines(
        folder / "user.jsonl",
        [
            {
                "response_id": f"r{i}", "session": 0, "mood": mood, "style": float(i > 1),
                "latency_s": 1.0 + i, "first_token_s": 0.1,
            }
            for i, mood in enumerate(moods)
        ],
    )  # fmt: skip


def test_the_report_has_every_number(tmp_path: Path, log: SqlTurnLog) -> None:
    fill(tmp_path)
    report = build_report(tmp_path, log, FACTS)
    assert report["learned"] is True
    assert report["before"]["style_score"] == 0.1
    assert report["after"]["kl_per_token"] == 0.25
    assert report["after"]["n"] == 10
    assert report["turns"] == {
        "logged": 8, "trained": 2, "dropped": {"abstained": 1, "side": 1}, "pending": 4,
        "is_balanced": True,
    }  # fmt: skip
    assert (report["requests"], report["non_2xx"], report["policy_version"]) == (8, 1, 2)
    assert report["feedback_to_served_turns"] == {"median": 2.5, "max": 3, "n": 2, "unserved": 0}
    assert report["mean_abs_logprob_diff"] == pytest.approx(2e-4)
    assert report["judge"]["scored"] == 2
    assert report["judge"]["abstained"] == 1
    assert report["judge"]["against_mood"]["agreement"] == 0.5
    assert report["user"]["latency_s"] == {"median": 2.0, "p90": 3.0}
    for key in ("seconds", "peak_rss_bytes", "seed", "git_sha", "versions"):
        assert report[key] is not None


def test_all_three_files_are_written_and_can_be_written_again(
    tmp_path: Path, log: SqlTurnLog
) -> None:
    fill(tmp_path)
    report = write_report(tmp_path, log, FACTS)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# The policy learned\n")
    assert "2 trained + 2 dropped (abstained 1, side 1) + 4 pending: adds up." in page
    assert write_report(tmp_path, log, FACTS) == report
    assert (tmp_path / "report.md").read_text() == page


def test_refusals_and_rollbacks_are_told(tmp_path: Path, log: SqlTurnLog) -> None:
    fill(tmp_path)
    store = DirectoryWeightStore(tmp_path / "weights", clock=lambda: 7.0)
    for version, parent, refused in ((1, 0, None), (2, 1, None), (3, 2, "KL is 0.5")):
        store.publish(
            {"x": np.full(8, version, np.float32)},
            version=version, parent=parent, step=version, base_model="m", kind="adapter",
            config={}, refused=refused,
        )  # fmt: skip
    assert "- Versions: 3 made; refused: 1 (3: KL is 0.5); rollbacks: none." in page_of(
        tmp_path, log
    )
    store.point_to(0)
    report = build_report(tmp_path, log, FACTS)
    assert report["weights"] == {
        "made": 3,
        "refused": [{"version": 3, "reason": "KL is 0.5"}],
        "rollbacks": [{"at": 7.0, "was": 2, "to": 0}],
    }
    assert "rollbacks: 1 (2 to 0)." in page_of(tmp_path, log)
    few = DirectoryWeightStore(tmp_path / "weights", keep=1)
    few.publish(
        {"x": np.full(8, 4, np.float32)},
        version=4, parent=0, step=4, base_model="m", kind="adapter", config={},
    )  # fmt: skip
    assert [held.version for held in few.versions()] == [4]
    assert "- Versions: 4 made; refused: 1 (3: KL is 0.5);" in page_of(tmp_path, log)


def page_of(folder: Path, log: SqlTurnLog) -> str:
    write_report(folder, log, FACTS)
    return (folder / "report.md").read_text()


def test_a_run_that_learned_nothing_says_so(tmp_path: Path, log: SqlTurnLog) -> None:
    fill(tmp_path, after=BEFORE)
    report = write_report(tmp_path, log, FACTS)
    assert report["learned"] is False
    assert (tmp_path / "report.md").read_text().startswith("# This run learned nothing\n")


def test_a_run_cut_short_is_reported_with_what_is_known(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    report = write_report(tmp_path, log, dataclasses.replace(FACTS, policy_version=0))
    log.close()
    assert (report["before"], report["after"], report["user"]) == (None, None, None)
    assert report["mean_abs_logprob_diff"] is None
    assert report["requests"] is None
    assert "not scored both before and after" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("before", "after", "version", "has_learned", "because"),
    [
        (BEFORE, AFTER, 1, True, "changed by +0.80"),
        (BEFORE, AFTER, 0, False, "never updated"),
        (None, AFTER, 1, False, "not scored both"),
        (AFTER, BEFORE, 1, False, "changed by -0.80"),
        (BEFORE, summarise(replies([0.0] * 8 + [1.0] * 2)), 1, False, "changed by +0.10"),
        (BEFORE, summarise(replies([1.0] * 10, text="Always the same.")), 1, False, "degenerate"),
    ],
)
def test_learning_is_judged_by_the_paired_difference(
    before: StyleResult | None,
    after: StyleResult,
    version: int,
    has_learned: bool,
    because: str,
) -> None:
    found, reason = judge_learning(before, after, version)
    assert found is has_learned
    assert because in reason


def test_samples_cannot_break_the_page(tmp_path: Path, log: SqlTurnLog) -> None:
    nasty = summarise(replies([0.0] * 10, text="a | b\n\n<script>{}</script>\n- x"), version=0)
    fill(tmp_path, before=nasty)
    write_report(tmp_path, log, FACTS)
    page = (tmp_path / "report.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| prompt ") and "*(" in line]
    assert len(rows) == 5 - 1 or len(rows) == 5
    assert all(row.count(" | ") == 2 for row in rows)
    assert "<script>" not in page
