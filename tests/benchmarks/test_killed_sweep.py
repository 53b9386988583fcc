"""What is said of a sweep that was killed and went on."""

import json

import pytest
from _killed_sweep import PAGE, Outcome, goals, read_trials, trial_table, with_table
from _result import RESULTS

optuna = pytest.importorskip("optuna")

VALUES = ({"x": 0.00123, "k": "a"}, {"x": 2.0, "k": "b"})
CUT = {"trial": 1, "values": VALUES[1], "state": "cut off", "again": None, "seconds": 3.4}
DONE = {"state": "complete", "again": None, "seconds": 20.2}
ROWS = [
    DONE | {"trial": 0, "values": VALUES[0], "score": 0.25, "evaluation": 0.25},
    CUT | {"score": None, "evaluation": None},
    DONE | {"trial": 2, "values": VALUES[1], "score": 0.5, "evaluation": 0.5, "again": 1},
]


def missed(rows, survivors=0):
    return [goal.name for goal in goals(rows, 2, Outcome(9.0, survivors)) if not goal.met]


def changed(row, **changes):
    return [*ROWS[:row], ROWS[row] | changes, *ROWS[row + 1 :]]


def test_a_sweep_that_went_on_meets_all_goals():
    assert missed(ROWS) == []


@pytest.mark.parametrize(
    ("rows", "goal"),
    [
        ([*ROWS, ROWS[0] | {"trial": 3, "values": {"x": 3.0}}], "trials with a score"),
        (changed(0, state="fail", score=None), "trials with a score"),
        ([ROWS[0], ROWS[2] | {"again": None}], "trials that were cut off"),
        (changed(2, again=None), "cut off and not done again"),
        (changed(2, values={"x": 4.0, "k": "b"}), "cut off and not done again"),
        (changed(0, values=VALUES[1]), "done twice"),
        (changed(0, evaluation=0.125), "scores that are not"),
        (changed(0, evaluation=0.75), "best evaluation less"),
        ([], "best evaluation less"),
    ],
)
def test_what_went_wrong_is_a_missed_goal(rows, goal):
    assert any(name.startswith(goal) for name in missed(rows))


def test_a_survivor_is_a_missed_goal():
    assert missed(ROWS, survivors=1) == ["trials that outlive the sweep"]


def test_trials_are_read_from_the_study_and_their_own_results(tmp_path):
    folders = [tmp_path / "trials" / name for name in ("0000", "0001")]
    for folder, score in zip(folders, (0.25, 0.5), strict=True):
        (folder / "trials").mkdir(parents=True)
        result = json.dumps({"style": {"style_score": score}})
        (folder / "trials" / "plain.json").write_text(result)
    (tmp_path / "sweep.json").write_text(json.dumps({"name": "some"}))
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="some", storage=storage, direction="maximize")
    space = {
        "x": optuna.distributions.FloatDistribution(0.0, 2.0),
        "k": optuna.distributions.CategoricalDistribution(("a", "b")),
    }
    states = optuna.trial.TrialState
    for state, row, folder, told in (
        (states.COMPLETE, ROWS[0], folders[0], {}),
        (states.FAIL, ROWS[1], folders[1], {"interrupted": True}),
        (states.COMPLETE, ROWS[2], folders[1], {"retry_of": 1, "attempt": 1}),
    ):
        study.add_trial(
            optuna.create_trial(
                state=state,
                params=row["values"],
                distributions=space,
                value=row["score"],
                user_attrs=told | {"folder": str(folder)},
            )
        )
    found = read_trials(tmp_path)
    assert [row | {"seconds": None} for row in found] == [row | {"seconds": None} for row in ROWS]


def test_the_table_says_which_trial_was_done_again():
    head, _, *lines = trial_table(ROWS).split("\n")
    assert head == "| trial | x | k | score | state | seconds |"
    assert lines == [
        "| 0 | 0.0012 | a | 0.250 | complete | 20 |",
        "| 1 | 2 | b |  | cut off | 3 |",
        "| 2 | 2 | b | 0.500 | complete, trial 1 again | 20 |",
    ]


def test_a_page_keeps_what_is_around_its_table():
    page = with_table("before\n\n| trial | y |\n| --- | --- |\n| 9 | 9 |\n\nafter\n", ROWS)
    assert page == f"before\n\n{trial_table(ROWS)}\n\nafter\n"
    with pytest.raises(ValueError, match="0 tables"):
        with_table("nothing\n", ROWS)


def test_the_docs_show_the_committed_result():
    result = json.loads((RESULTS / "sweep.json").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, result["rows"]) == page, "run python benchmarks/sweep.py"
