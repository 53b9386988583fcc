"""`clawjax review`, and the terminal reviewer as a person would use it."""

import io
import json
import re

import pytest
from rich.console import Console
from test_cli import turn

from clawjax.cli import main
from clawjax.cli.reviewer import TerminalReviewer
from clawjax.log.holding import ReviewRequest
from clawjax.records import Message, NextState, NextStateKind, Verdict
from clawjax.review.queue import ReviewQueue
from clawjax.testing import temporary_log


@pytest.fixture
def run_folder(tmp_path) -> str:
    log = temporary_log(tmp_path)
    for number, turn_id in enumerate(("t1", "t2", "t3")):
        log.append(
            turn(turn_id),
            NextState(turn_id, NextStateKind.USER, 110.0, (Message("user", "\x1b[2Jthanks"),)),
            Verdict(turn_id, "llm_judge", 0.4, 111.0, explanation="majority +1"),
            ReviewRequest(turn_id, ("votes split",), 120.0 + number, 130.0),
        )
    log.close()
    return str(tmp_path)


def review(folder: str, *lines: str, reviewer: str = "anna") -> str:
    """What the terminal shows while these lines are typed."""
    log = temporary_log(folder)
    shown = io.StringIO()
    typed = iter(lines)

    def read() -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    console = Console(file=shown, width=100)
    TerminalReviewer(
        ReviewQueue(log, lease_s=60.0), reviewer, console=console, read=read, clock=lambda: 200.0
    ).run()
    log.close()
    return shown.getvalue()


def test_who_has_no_name_is_told_how_to_give_one(run_folder, capsys, monkeypatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert main(["review", run_folder]) == 2
    said = capsys.readouterr().err
    option = re.search(r"give (--\S+) NAME", said)
    assert option is not None
    assert main(["review", run_folder, option[1], "anna", "--report"]) == 0


def test_a_person_labels_one_turn_after_the_other(run_folder, capsys):
    shown = review(
        run_folder,
        *("v", "h Be brief.", "l progress=-1", "n so", "-"),  # t3
        *("+", "u"),  # t2, taken back in t1
        *("-0.5", "s"),  # t2 again, then t1 skipped
    )
    assert shown.index("turn t3") < shown.index("turn t2")
    assert "votes split" in shown
    assert "\x1b[2J" not in shown
    assert "llm_judge: +0.40  majority +1" in shown
    assert "took back turn t2" in shown
    assert "2 labelled." in shown
    assert main(["review", run_folder, "--export", "-", "--open"]) == 0
    told = {
        line["turn_id"]: line["label"]
        for line in map(json.loads, capsys.readouterr().out.splitlines())
    }
    assert told["t3"] == {
        "reviewer": "anna",
        "score": -1.0,
        "labelled_at": 200.0,
        "steps": {"progress": -1.0},
        "hints": ["Be brief."],
        "note": "so",
    }
    assert told["t2"]["score"] == -0.5
    assert told["t1"] is None


def test_nothing_that_is_shown_moves_the_cursor(run_folder):
    escape = "\x1b]0;mine\x07\x1b[2J\x9b31m"
    log = temporary_log(run_folder)
    log.append(
        turn("t4"),
        NextState("t4", NextStateKind.USER, 110.0, (Message("user", f"thanks{escape}"),)),
        Verdict("t4", "tool_outcome", 0.0, 111.0, explanation=f"not declared: {escape}"),
        ReviewRequest("t4", (f"split{escape}",), 125.0, 130.0),
    )
    log.close()
    shown = review(run_folder, "v", "all", "q")
    assert "turn t4" in shown
    assert "not declared: \N{REPLACEMENT CHARACTER}]0;mine" in shown
    assert {c for c in shown if not c.isprintable()} == {"\n"}


def test_what_is_typed_wrongly_changes_nothing(run_folder):
    shown = review(run_folder, "l speed=1", "l progress=9", "2", "what", "q")
    assert shown.count("cannot tell") == 5  # the help, at first and once per mistake
    assert "0 labelled." in shown
    assert "llm_judge" not in shown  # nobody asked what judges said


def test_labels_are_reported_imported_and_asked_for(run_folder, tmp_path, capsys):
    review(run_folder, "+", "+", "-")
    assert main(["review", run_folder, "--report", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    judge = report["judges"]["llm_judge"]
    assert (judge["n"], judge["abstained"]) == (3, 0.0)
    assert judge["right"] == pytest.approx(2 / 3)
    assert report["queue"]["settled"] == 3
    assert main(["review", run_folder, "--report"]) == 0
    assert "llm_judge            3      0.00   0.67" in capsys.readouterr().out

    file = tmp_path / "labels.jsonl"
    assert main(["review", run_folder, "--export", str(file)]) == 0
    assert file.stat().st_mode & 0o077 == 0
    assert main(["review", run_folder, "--export", str(file)]) == 2
    assert "name a new file" in capsys.readouterr().err
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["label"]["reviewer"] = "ben"
    again = tmp_path / "again.jsonl"
    again.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["review", run_folder, "--import", str(again)]) == 0
    assert "1 labels read, 2 were there already" in capsys.readouterr().out
    assert main(["review", run_folder, "--add", "nobody"]) == 2
    assert "no turn 'nobody'" in capsys.readouterr().err
    assert main(["review", run_folder, "--add", "t1"]) == 0


def test_judges_are_calibrated_by_labels(run_folder, tmp_path, capsys):
    file = tmp_path / "calibration.json"
    assert main(["review", run_folder, "--calibrate", str(file)]) == 2
    assert "0 of 0 labelled turns are of the random audit" in capsys.readouterr().err
    review(run_folder, "-", "0", "-")  # t3, t2, t1: of t2 the person cannot tell
    assert main(["review", run_folder, "--calibrate", str(file), "--audit"]) == 2
    refused = capsys.readouterr().err
    assert "0 of 3 labelled turns are of the random audit" in refused
    assert "leave --audit out" in refused
    assert not file.exists()

    assert main(["review", run_folder, "--calibrate", str(file)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("0 of 3 labelled turns are of the random audit; fitted to all.")
    assert shown[1].split() == ["module", "labels", "slope", "bias", "before", "after"]
    assert shown[2].split()[:2] == ["llm_judge", "2"]
    assert shown[3] == f"Judge by it with reward.calibration_file={file}"
    told = json.loads(file.read_text())
    assert (told["format"], told["turns"]) == ("clawjax.calibration/1", "all")
    assert list(told["modules"]) == ["llm_judge"]
    assert told["modules"]["llm_judge"]["n"] == 2
    assert told["modules"]["llm_judge"]["bias"] < 0
    assert main(["review", run_folder, "--calibrate", str(file)]) == 2
    assert "name a new file" in capsys.readouterr().err


def test_judges_are_calibrated_by_the_audit_alone_where_that_is_wanted(run_folder, tmp_path):
    log = temporary_log(run_folder)
    log.append(
        turn("t4"),
        NextState("t4", NextStateKind.USER, 110.0, (Message("user", "thanks"),)),
        Verdict("t4", "llm_judge", 1.0, 111.0),
        ReviewRequest("t4", ("audit",), 125.0, 130.0),
    )
    log.close()
    review(run_folder, "+", "-", "-", "-")  # t4 first
    found = {}
    for name, *audit in (("all",), ("audit", "--audit")):
        file = tmp_path / f"{name}.json"
        assert main(["review", run_folder, "--calibrate", str(file), *audit]) == 0
        found[name] = json.loads(file.read_text())
    assert {name: told["turns"] for name, told in found.items()} == {"all": "all", "audit": "audit"}
    judges = {name: told["modules"]["llm_judge"] for name, told in found.items()}
    assert (judges["all"]["n"], judges["audit"]["n"]) == (4, 1)
    assert judges["all"]["bias"] < 0 < judges["audit"]["bias"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--audit"], "--audit is part of --calibrate"),
        (["--open", "--report"], "--open is part of --export"),
        (["--people", "2"], "--people is part of --add"),
        (["--json"], "--json is part of --report"),
        (["--lease", "-1"], "--lease -1 keeps no turn"),
        (["--lease", "nan"], "--lease nan keeps no turn"),
    ],
)
def test_options_that_would_do_nothing_are_refused(run_folder, words, said, capsys):
    assert main(["review", run_folder, *words]) == 2
    assert said in capsys.readouterr().err
