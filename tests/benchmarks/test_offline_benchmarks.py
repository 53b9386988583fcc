"""What the offline benchmarks make of labels and cells."""

from __future__ import annotations

import itertools

import human_mix
import online_offline
import pytest
from _feedback import Event, hybrid, judged

from clawjax.data.preferences import Provenance

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


def test_live_learning_is_said_to_lose_where_it_does() -> None:
    rows: list[dict] = [
        {"kind": "method", "method": method, "lead": lead}
        for method, lead in zip(online_offline.OFFLINE, (0.2, -0.1, None), strict=True)
    ]
    rows += [
        {"kind": "trial", "persona": "brief", "method": method}
        for method in ("combined", *online_offline.OFFLINE)
        for _ in range(3)
    ]
    goals = online_offline.goals(rows)
    assert [goal.met for goal in goals] == [True, False, False, True]
