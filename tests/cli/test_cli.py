"""The command line's front, `sessions` and `replay`."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from turn_records import make_turn

from clawjax.cli import known_commands, main, with_signs
from clawjax.config import LinkingConfig, ModelConfig, RunConfig, RunSection
from clawjax.linking.replay import replay
from clawjax.records import (
    DropReason,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    Turn,
    TurnKind,
    Verdict,
)
from clawjax.testing import temporary_log

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["--least", "-1e-3", "runs/x"], ["--least=-1e-3", "runs/x"]),
        (["--least", "-inf"], ["--least=-inf"]),
        (["--least", "2", "-3"], ["--least", "2", "-3"]),
        (["--least=2", "-3"], ["--least=2", "-3"]),
        (["--", "-3"], ["--", "-3"]),
        (["--name", "-x"], ["--name", "-x"]),
        (["-3"], ["-3"]),
    ],
)
def test_a_negative_number_after_an_option_is_its_value(words, read):
    assert with_signs(words) == read


def turn(turn_id: str, *, session="s1", parent=None, at=100.0, kind=TurnKind.MAIN) -> Turn:
    return make_turn(
        turn_id,
        request="a secret",
        session_id=session,
        parent_turn_id=parent,
        kind=kind,
        arrived_at=at,
    )


def link(turn_id: str, kind=LinkKind.EXTEND, of=None) -> Link:
    origin = Origin("OpenAI JS", key="s1", key_source="prompt_cache_key")
    return Link(turn_id, kind, "the reply came back", "nothing says otherwise", origin, of)


@pytest.fixture
def run_folder(tmp_path) -> str:
    log = temporary_log(tmp_path)
    log.append(
        turn("t1"),
        link("t1", LinkKind.NEW),
        NextState("t1", NextStateKind.USER, 110.0),
        Verdict("t1", "next_state", 1.0, 111.0),
        Outcome("t1", 112.0, trained_version=3),
        turn("t2", parent="t1"),
        link("t2"),
        turn("t3", parent="t1"),
        link("t3", LinkKind.RETRY, "t2"),
        NextState("t3", NextStateKind.TOOL, 120.0),
        turn("t4", session="s2"),
        Outcome("t4", 113.0, drop_reason=DropReason.SIDE),
        turn("t5", session="s2"),
        NextState("t5", NextStateKind.USER, 120.0),
        Verdict("t5", "next_state", None, 121.0),
    )
    log.claim(7, ["t5"])
    log.close()
    return str(tmp_path)


def lines(capsys, *words: str) -> list[str]:
    assert main(words) == 0
    return capsys.readouterr().out.splitlines()


def test_sessions_and_what_became_of_their_turns(run_folder, capsys):
    shown = lines(capsys, "sessions", run_folder)
    text = "\n".join(shown)
    assert shown[0].startswith("session s2, 2 turns")
    assert "client OpenAI JS, named by prompt_cache_key" in text
    assert "trained in version 3" in text
    assert "waits for what comes next (left behind)" in text
    assert "t1 of t2" in text
    assert "dropped: side" in text
    assert "in training step 7" in text
    assert "waits for a verdict" in text
    assert "3+2" in text
    assert "next_state=none" in text
    assert "secret" not in text


def test_sessions_as_json(run_folder, capsys):
    (line,) = lines(capsys, "sessions", run_folder, "--json", "--session", "s1")
    session = json.loads(line)
    assert [entry["became"] for entry in session["turns"]] == [
        "trained in version 3",
        "waits for what comes next",
        "waits for a verdict",
    ]
    assert session["turns"][2]["link"]["of_turn_id"] == "t2"
    assert session["turns"][2]["link"]["origin"]["client"] == "OpenAI JS"
    assert session["turns"][0]["scores"] == {"next_state": 1.0}


def test_sessions_are_limited_to_the_newest_and_found_by_how_they_begin(run_folder, capsys):
    shown = lines(capsys, "sessions", run_folder, "--limit", "1")
    assert sum(line.startswith("session") for line in shown) == 1
    assert lines(capsys, "sessions", run_folder, "--session", "%") == ["no session"]
    assert lines(capsys, "sessions", "--log", f"sqlite:///{run_folder}/turns.db") != []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sessions", "--limit", "9" * 20), "is out of range: use 1 to"),
        (("export", "preferences", "--min-score", "0.5"), "--min-score is of `export sft`"),
        (("export", "sft", "--shape", "kto"), "--shape is of `export preferences`"),
        (("export", "sft", "--min-score", "nan"), "--min-score nan is no score"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run_folder, capsys, words, says):
    command, *rest = words
    at = 1 if command == "export" else 0
    assert main([command, *rest[:at], run_folder, *rest[at:]]) == 2
    assert says in capsys.readouterr().err


def test_keys_of_a_folder_that_is_not_there_are_not_listed(tmp_path, capsys):
    assert main(["keys", "list", str(tmp_path / "typo")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_one_session_is_shown_by_how_its_id_begins(run_folder, capsys, monkeypatch):
    shown = lines(capsys, "sessions", "show", "s1", run_folder)
    assert [line.split(",")[0] for line in shown if line.startswith("session")] == ["session s1"]
    assert shown == lines(capsys, "sessions", run_folder, "--session", "s1")
    usual = Path(run_folder) / "elsewhere"
    (usual / "runs").mkdir(parents=True)
    (usual / "runs" / "serve").symlink_to(run_folder)
    monkeypatch.chdir(usual)
    assert shown == lines(capsys, "sessions", "show", "s1")
    assert main(["sessions", "show", "nobody", run_folder]) == 2
    assert "no session begins with 'nobody'" in capsys.readouterr().err


def placed_log(folder: Path) -> str:
    """Two turns of one conversation, as the gateway would have placed them."""
    asked = Message("user", "secret question")
    first = replace(turn("t1"), messages=(asked,))
    said = (asked, first.reply, Message("user", "and then?"))
    second = replace(turn("t2", parent="t1"), messages=said, arrived_at=120.0, finished_at=121.0)
    log = temporary_log(folder)
    logged = [(first, link("t1", LinkKind.NEW)), (second, link("t2"))]
    now = {each.turn.turn_id: each.now for each in replay(logged, set(), LinkingConfig())}
    log.append(first, now["t1"], second, now["t2"])
    log.close()
    return str(folder)


def test_a_log_is_placed_again_by_the_runs_rules(tmp_path, capsys):
    folder = placed_log(tmp_path)
    assert lines(capsys, "replay", folder) == ["2 turns placed again: 2 as they were, 0 otherwise"]
    assert lines(capsys, "replay", folder, "--json") == []
    config = RunConfig(run=RunSection(dir=folder), model=ModelConfig(path="random:llama"))
    config.gateway.linking.side_users["follow-up"] = "and then"
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    assert main(["replay", folder, "--json"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["turn"], told["was"]["turn_kind_reason"]) == ("t2", "nothing says otherwise")
    assert "follow-up" in told["now"]["turn_kind_reason"]
    assert main(["replay", folder]) == 1
    said = capsys.readouterr().out
    assert said.startswith("t2 of session s1\n  was  ")
    assert "2 turns placed again: 1 as they were, 1 otherwise" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sessions", "show"], "write `clawjax sessions show ID"),
        (["sessions", "here", "t1"], "'t1' means nothing here"),
        (["replay"], "give the run's folder"),
        (["sessions", "nowhere"], "there is no turn log nowhere/turns.db"),
        (["sessions"], "give the run's folder"),
        (["sessions", "--log", "nonsense"], "write it as sqlite:///FILE"),
    ],
)
def test_what_cannot_be_done_is_said(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["status"], ["doctor"], ["sessions"], ["export", "turns"], ["keys", "list"], ["replay"]],
)
def test_a_folder_that_the_system_refuses_is_named(words, capsys):
    """As that of another account, which only its owner may enter."""
    assert main([*words, "x" * 300]) == 2
    assert "File name too long: " in capsys.readouterr().err


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["nonsense"])
    assert "nonsense" in capsys.readouterr().err


def test_every_command_has_a_line_of_help(capsys):
    assert "sessions" in known_commands()
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    width = max(map(len, known_commands()))
    for name, described in known_commands().items():
        assert described.endswith(".")
        assert f"{name:{width}}  {described}"[:40] in shown


def test_help_imports_no_library():
    code = (
        "import sys, clawjax.cli\n"
        "try: clawjax.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'numpy', 'sqlalchemy', 'omegaconf', 'starlette'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "clawjax", "--help"],
        check=True, cwd=ROOT, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert "sessions" in done.stdout
