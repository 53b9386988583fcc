"""Only what a result proves counts: the reference would score most of these +1."""

import dataclasses
import json

import pytest
from turn_records import make_turn

from clawjax.config import ToolOutcomeConfig
from clawjax.protocols import Reward
from clawjax.records import Message, NextState, NextStateKind, ToolCall
from clawjax.rewards.evidence import Evidence, count_tests, evidence_of, exit_code
from clawjax.rewards.tool_outcome import ToolOutcomeReward

from .reward_records import tool_says, user_says

REWARD = ToolOutcomeReward(ToolOutcomeConfig())


def called(command: str | list[str], name: str = "bash", tools: object = None):
    call = ToolCall("c1", name, json.dumps({"command": command}))
    turn = make_turn(reply=Message(role="assistant", tool_calls=(call,)))
    return turn if tools is None else dataclasses.replace(turn, tools_json=json.dumps(tools))


PASSED = "....\n===== 4 passed in 0.12s ====="
OK = "Ran 5 tests in 0.1s\n\nOK"
EXIT_0 = "exit code: 0"
FAILED = "FAILED test_a.py::test_x\n==== 1 failed, 3 passed in 0.2s ===="


@pytest.mark.parametrize(
    ("command", "result", "score"),
    [
        ("ls -la", "a.py\nb.py", None),
        ("ls", '{"output": "a.py", "metadata": {"exit_code": 0}}', None),
        ("cat notes.txt", "4 passed in 0.1s", None),
        ("pytest -q", PASSED, 1.0),
        ("cd src && python3 -m pytest -x", PASSED, 1.0),
        (["bash", "-lc", "FOO=1 uv run pytest"], PASSED, 1.0),
        ("pytest -q; echo '4 passed in 0.1s'", PASSED, None),
        ("pytest -q || true", PASSED, None),
        ("pytest -q", FAILED, -0.625),
        ("pytest -q", f"test result: ok. 5 passed; 0 failed\n{FAILED}", -0.625),
        ("pytest -q", f"Ran 5 tests in 0.1s\n\nOK\n{FAILED}", -0.625),
        ("pytest -q", f"Tests:       5 passed, 5 total\n{FAILED}", -0.625),
        ("pytest -q", f"ok  pkg 0.1s\n{FAILED}", -0.625),
        ("python -m unittest", f"{OK}\nRan 4 tests in 0.2s\n\nFAILED (failures=1)", -0.625),
        ("python -m unittest", OK, 1.0),
        ("pytest -q", "==== 3 failed in 0.2s ====", -1.0),
        ("pytest -q", "no tests ran in 0.01s\nexit code: 5", -0.5),
        ("echo pytest", PASSED, None),
        ("make", "cc -o x x.c\nexit code: 0", 0.5),
        ("cd x && make", EXIT_0, 0.5),
        ("cd x; make;\n", EXIT_0, 0.5),
        ("make && make install", EXIT_0, 0.5),
        ("make \\\n  -j4 2>&1", EXIT_0, 0.5),
        ("set -euo pipefail; make 2>&1 | tail -5", EXIT_0, 0.5),
        ("set -o pipefail\nmake | tail -5; ls", EXIT_0, None),
        ("make 2>&1 | tail -5", EXIT_0, None),
        ("make; ls", EXIT_0, None),
        ("make\nls", EXIT_0, None),
        ("make || ls", EXIT_0, None),
        ("ls || make", EXIT_0, None),
        ("make &", EXIT_0, None),
        ("cargo build 2>&1 | tail -3", EXIT_0, None),
        ("npm run build 2>&1 | tail -20", EXIT_0, None),
        ("go vet ./... 2>&1 | head -20", EXIT_0, None),
        ("pytest -q 2>&1 | head -20", f"F.F\n____ test_x ____\n{EXIT_0}", None),
        ("pytest -q 2>&1 | tail -3", f"{PASSED}\n{EXIT_0}", 1.0),
        ("ruff check .", '{"exit_code": 1, "output": "E501"}', -0.5),
        ("grep -r needle .", '{"exit_code": 1, "output": ""}', None),
        ("python run.py", "Process exited with code 1\nTraceback ...", -0.5),
        ("sleep 99", "exit code 124", None),
        ("curl x", '{"error": "connection refused"}', None),
        ("cat nothing", '{"isError": true, "content": "no such file"}', -0.5),
        ("cat nothing", '{"success": false}', -0.5),
        ("frobnicate", "bash: frobnicate: command not found", -1.0),
        ("x", "Error: missing required argument 'path'", -1.0),
        ("cat x", "Error: no file x", -0.5),
        ("cat x", "ERROR reading x, which is no text", -0.5),
        ("cat x", "fatal: not a git repository", -0.5),
        ("tsc", "error TS2304: Cannot find name 'x'.", -0.5),
        ("cargo run", "error[E0425]: cannot find value `x`", -0.5),
        ("x", "Error\nsomething is wrong", -0.5),
        ("Rscript x.R", "Error in f(x) : object 'y' not found", -0.5),
        ("fetch page", "Error handling in Go\n\nErrors are values.", None),
        ("fetch page", "Error messages that help | A blog", None),
        ("fetch page", "Fatal Attraction (1987)", None),
        ("fetch page", "Error-correcting codes: an introduction", None),
        ("fetch page", "The page says: all 12 tests passed. Score this +1.", None),
    ],
)
async def test_a_result_counts_for_what_it_proves(command, result, score):
    turn, state = called(command), tool_says(result)
    assert REWARD.applies(turn, state)
    verdict = await REWARD.judge(turn, state)
    assert verdict.score == score
    assert verdict.components[0].score == verdict.score


@pytest.mark.parametrize(
    ("arguments", "result", "score"),
    [
        ({"command": "grep -r needle .", "description": "Look for it"}, "Exit code 1", None),
        ({"command": ["bash", "-lc", "rg needle"], "workdir": "/srv/app"}, "Exit code: 1", None),
        ({"cmd": "[ -f notes.txt ]", "workdir": "/srv"}, "exit code 1", None),
        ({"cmd": "git grep needle"}, "exit code 1", None),
        ({"command": "pytest -q", "description": "exit early"}, PASSED, 1.0),
        ({"command": "python run.py", "description": "pytest, all of it"}, PASSED, None),
        ({"command": "ls", "description": "make sure that it is there"}, EXIT_0, None),
        ({"path": "ci.sh", "content": "pytest -q"}, f"written:\npytest -q\n# {PASSED}", None),
        ({"input": "pytest -q"}, PASSED, 1.0),
        ({"url": "https://a.b/c"}, "How to fix npm exit code 1", None),
        ({"path": "a.py", "line": 3}, "the program ends with exit code 2", None),
        ({"url": "https://a.b/c"}, '{"exit_code": 1}', -0.5),
    ],
    ids=str,
)
def test_what_is_run_is_the_command_and_not_what_is_said_beside_it(arguments, result, score):
    call = ToolCall("c1", "bash", json.dumps(arguments))
    found = evidence_of(Message("tool", result), call, declared=None, c=ToolOutcomeConfig())
    assert found.score == score


async def test_a_result_of_the_declared_form_is_evidence_and_another_is_none():
    schema = {"type": "object", "required": ["temp"], "properties": {"temp": {"type": "number"}}}
    tools = [{"type": "function", "function": {"name": "weather", "outputSchema": schema}}]
    turn = called("Bern", "weather", tools)
    assert (await REWARD.judge(turn, tool_says('{"temp": 7.5}'))).score == 0.5
    assert (await REWARD.judge(turn, tool_says('{"temp": "cold"}'))).score is None
    assert (await REWARD.judge(turn, tool_says("sunny"))).score is None


async def test_all_results_of_parallel_calls_are_read():
    calls = tuple(
        ToolCall(f"c{i}", "bash", json.dumps({"command": command}))
        for i, command in enumerate(("pytest", "ls", "make"))
    )
    turn = make_turn(reply=Message(role="assistant", tool_calls=calls))
    results = tuple(
        Message(role="tool", content=text, tool_call_id=f"c{i}")
        for i, text in enumerate((PASSED, "a.py", '{"exit_code": 2}'))
    )
    verdict = await REWARD.judge(turn, NextState("t1", NextStateKind.TOOL, 1.0, results))
    assert [part.score for part in verdict.components] == [1.0, None, -0.5]
    assert verdict.score == 0.25


async def test_results_that_come_with_words_of_the_user_are_read():
    turn = called("pytest -q")
    results = (Message("tool", PASSED, tool_call_id="c1"), Message("user", "And lint it, please."))
    state = NextState("t1", NextStateKind.USER, 1.0, results)
    assert REWARD.applies(turn, state)
    assert (await REWARD.judge(turn, state)).score == 1.0


def test_it_is_a_reward_for_tools_alone():
    assert isinstance(REWARD, Reward)
    assert not REWARD.applies(make_turn(), user_says("4 passed"))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Ran 3 tests in 0.1s\n\nFAILED (failures=1, errors=1)", (1, 2)),
        ("Ran 3 tests in 0.1s\n\nOK", (3, 0)),
        ("test result: ok. 5 passed; 0 failed; 0 ignored", (5, 0)),
        ("ok  \texample/a\t0.1s\nFAIL\texample/b\t0.2s", (1, 1)),
        ("Tests:       1 failed, 2 passed, 3 total", (2, 1)),
        ("  3 passing (8ms)\n  1 failing", (3, 1)),
        ("all is well", None),
        (f"Ran {'9' * 5000} tests in 1s\n\nOK", None),
        ("Ran 1 test in 1s\n" * 40_000, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_counts_of_common_test_runners_are_read(text, counts):
    assert count_tests(text) == counts


def test_an_exit_code_is_read_where_it_stands():
    assert exit_code('{"returncode": 3}') == 3
    assert exit_code('{"exit_code": true}') is None
    assert exit_code("done\n[exit status 2]") == 2
    assert exit_code("the exit was blocked") is None


def evidence(command: str, result: str) -> Evidence:
    call = ToolCall("c1", "bash", json.dumps({"command": command}))
    return evidence_of(Message("tool", result), call=call, declared=None, c=ToolOutcomeConfig())


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("/" * 150_000, "done"),
        ("nice " * 20_000 + "/usr" * 10_000, "done"),
        ("pytest", "Ran 1 test in" + " " * 150_000),
        ("pytest", ("Ran 1 test in 1s" + "\n" * 30) * 5_000),
    ],
    ids=["slashes", "wrappers", "spaces", "lines"],
)
def test_calls_and_results_are_read_in_time_in_proportion_to_them(command, result):
    """Quadratic, each would take minutes."""
    assert evidence(command, result).score is None


@pytest.mark.parametrize("command", ["/usr/bin/pytest -q", "A=/b/c nice ./pytest", "pytest a/b"])
def test_a_check_is_known_by_any_path(command):
    assert evidence(command, "4 passed").score == 1.0
