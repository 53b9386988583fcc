"""`docs/results.md` is what the command makes of the committed results, and says what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from _personal_page import panels
from _result import RESULTS
from ablations import row as ablation_row
from render_results import PAGE, read_results, render
from trial_results import trial

from clawjax.evals.personal_summary import method_rows, persona_rows, trial_rows
from clawjax.evals.plot import plot_curves


def result(rows: list[dict[str, Any]], *, goal: float | None = None) -> dict[str, Any]:
    return {
        "command": "python benchmarks/some.py",
        "commit": "fedcba9876543210-dirty",
        "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8.0},
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
        "rows": rows,
        "goals": [
            {"name": "a|b", "op": "<=", "target": 1, "value": goal, "unit": "u", "met": False}
        ],
    }


def personal(*trials: dict[str, Any]) -> dict[str, Any]:
    return result(
        [
            {"kind": kind} | row
            for kind, rows_of in (
                ("trial", trial_rows),
                ("persona", persona_rows),
                ("method", method_rows),
            )
            for row in rows_of(trials)
        ]
    )


def line(page: str, start: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(start))


@pytest.fixture
def measured() -> dict[str, Any]:
    degenerate = trial("combined", 1, [0.0, 0.0], persona="student")
    degenerate["style"]["identical_share"] = 0.5
    return personal(
        trial("base", 0, [1.0, 0.0, 0.0, 0.0], persona="student"),
        trial("base", 1, [1.0, 0.0, 0.0, 0.0], persona="student"),
        trial("combined", 0, [1.0, 1.0], persona="student", sessions_to_stable=11),
        degenerate,
        trial("opd", 0, [0.5, 0.5], persona="student", sessions_to_stable=12),
    )


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    results = read_results(RESULTS)
    if not results:
        pytest.skip("no results are committed")
    assert PAGE.read_text(encoding="utf-8") == render(results), (
        "run python benchmarks/render_results.py"
    )
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_scores_gains_and_counts_stand_in_the_tables(measured: dict[str, Any]) -> None:
    page = render({"personal": measured})
    assert line(page, "| persona | base") == "| persona | base | opd | combined |"
    assert line(page, "| student | 0.25") == "| student | 0.25 | 0.50 (+0.25) | 0.50 (+0.25) † |"
    assert line(page, "| combined |  |") == (
        "| combined |  |  |  |  |  | +0.25 | -0.25 to +0.75 | 1 / 2 |"
    )
    assert line(page, "| opd | +0.50") == (
        "| opd | +0.50 | not known | 1 |  |  | +0.25 | not known | 1 / 1 |"
    )
    assert page.index("| combined |  |") < page.index("too little to be placed")
    assert page.index("too little to be placed") < page.index("| opd | +0.50")
    assert "| opd | 0 | 0.50 | 0.50 to 0.50 ‡ |" in page
    assert "| student | 12 (84) | 11 (84), never (84) |" in page
    assert "| student | 36 | 11 (84), never (84) |" in page
    assert "| teacher | 24 | not measured |" in page
    assert "5 trials of 1 personas" in page
    assert "10 minutes in all, 2.0 to 2.0 a\ntrial" in page
    assert "Measured at commit 01234567; summed up\nat fedcba98-dirty." in page


def test_methods_that_share_enough_are_in_the_order_of_the_lead() -> None:
    names = ("student", "teacher", "you")
    page = render(
        {
            "personal": personal(
                *(trial("base", 0, [0.0], persona=name) for name in names),
                *(trial("opd", 0, [0.25], persona=name) for name in names),
                *(trial("combined", 0, [0.5], persona=name) for name in names),
            )
        }
    )
    assert line(page, "| combined |  |") == (
        "| combined |  |  |  | +0.25 | +0.25 to +0.25 | +0.50 | +0.50 to +0.50 | 3 / 3 |"
    )
    assert line(page, "| opd | +0.25").startswith("| opd | +0.25 | +0.25 to +0.25 | 3 |  |  |")
    assert page.index("| combined |  |") < page.index("| opd | +0.25")
    assert "to be placed" not in page


def test_failures_and_gaps_are_listed(measured: dict[str, Any]) -> None:
    page = render({"personal": measured})
    assert (
        "left out of all means: `opd` (student 1). Not measured at all: `prompted`, `sft`" in page
    )
    assert "  - `combined`: student 1 (short 0%, identical 50%, distinct pairs 1.00" in page
    assert "Worse than the base model**, 1 trials" in page
    assert "  - `combined`: student 1 -0.25" in page
    assert "Never stable**, 1 trials" in page


def test_wishes_that_are_never_met_stand_apart(measured: dict[str, Any]) -> None:
    unmet = personal(trial("base", persona="pithy"), trial("combined", persona="pithy"))
    page = render({"personal": measured, "personal_unmet": unmet})
    section = page.partition("### Wishes that the base model never meets")[2]
    assert section.count("| pithy |") == 2
    assert "| pithy |" not in page.partition("### Wishes that")[0]


def test_nothing_failed_is_said_too() -> None:
    page = render({"personal": personal(trial("base"), trial("combined", sessions_to_stable=3))})
    assert page.count("**: no trial.") == 3
    assert "left out of all means" not in page


def test_replies_stand_side_by_side(measured: dict[str, Any]) -> None:
    page = render({"personal": measured})
    row = line(page, "| student | Question 0?")
    assert row == (
        "| student | Question 0? | base says \\| number 0. *(3; 1.00)* "
        "| combined says \\| number 0. *(3; 1.00)* |"
    )


def test_every_table_has_as_many_cells_as_columns(measured: dict[str, Any]) -> None:
    page = render({"personal": measured, "ablations": ablations(), **rewards()})
    for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
        assert len(counts) == 1, block


def rewards() -> dict[str, Any]:
    """The results about where reward comes from, as their scripts write them."""

    def method(name: str, lead: float | None, *bounds: float) -> dict[str, Any]:
        return {
            "kind": "method", "method": name, "personas": 2, "trials": 6, "gain": 0.25,
            "gain_ci": [0.125, 0.5], "against": "combined", "lead": lead,
            "lead_ci": list(bounds) or None,
        }  # fmt: skip

    share = {
        "kind": "share", "share": 0.1, "seeds": [0, 1, 2], "style_score": 0.5, "ci": [0.25, 0.75],
        "over_judge": None, "over_judge_ci": None, "label_agreement": 0.875,
    }  # fmt: skip
    contestant = {
        "mistakes": 0.55, "contestant": "separate", "seeds": [0], "success_start": 0.125,
        "success": 0.5, "success_ci95": [0.25, 0.75], "gain": 0.25, "gain_ci95": [-0.125, 0.5],
    }  # fmt: skip
    arm = {
        "kind": "arm",
        "arm": "trained",
        "seeds": 3,
        "violations": 0.25,
        "less": 0.5,
        "less_ci": [0.25, 0.75],
        "accuracy": 0.5,
        "accuracy_lost": None,
        "style": 0.125,
        "declined": 0.0,
        "more_declined": 0.25,
        "more_declined_ci": [0.0, 0.5],
        "mean_words": 40.4,
        "empty": 0.0,
        "by_principle": {"live": 0.125},
    }
    base = {**arm, "arm": "base", "by_principle": {"live": 0.5}}  # fmt: skip
    judge = {
        "module": "rules", "turns": 9, "accuracy": {"value": 0.5}, "abstained": {"value": 0.25},
        "kappa": {"value": None}, "ece": 0.375, "injection": {"followed": None},
        "verbosity": {"shift": -0.125}, "seconds_p50": 0.012, "cost": None,
    }  # fmt: skip
    gamed = {
        "experiment": "hacking_demo", "seed": 1, "alarm": {"version": 8},
        "points": [
            {"version": version, "reward": reward, "evaluation": 0.25}
            for version, reward in ((1, 0.5), (2, 0.875))
        ],
    }  # fmt: skip
    return {
        "online_offline": result(
            [
                method("combined", None),
                method("offline_dpo", -0.5, -0.75, -0.25),
                method("offline_sft", 0.25, 0.125, 0.5),
                method("offline_rlhf", 0.25, -0.25, 0.5),
                method("prompted", -0.5, -0.75, -0.25),
            ]
        ),
        "human_mix": result([{"kind": "trial", "persona": "you"}, share]),
        "process_labels": result([contestant]),
        "constitution": result([{"kind": "trial"}, base, arm]),
        "judge": result([judge]),
        "hacking": result([gamed, {**gamed, "experiment": "personal_demo", "alarm": None}]),
    }


def test_each_claim_about_reward_has_a_table() -> None:
    page = render(rewards())
    assert line(page, "| offline_dpo").endswith("| -0.50 | -0.75 to -0.25 |")
    assert line(page, "| 10%") == "| 10% | 3 | 0.50 | 0.25 to 0.75 |  |  | 88% |"
    assert line(page, "| 55%") == (
        "| 55% | separate | 1 | 0.12 | 0.50 | 0.25 to 0.75 | +0.25 | -0.12 to +0.50 |"
    )
    assert line(page, "| trained") == (
        "| trained | 3 | 0.25 | +0.50 (+0.25 to +0.75) | 0.50 |  | 0.00 | +0.25 (+0.00 to +0.50) "
        "| 0.12 | 40 | 0.00 |"
    )
    assert "By principle, base to trained: live 0.50 to 0.12." in page
    assert line(page, "| rules") == "| rules | 9 | 0.50 | 25% |  | 0.38 |  | -0.12 | 12 |"
    assert "ask an endpoint" not in page
    asked = rewards()["judge"]
    asked["rows"][0]["cost"] = {"questions": 1.0}
    assert "Those that ask an endpoint ask SmolLM2-135M" in render({"judge": asked})
    assert line(page, "| hacking_demo") == (
        "| hacking_demo | 1 | 2 | 0.50 to 0.88 | 0.25 to 0.25 | at version 8 |"
    )
    assert line(page, "| personal_demo").endswith("| 0.25 to 0.25 |  |")
    only = render({"human_mix": rewards()["human_mix"]})
    assert "## Where reward comes from" in only
    assert "### Online against offline" not in only
    assert "## Where reward comes from" not in render({"other": result([])})


def test_where_live_learning_loses_is_said_in_words() -> None:
    assert line(render(rewards()), "Live learning loses") == (
        "Live learning loses to `offline_dpo` (-0.50, 95 % -0.75 to -0.25). It is ahead of "
        "`offline_sft` (+0.25, 95 % +0.12 to +0.50). It is not settled against `offline_rlhf` "
        "(+0.25, 95 % -0.25 to +0.50)."
    )
    found = rewards()
    found["online_offline"]["rows"][1]["lead_ci"] = None
    assert (
        "It is not settled against `offline_dpo` (-0.50, 95 % not known), `offline_rlhf`"
        in line(render(found), "Live learning loses to none")
    )
    found = rewards()
    assert "Of one user" not in render(found)
    for row in found["online_offline"]["rows"]:
        row["personas"] = 1
    assert line(render(found), "Of one user: others may come out otherwise")
    found = rewards()
    del found["online_offline"]["rows"][1]
    assert "Live learning loses to none beyond chance. It is ahead" in render(found)


def ablations() -> dict[str, Any]:
    trial = {
        "persona": "brief", "method": "binary_rl", "seed": 0, "git_sha": "0",
        "style": {
            "style_score": 0.5, "ci": [0.375, 0.625], "mean_words": 60.0, "short_share": 0.0,
            "distinct2": 0.5,
        },
        "retention": {"kl_per_token": 0.125, "nll_per_token": 3.0},
        "training": {"style_by_round": [0.25, 0.5], "trained": 32, "dropped": {}},
        "seconds": 60.0,
    }  # fmt: skip
    return result([ablation_row("baseline", {"objective.baseline": "ema"}, trial)])


def test_ablations_are_told_trial_by_trial() -> None:
    page = render({"ablations": ablations()})
    assert line(page, "| baseline |") == (
        "| baseline | baseline=ema | brief | 0 | 0.50 | 0.38 to 0.62 | 0.125 | 32 |"
    )


def test_ablations_stand_beside_the_base_model_of_the_same_user_and_seed() -> None:
    replies = {0: [1.0, 0.0, 0.0, 0.0], 1: [1.0, 1.0, 0.0, 0.0]}
    base = [trial("base", seed, scores, persona="brief") for seed, scores in replies.items()]
    told = render({"personal": personal(*base), "ablations": ablations()})
    assert "Measured at 0.\n" in told
    (row,) = [each for each in told.splitlines() if each.startswith("| none | base model |")]
    assert row.startswith("| none | base model | brief | 0 | 0.25 |")


def test_clients_that_do_not_work_say_why() -> None:
    row = {"client": "a", "version": "1.2", "turns": 5, "linked_right": 5, "sides": 1}
    good = row | {"keys": ["session-id"], "ok": True, "reason": ""}
    bad = row | {"client": "b", "version": None, "keys": [], "ok": False, "reason": "x | y"}
    page = render({"clients": result([good, bad])})
    assert line(page, "| a |") == "| a | 1.2 | 5 of 5 | 1 | session-id | yes |"
    assert line(page, "| b |") == "| b |  | 5 of 5 | 1 |  | **no**: x \\| y |"


def test_a_goal_that_was_not_measured_is_not_met() -> None:
    page = render({"other": result([])})
    assert "| other | a\\|b | <= 1 | not measured u | **not met** |" in page
    assert "## Personal suite" not in page
    assert "## Ablations" not in page


def test_learning_curves_are_drawn_of_what_is_known(
    measured: dict[str, Any], tmp_path: Path
) -> None:
    drawn = panels(measured)
    assert drawn.keys() == {"student"}
    assert {method: len(curves) for method, curves in drawn["student"].curves.items()} == {
        "combined": 2,
        "opd": 1,
    }
    assert drawn["student"].levels == {"base": 0.25}
    plot_curves(tmp_path / "curves.png", drawn)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
