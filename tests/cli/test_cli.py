"""The command line's front, and `sessions`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clawjax.cli import known_commands, main
from clawjax.records import (
    DropReason,
    FinishReason,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    SamplingParams,
    Turn,
    TurnKind,
    Verdict,
)
from clawjax.testing import temporary_log

ROOT = Path(__file__).parents[2]


def turn(turn_id: str, *, session="s1", parent=None, at=100.0, kind=TurnKind.MAIN) -> Turn:
    return Turn(
        turn_id=turn_id,
        session_id=session,
        parent_turn_id=parent,
        response_id=turn_id,
        choice=0,
        kind=kind,
        scope="local",
        model="policy",
        messages=(Message("user", "a secret"),),
        tools_json=None,
        reply=Message("assistant", "hello"),
        prompt_ids=(1, 2, 3),
        response_ids=(4, 5),
        sampler_logprobs=(-0.5, -0.5),
        sampler_logprobs_t1=(-0.5, -0.5),
        token_versions=(),
        sampling=SamplingParams(8),
        finish_reason=FinishReason.STOP,
        arrived_at=at,
        finished_at=at,
        seed=0,
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
    ("words", "message"),
    [
        (["sessions", "nowhere"], "there is no turn log nowhere/turns.db"),
        (["sessions"], "give the run's folder"),
        (["sessions", "--log", "nonsense"], "write it as sqlite:///FILE"),
    ],
)
def test_what_cannot_be_done_is_said(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


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
