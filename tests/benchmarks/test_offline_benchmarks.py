"""What the offline benchmarks make of labels and cells."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import _offline_arms
import human_mix
import online_offline
import pytest
from _feedback import Event, hybrid, judged
from _offline_arms import Arms
from trial_results import trial

from clawjax.data.preferences import Provenance
from clawjax.errors import ConfigError

EVENTS = [
    Event("Why?", f"reply {n}", "Hm.", score, style)
    for n, (score, style) in enumerate([(0.9, 1.0), (-0.8, 1.0), (None, 0.0), (0.7, 0.0)] * 5)
]


def test_hybrids_have_so_many_true_labels_and_a_larger_one_includes_a_smaller_one() -> None:
    true: list[set[str]] = []
    for share in (0.0, 0.1, 0.5, 1.0):
        rows = hybrid(EVENTS, "you", share=share, seed=3)
        true.append({row.source for row in rows if row.provenance is Provenance.HUMAN})
        assert len(true[-1]) == round(share * len(EVENTS))
        told = {row.source: row.score for row in rows}
        agreed = human_mix.agreement(EVENTS, told)
        assert agreed == pytest.approx({0.0: 1 / 3, 1.0: 1.0}.get(share, agreed))
    assert true == sorted(true, key=len)
    assert all(less <= more for less, more in itertools.pairwise(true))
    assert len(judged(EVENTS, "you")) == 15, "what the judge cannot read has no label"
    assert len(hybrid(EVENTS, "you", share=1.0, seed=3)) == 20


def test_of_two_liked_replies_neither_is_better_because_a_person_liked_it() -> None:
    scores = (0.9, 0.4, 0.1, -0.3)
    events = [Event("Why?", f"reply {n}", "Hm.", score, 1.0) for n, score in enumerate(scores)]
    alone = hybrid(events, "formal", share=0.0, seed=0)
    assert [row.score for row in alone] == [1.0, 1.0, -1.0], "and doubtful ones have no label"
    both = hybrid(events, "formal", share=0.5, seed=0)
    assert {row.score for row in both if row.provenance is Provenance.HUMAN} == {1.0}
    assert {abs(row.score) for row in both} == {1.0}
    assert [row.score for row in judged(events, "formal")] == list(scores)


def test_offline_arms_are_the_methods_they_are_called(tmp_path: Path) -> None:
    arms = Arms(tmp_path, is_quick=False)
    found = {
        name: arms._config(tmp_path, 0, "brief", f"objective={name}", *sizes).objective
        for name, sizes in _offline_arms.SIZES.items()
    }
    assert found["rlhf"].baseline == "rloo", "each reply beside the others to its question"
    assert found["dpo"].kl_coef == 0.0, "the loss itself holds to the base"


def cell(share: float, seed: int, style: float) -> dict:
    return {
        "persona": "you",
        "seed": seed,
        "share": share,
        "labels": 9,
        "label_agreement": 0.8,
        "version": 3,
        "seconds": 1.0,
        "git_sha": None,
        "retention": {"kl_per_token": 0.1},
        "offline": {"rows": 5},
        "style": {
            "style_score": style,
            "scores": [style] * 4,
            "ci": [style, style],
            "n": 4,
            "mean_words": 20.0,
        },
    }


def test_shares_are_compared_with_the_judge_alone_seed_by_seed() -> None:
    cells = [cell(*row) for row in ((0.0, 0, 0.3), (0.0, 1, 0.4), (0.1, 0, 0.5), (0.1, 1, 0.5))]
    cells += [cell(1.0, 0, 0.6), cell(1.0, 1, 0.6)]
    rows = human_mix.summed_up(cells)
    leads = {row["share"]: row["over_judge"] for row in rows if row["kind"] == "share"}
    assert leads == pytest.approx({0.0: 0.0, 0.1: 0.15, 1.0: 0.25})
    goals = human_mix.goals(rows)
    assert goals[1].value == pytest.approx(0.6)
    assert [goal.met for goal in goals] == [True, True, False]


def test_a_part_of_next_to_nothing_is_no_goal_met() -> None:
    cells = [cell(0.0, 0, 0.30), cell(0.1, 0, 0.32), cell(1.0, 0, 0.31)]
    goals = human_mix.goals(human_mix.summed_up(cells))
    assert goals[0].value == pytest.approx(0.01)
    assert goals[1].value is None
    assert not goals[1].met


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.1, 1.0)])
def test_shares_that_were_not_measured_are_gaps(shares: tuple[float, ...]) -> None:
    goals = human_mix.goals(human_mix.summed_up([cell(share, 0, 0.5) for share in shares]))
    assert [goal.value for goal in goals] == [None, None, 1]


def test_a_judge_that_reads_the_persona_well_is_said_to() -> None:
    assert human_mix.read_by_judge(EVENTS, "you") == (
        "you: the judge reads 15 of 20 reactions, 33% rightly"
    )
    well = [event for event in EVENTS if event.score == 0.9]
    assert "choose another --persona" in human_mix.read_by_judge(well, "you")
    assert "can read none" in human_mix.read_by_judge([], "you")


def test_live_learning_is_said_to_lose_where_it_does() -> None:
    rows: list[dict] = [
        {"kind": "method", "method": method, "lead": lead}
        for method, lead in zip(online_offline.OFFLINE, (0.2, -0.1, None), strict=True)
    ]
    rows += [
        {"kind": "trial", "persona": "brief", "method": method, "seed": seed, "events": 96}
        for method in ("combined", *online_offline.OFFLINE)
        for seed in range(3)
    ]
    goals = online_offline.goals(rows)
    assert [goal.met for goal in goals] == [True, False, False, True, True]
    rows[-1]["events"] = 48
    goals = online_offline.goals(rows)
    assert goals[-2].value == 0.5
    assert not goals[-2].met
    assert online_offline.goals(rows[:-1])[-2].value is None


def test_feedback_events_of_a_conversation_are_those_that_somebody_reacted_to() -> None:
    training = trial("combined")["training"]
    assert training["dropped"] == {"abstained": 3, "side": 15}
    assert online_offline.events_of(training) == 23


class _Work:
    """In place of collecting, training and measuring."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.is_cut_off = False

    async def collect(self, config: Any, folder: Path, *given: Any, **more: Any) -> list[Event]:
        self._begin(folder)
        return EVENTS

    def train_on(self, config: Any, paths: Any, *given: Any) -> dict[str, int]:
        self._begin(paths.root)
        return {"rows": 4}

    async def served(self, *given: Any) -> dict[str, Any]:
        found = trial("offline_dpo")
        return {key: found[key] for key in ("style", "retention", "version")}

    def _begin(self, folder: Path) -> None:
        self.begun.append(folder.name)
        left = folder / "half a conversation"
        assert not left.exists(), "what was cut off is begun anew"
        left.touch()
        if self.is_cut_off:
            raise KeyboardInterrupt


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> _Work:
    found = _Work()
    monkeypatch.setattr(_offline_arms, "collect", found.collect)
    monkeypatch.setattr(_offline_arms, "train_on", found.train_on)
    monkeypatch.setattr(_offline_arms, "load_model", lambda config, seed: None)
    monkeypatch.setattr(Arms, "_served", found.served)
    return found


def test_cells_are_measured_once_and_refused_where_settings_differ(
    tmp_path: Path, work: _Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(rows: Any) -> dict[str, Any]:
        return Arms(tmp_path, is_quick=True).cell("brief", "a", 0, objective="dpo", rows=rows)

    rows = hybrid(EVENTS, "brief", share=0.5, seed=0)
    work.is_cut_off = True
    with pytest.raises(KeyboardInterrupt):
        run(rows)
    work.is_cut_off = False
    assert run(rows) == run(rows)
    assert work.begun == ["brief-a-0", "brief-a-0"]
    with pytest.raises(ConfigError, match="measured with other settings"):
        run(rows[1:])
    fewer = (*_offline_arms.SIZES["dpo"], "offline.batches=2")
    monkeypatch.setitem(_offline_arms.SIZES, "dpo", fewer)
    with pytest.raises(ConfigError, match="measured with other settings"):
        run(rows)


def test_feedback_is_collected_once(tmp_path: Path, work: _Work) -> None:
    for _ in range(2):
        assert Arms(tmp_path, is_quick=True).feedback("brief", 0) == EVENTS
    assert work.begun == ["brief-collect-0"]
    with pytest.raises(ConfigError, match="measured with other settings"):
        Arms(tmp_path, is_quick=False).feedback("brief", 0)


@pytest.mark.parametrize("option", ["--measure-only", "--offline-only"])
def test_a_share_is_measured_and_no_result_is_written(
    tmp_path: Path, work: _Work, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    live, written = tmp_path / "live", []
    for method in () if option == "--offline-only" else ("base", "combined"):
        file = live / "trials" / f"{method}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(trial(method, persona="plain")))
    monkeypatch.setattr(online_offline, "RUNS", tmp_path)
    monkeypatch.setattr(online_offline, "write_result", lambda *a, **k: written.append(a))
    command = ["online_offline.py", "--quick", "--from", str(live)]
    monkeypatch.setattr(sys, "argv", [*command, option])
    online_offline.main()
    assert len(work.begun) == 4
    assert not written
    if option == "--measure-only":
        monkeypatch.setattr(sys, "argv", command)
        online_offline.main()
        assert len(work.begun) == 4, "what was measured is gathered"
        assert len(written) == 1
