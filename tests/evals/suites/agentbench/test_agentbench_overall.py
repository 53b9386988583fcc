"""The paper's table, and the files that upstream's analysis reads."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from clawjax.errors import EvalError
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.trajectory import Score, Trajectory
from clawjax.evals.suites.agentbench.__main__ import main
from clawjax.evals.suites.agentbench.overall import (
    WEIGHT_INVERSES,
    Scored,
    main_percent,
    overall_json,
    overall_score,
)

TABLE = json.loads(
    (Path(__file__).parents[3] / "data" / "agentbench" / "overall_scores.json").read_text()
)


@pytest.mark.parametrize("model", sorted(TABLE["rows"]))
def test_the_published_overall_score_is_reproduced(model):
    published, *scores = TABLE["rows"][model]
    percents = dict(zip(TABLE["columns"][1:], scores, strict=True))
    assert overall_score(percents) == pytest.approx(published, abs=0.01)


def test_the_weights_are_the_mean_scores_of_all_models():
    assert TABLE["weight_inv"] == WEIGHT_INVERSES
    for column, weight in enumerate(WEIGHT_INVERSES.values(), 1):
        mean = fmean(row[column] for row in TABLE["rows"].values())
        assert mean == pytest.approx(weight, abs=0.06)


def test_there_is_no_overall_score_of_some_tasks():
    percents = dict.fromkeys(WEIGHT_INVERSES, 10.0)
    del percents["KG"]
    with pytest.raises(EvalError, match="KG"):
        overall_score(percents)


def scored(task_id, value, outcome=Outcome.COMPLETED, *, suite="os", parts=None, **metadata):
    trajectory = Trajectory(
        suite=suite, suite_version="1", data_version="", task_id=task_id, split="test", trial=0,
        attempt=0, seed=0, agent="a", instruction="Do it.", first_observation="", steps=(),
        outcome=outcome, metadata=metadata,
    )  # fmt: skip
    return Scored(trajectory, Score(value, parts or {}))


EPISODES = [
    scored("a", 1.0),
    scored("b", 0.0),
    scored("c", 0.0, Outcome.INVALID_ACTION),
    scored("d", 0.0, Outcome.TASK_LIMIT),
    scored("e", None, Outcome.ENVIRONMENT_ERROR),
    scored("f", None, Outcome.AGENT_ERROR),
]


def test_statuses_are_shares_of_what_upstream_would_have_on_record():
    found = overall_json("os", EPISODES)
    validation = found["validation"]
    assert found["total"] == 5
    assert validation["completed"] == 0.4
    assert validation["agent invalid action"] == 0.2
    assert validation["task limit reached"] == 0.2
    assert validation["task error"] == 0.2
    assert sum(v for k, v in validation.items() if "length" not in k) == pytest.approx(1.0)
    assert found["custom"] == {"overall": {"total": 5, "pass": 1, "wrong": 4, "acc": 0.2}}
    assert main_percent("os", found) == 20.0


def test_each_task_has_its_own_metric():
    kinds = [("other", 1.0), ("INSERT", 0.0), ("UPDATE", 1.0), ("UPDATE", 0.0)]
    rows = [scored(str(i), v, suite="dbbench", type=k) for i, (k, v) in enumerate(kinds)]
    assert main_percent("dbbench", overall_json("dbbench", rows)) == pytest.approx(50.0)
    household = overall_json("household", EPISODES[:2])
    assert main_percent("household", household) == 50.0
    shop = overall_json("webshop", [scored("a", 0.25), scored("b", 0.75)])
    assert main_percent("webshop", shop) == 50.0
    parts = {"element_acc": 1.0, "action_f1": 0.5, "step_sr": 0.0}
    web = overall_json("mind2web", [scored("a", 0.0, parts=parts), scored("b", 0.0)])
    assert web["custom"] == {"element_acc": 50.0, "action_f1": 25.0, "step_sr": 0.0}


def test_nothing_played_is_no_report():
    with pytest.raises(EvalError, match="no finished episode"):
        overall_json("os", EPISODES[-1:])


def test_a_run_is_reported_with_what_was_measured_elsewhere(tmp_path, capsys):
    store = EpisodeStore(tmp_path / "os")
    store.claim({})
    for trajectory, score in EPISODES:
        store.keep(trajectory)
        store.keep_score(trajectory, score, "1")
    elsewhere = [f"{name}=10" for name in WEIGHT_INVERSES if name != "OS"]
    assert main([str(tmp_path), *elsewhere]) == 0
    told = capsys.readouterr().out
    assert "OS 20.0" in told
    assert "OA 1.12" in told
    assert json.loads((tmp_path / "os" / "overall.json").read_text())["total"] == 5
    assert main([str(tmp_path)]) == 0
    assert "OA" not in capsys.readouterr().out
    assert main([str(tmp_path), "OS=x"]) == 2
    assert main([str(tmp_path / "nowhere")]) == 2
