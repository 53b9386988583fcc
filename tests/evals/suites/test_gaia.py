"""GAIA: the official scorer, the loader, our own questions, the tools, and ways to cheat."""

import contextlib
import io
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clawjax.errors import ConfigError, UnavailableError
from clawjax.evals.agents.scripted import exploit_agent, following
from clawjax.evals.harness.calculator import calculate
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.protocols import FormatError, Parsed
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.sandbox import sandbox_problem
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action, Setup
from clawjax.evals.harness.trajectory import AgentTurn
from clawjax.evals.suites.gaia.environment import GaiaEnvironment
from clawjax.evals.suites.gaia.exploits import EXPLOITS
from clawjax.evals.suites.gaia.scoring import is_match
from clawjax.evals.suites.gaia.suite import OPEN, build
from clawjax.evals.web.chromium import browser_problem

# What the official scorer says (as copied, under Apache-2.0, in inspect-evals 0.26.0).
GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "gaia" / "golden.jsonl")
    .read_text()
    .splitlines()
]
QUESTIONS = [json.loads(line) for line in (OPEN / "metadata.jsonl").read_text().splitlines()]
needs_browser = pytest.mark.skipif(browser_problem() is not None, reason=str(browser_problem()))
needs_sandbox = pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))


def test_the_scorer_is_the_official_one():
    assert len(GOLDEN) >= 60
    wrong = [each for each in GOLDEN if is_match(each["answer"], each["gold"]) != each["match"]]
    assert wrong == []


def test_there_are_enough_questions_of_each_level():
    assert len(QUESTIONS) >= 40
    assert {level: sum(q["Level"] == level for q in QUESTIONS) >= 12 for level in (1, 2, 3)} == {
        1: True,
        2: True,
        3: True,
    }
    assert len({q["task_id"] for q in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["task_id"])
def test_every_answer_follows_from_question_and_file(question, monkeypatch):
    monkeypatch.chdir(OPEN)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(question["Annotator Metadata"]["Check"], {"__name__": "check"})
    assert told.getvalue().strip() == question["Final answer"]


def official(folder, **changed):
    entry = {
        "task_id": "abc",
        "Question": "How many?",
        "Level": "2",
        "Final answer": "3",
        "file_name": "",
        "Annotator Metadata": {"Number of steps": "2"},
    }
    (folder / "metadata.jsonl").write_text(json.dumps(entry | changed) + "\n")
    return {"path": str(folder)}


def test_official_files_are_read(tmp_path):
    [task] = build(official(tmp_path)).tasks
    assert (task.task_id, task.reference.answer, task.metadata) == ("abc", "3", {"level": 2})


def test_parquet_is_read_where_pyarrow_is_there(tmp_path):
    official(tmp_path)
    entry = json.loads((tmp_path / "metadata.jsonl").read_text())
    (tmp_path / "metadata.jsonl").rename(tmp_path / "kept.jsonl")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {name: [value, value] for name, value in entry.items()}
    columns["task_id"] = ["abc", "def"]
    parquet.write_table(pyarrow.table(columns), tmp_path / "metadata.parquet")
    suite = build({"path": str(tmp_path)})
    assert [task.task_id for task in suite.tasks] == ["abc", "def"]
    assert suite.tasks[1].metadata == {"level": 2}
    (tmp_path / "metadata.parquet").write_bytes(b"PAR?")
    with pytest.raises(ConfigError, match=r"metadata\.parquet cannot be read"):
        build({"path": str(tmp_path)})


def test_parquet_without_pyarrow_says_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnavailableError, match=r"pip install -e '\.\[gaia\]'"):
        build({"path": str(tmp_path)})


def test_a_missing_attachment_or_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"x\.xlsx, which is not there"):
        build(official(tmp_path, file_name="x.xlsx"))
    with pytest.raises(ConfigError, match=r"no metadata\.jsonl"):
        build({"path": str(tmp_path / "no")})
    with pytest.raises(ConfigError, match=r"suite\.options\.lvl is unknown"):
        build({"lvl": 1})


async def test_a_hidden_gold_is_unscored(tmp_path):
    suite = build(official(tmp_path, **{"Final answer": "?"}))
    task = suite.tasks[0]
    assert task.reference.answer is None
    with pytest.raises(ValueError, match="hidden"):
        await suite.scorer(task, None)


def test_replies_are_read():
    suite = build({})
    brief = suite.tasks[0].brief("x")
    for text in ("I think\nFINAL ANSWER: 42", "FINAL ANSWER: 1\nno\nFinal answer:  42 "):
        assert suite.parser(AgentTurn(text=text), brief) == Parsed((Action.answer("42"),))
    text = 'Action: calculator\nArguments: {"expression": "6*7"}'
    assert suite.parser(AgentTurn(text=text), brief) == Parsed(
        (Action("calculator", {"expression": "6*7"}),)
    )
    assert isinstance(suite.parser(AgentTurn(text="42"), brief), FormatError)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2 + 3 * 4", 14), ("2^10", 1024), ("sqrt(16) / 8", 0.5), ("-7 // 2", -4), ("max(1, 2)", 2)],
)
def test_it_calculates(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "9**9**9", "1/0", "(1).real", "x", "'a' * 9", "1 if 1 else 2", "1" * 600],
)
def test_it_calculates_nothing_else(expression):
    with pytest.raises(ValueError, match=r"\w"):
        calculate(expression)


@pytest.fixture
def world():
    environment = GaiaEnvironment(files=str(OPEN))
    environment.reset(Setup("t", 0, {"file_name": "minutes.txt"}))
    yield environment
    environment.close()


def test_a_file_is_read_by_its_name_only(world):
    assert "Ms Ferro" in world.step(Action("read_file", {"name": "minutes.txt"})).observation
    for name in ("metadata.jsonl", "../metadata.jsonl", str(OPEN / "metadata.jsonl"), ".", ""):
        found = world.step(Action("read_file", {"name": name}))
        assert not found.is_valid
        assert "Final answer" not in found.observation


def test_no_link_is_followed_no_pipe_waited_for_and_no_folder_read(world):
    os.symlink(OPEN / "metadata.jsonl", world._work / "gold")
    os.mkfifo(world._work / "pipe")
    (world._work / "folder").mkdir()
    for name in ("gold", "pipe", "folder"):
        assert not world.step(Action("read_file", {"name": name})).is_valid


def test_a_text_is_read_to_the_limit_also_inside_a_character(world):
    (world._work / "long.txt").write_text("a" + "é" * 150_000, encoding="utf-8")
    found = world.step(Action("read_file", {"name": "long.txt"}))
    assert found.observation == "a" + "é" * 99_999
    (world._work / "torn.txt").write_bytes("aé".encode()[:2])
    assert "is not text" in world.step(Action("read_file", {"name": "torn.txt"})).observation


@needs_sandbox
def test_python_sees_the_attachment(world):
    code = "print(open('/work/minutes.txt').read().count('Mr'))"
    assert world.step(Action("python", {"code": code})).observation == "6\n"


def test_a_browser_can_be_hooked_in(monkeypatch):
    world = GaiaEnvironment(files=str(OPEN), browser="test_gaia:ScriptedBrowser")
    for number in (1, 2):
        world.reset(Setup("t", 0, {}))
        told = world.step(Action("browse_open", {"url": "x"})).observation
        assert told == f"browse_open x of question {number}"
    refused = world.step(Action("browse_open", {"url": "nowhere"}))
    assert (refused.is_valid, refused.observation) == (False, "no such page")
    world.close()
    tool = {"name": "browse_open", "description": "Open a page."}
    suite = build({"browser": "test_gaia:ScriptedBrowser", "browser_tools": [tool]})
    assert [each.name for each in suite.tasks[0].tools][-1] == "browse_open"


class ScriptedBrowser:
    begun = 0

    def begin(self):
        self.begun += 1

    def call(self, name, arguments):
        if arguments["url"] == "nowhere":
            raise ValueError("no such page")
        return f"{name} {arguments['url']} of question {self.begun}"

    def close(self):
        pass


PAGES = {
    "/": "<title>Start</title><h1>Rivers</h1><a href='/loire'>The Loire</a>",
    "/loire": "<title>Loire</title><p>The Loire is 1012 km long.</p>",
    "/cookie": "<title>Cookie</title><p>cookie: {cookie}</p>",
}


class RiverSite(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/loire")
            self.end_headers()
            return
        body = PAGES.get(self.path, "").replace("{cookie}", self.headers.get("Cookie", "none"))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", "seen=1")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def rivers():
    server = ThreadingHTTPServer(("127.0.0.1", 0), RiverSite)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@needs_browser
def test_chromium_reads_pages_of_the_origins_named_and_forgets_them(rivers):
    world = GaiaEnvironment(files=str(OPEN), browser="chromium", browser_origins=[rivers])
    try:
        world.reset(Setup("t", 0, {}))
        found = world.step(Action("browse_goto", {"url": f"{rivers}/"}))
        assert found.is_valid
        assert "link 'The Loire'" in found.observation
        found = world.step(Action("browse_click", {"element": "link 'The Loire'"}))
        assert "1012 km" in found.observation
        assert f"URL: {rivers}/loire" in found.observation
        found = world.step(Action("browse_goto", {"url": f"{rivers}/cookie"}))
        assert "seen=1" in found.observation
        world.reset(Setup("u", 0, {}))
        found = world.step(Action("browse_click", {"element": "link 'The Loire'"}))
        assert not found.is_valid
        found = world.step(Action("browse_goto", {"url": f"{rivers}/cookie"}))
        assert "cookie: none" in found.observation
    finally:
        world.close()


@needs_browser
def test_chromium_opens_neither_files_nor_this_machine(rivers):
    elsewhere = "http://localhost:" + rivers.rpartition(":")[2]
    asked = {
        None: [f"file://{OPEN}/metadata.jsonl", rivers, elsewhere, "http://2130706433/", "data:,x"],
        rivers: [f"{elsewhere}/loire", f"{rivers}/away"],
    }
    for origin, urls in asked.items():
        origins = None if origin is None else [origin]
        world = GaiaEnvironment(files=str(OPEN), browser="chromium", browser_origins=origins)
        try:
            world.reset(Setup("t", 0, {}))
            for url in urls:
                found = world.step(Action("browse_goto", {"url": url}))
                assert not found.is_valid, url
                assert "Final answer" not in found.observation
                assert "Loire" not in found.observation.replace(url, "")
        finally:
            world.close()


@needs_browser
async def test_a_question_is_answered_from_a_page(tmp_path, rivers):
    options = official(
        tmp_path, Question="How long is the Loire, in km?", **{"Final answer": "1012"}
    )
    suite = build({**options, "browser": "chromium", "browser_origins": [rivers], "python": "off"})
    names = [tool.name for tool in suite.tasks[0].tools]
    assert {"browse_goto", "browse_click", "browse_go_back"} <= set(names)
    plan = (
        Action("browse_goto", {"url": f"{rivers}/"}),
        Action("browse_click", {"element": "link 'The Loire'"}),
        Action.answer("1012"),
    )
    agent = following(suite, "reader", lambda task: plan)
    [episode] = await run(suite, agent, EpisodeStore(tmp_path / "run"), Selection(), concurrency=1)
    assert episode.trajectory.outcome is Outcome.COMPLETED
    assert "1012 km" in episode.trajectory.executed[1].result.observation
    assert episode.score.value == 1.0


def test_what_is_not_chromiums_is_named():
    with pytest.raises(ConfigError, match="browser_tools is for browsers of your own"):
        build({"browser": "chromium", "browser_tools": [{"name": "x", "description": "y"}]})
    with pytest.raises(ConfigError, match="browser_origins is of"):
        build({"browser_origins": ["http://127.0.0.1:1"]})


@needs_sandbox
@pytest.mark.parametrize("name", EXPLOITS)
async def test_no_exploit_sees_an_answer(tmp_path, name):
    suite = build({})
    chosen = Selection(task_ids=("open-15", "open-20"))
    episodes = await run(suite, exploit_agent(suite, name), EpisodeStore(tmp_path), chosen)
    for task, trajectory, score in episodes:
        refused = [Outcome.BROKE_ENVIRONMENT, Outcome.INVALID_ACTION]
        breaks = name == "breaks_the_environment"
        assert trajectory.outcome in {Outcome.COMPLETED, *refused * breaks}
        assert score.value == 0.0
        told = "".join(each.result.observation for each in trajectory.executed)
        assert task.reference.answer not in told
        assert "Final answer" not in told
