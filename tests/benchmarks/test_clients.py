"""Real clients against the gateway: the quickest for real, and what their runner notices."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from clients.engine import ScriptedEngine
from clients.installing import NotInstalledError, install
from clients.judging import Seen, Served, judge
from clients.recipe import ANSWERS, Here, Pip, Recipe, Tool, filled
from clients.recipes import all_recipes
from clients.runner import failed, run
from clients.script import SIDE, Moment, Script
from turn_records import make_turn

from clawjax.config import ModelConfig
from clawjax.errors import EngineError
from clawjax.models.load import load_tokenizer
from clawjax.protocols import GenerateRequest
from clawjax.records import (
    JudgedTurn,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    SamplingParams,
    TurnKind,
)

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
VALUES = {
    "URL": "http://127.0.0.1:30000/v1",
    "BASE": "http://127.0.0.1:30000",
    "MODEL": "policy",
    "WORK": "~/agent",
    "PROGRAMS": "../benchmarks/clients/programs",
}
TOLD = ("ANTHROPIC_", "CLAUDE_", "CLAWJAX_", "OPENAI_")
VARIANTS = ("openclaw-compacting",)
TOOL = Tool("look_up", "text", "{}")
RECIPE = Recipe(name="mine", install=Here("openai"), command=("mine",), tool=TOOL)
CALL, ANSWER = Moment("heron", 1, True), Moment("heron", 1, False)


@pytest.mark.parametrize(("name", "turns"), [("openai-python", 15), ("anthropic-python", 10)])
def test_official_clients_work(name, turns):
    row = run(all_recipes()[name])
    assert row["reason"] == ""
    assert row["ok"]
    assert (row["turns"], row["linked_right"], row["retries_doubled"]) == (turns, turns, 0)


def test_prompts_tell_their_moment():
    script = Script(replace(RECIPE, sides={"title": "You make titles"}))
    assert script.moment_of("x heron1q y") == CALL
    assert script.moment_of("heron1q heron1t") == ANSWER
    assert script.moment_of("heron1q heron1t heron1a heron2q") == Moment("heron", 2, False)
    assert script.moment_of("You make titles: heron1q") == SIDE
    with pytest.raises(ValueError, match="not in the script"):
        script.moment_of("hello")


def test_scripts_have_an_order():
    script = Script(replace(RECIPE, conversations=("heron", "wren")))
    assert [moment.name for moment in script.moments("wren")] == [
        "wren1 (call)",
        "wren1",
        "wren2",
        "wren3 (call)",
        "wren3",
    ]
    assert script.before(Moment("wren", 1, True)) is None
    assert script.before(Moment("wren", 2, False)) == Moment("wren", 1, False)
    assert script.reaction_to(CALL) == "heron1t"
    assert script.reaction_to(ANSWER) == "heron2q"
    assert script.reaction_to(Moment("heron", 3, False)) is None
    assert "heron1t" in script.reply(CALL)
    assert Script(replace(RECIPE, answers_by=ANSWERS)).reply(ANSWER).startswith("<tool_call>")


async def test_the_engine_refuses_once_and_notes_strangers():
    tokenizer = load_tokenizer(ModelConfig(path="random:llama"))[0]
    seen = Seen(Script(RECIPE))
    engine = ScriptedEngine(tokenizer, seen)

    async def reply(prompt: str) -> str:
        ids = tuple(tokenizer.encode(prompt))
        asked = GenerateRequest("a", ids, SamplingParams(100), seed=0)
        return "".join([chunk.text async for chunk in engine.generate(asked)])

    with pytest.raises(EngineError, match="refuses"):
        await reply("heron2q")
    assert await reply("heron2q") == "The answer is heron2a."
    assert seen.served["a"].moment == Moment("heron", 2, False)
    with pytest.raises(EngineError, match="not in the script"):
        await reply("hello")
    assert len(seen.strangers) == 1


# --- what is noticed -----------------------------------------------------------------------------


@pytest.fixture
def told():
    """A client without tools that did everything right."""
    seen = Seen(Script(replace(RECIPE, tool=None)))
    moments = seen.script.expected()
    seen.output = " ".join(moment.mark("a") for moment in moments)
    seen.refused.add(moments[1])
    logged, links = [], {}
    for number, moment in enumerate(moments):
        name = moment.name
        seen.served[name] = Served(moment, (1, 2), [3])
        reaction = seen.script.reaction_to(moment)
        turn = make_turn(
            turn_id=name,
            parent_turn_id=moments[number - 1].name if number else None,
            prompt_ids=(1, 2),
            response_ids=(3,),
        )
        said = (Message("user", f"Question {reaction}"),)
        after = () if reaction is None else (NextState(name, NextStateKind.USER, 2.0, said),)
        logged.append(JudgedTurn(number, turn, after, ()))
        links[name] = Link(name, LinkKind.EXTEND, "so", "so", Origin())
    return seen, logged, links


def replace_recipe(seen, **changes):
    return replace(seen, script=Script(replace(seen.script.recipe, **changes)))


def changed(logged, number, **changes):
    one = logged[number]
    turn_changes = {k: v for k, v in changes.items() if k != "next_states"}
    one = one._replace(turn=replace(one.turn, **turn_changes))
    if "next_states" in changes:
        one = one._replace(next_states=changes["next_states"])
    return [*logged[:number], one, *logged[number + 1 :]]


def test_all_is_well(told):
    row = judge(*told)
    assert row["reason"] == ""
    assert row["ok"]
    assert (row["turns"], row["linked_right"], row["sides"]) == (3, 3, 0)


@pytest.mark.parametrize(
    ("changes", "noticed"),
    [
        ({"parent_turn_id": None}, "heron2 goes on from nothing"),
        ({"parent_turn_id": "heron3"}, "heron2 goes on from heron3"),
        ({"next_states": ()}, "heron2 goes on from heron1 .* has 0 next states"),
        ({"kind": TurnKind.SIDE}, "heron2 is side"),
        ({"session_id": "another"}, "heron is 2 sessions"),
        ({"response_ids": (4,)}, "heron2 is logged with other ids"),
        ({"prompt_ids": (1,)}, "heron2 is logged with other ids"),
    ],
)
def test_wrong_turns_are_noticed(told, changes, noticed):
    seen, logged, links = told
    row = judge(seen, changed(logged, 1, **changes), links)
    assert not row["ok"]
    assert pytest.RaisesExc(ValueError, match=noticed).matches(ValueError(row["reason"]))
    assert row["linked_right"] == (2 if "goes on" in noticed else 3)
    assert row["side_right"] == ("kind" not in changes)


def test_turns_logged_twice_or_never_are_noticed(told):
    seen, logged, links = told
    row = judge(seen, [*logged, logged[1]], links)
    assert (row["retries_doubled"], row["reason"]) == (1, "heron2 was logged 2 times")
    assert "heron3 was logged 0 times" in judge(seen, logged[:2], links)["reason"]


def test_conversations_in_one_session_are_noticed(told):
    seen, logged, links = told
    name = logged[2].turn.turn_id
    seen.served[name] = Served(Moment("wren", 3, False), (1, 2), [3])
    assert (
        "a session has 2 conversations"
        in judge(replace_recipe(seen, conversations=("heron", "wren")), logged, links)["reason"]
    )


def test_what_the_client_did_is_noticed(told):
    seen, logged, links = told
    seen.output = "heron1a heron2a"
    seen.trouble = "mine ended with 1"
    seen.strangers.append("hello")
    seen.refused.clear()
    assert judge(seen, logged, links)["reason"] == (
        "mine ended with 1; not in the script: hello; the answer heron3a did not arrive; "
        "heron2 was never refused"
    )


def test_side_requests_are_noticed(told):
    seen, logged, links = told
    seen.script = Script(replace(seen.script.recipe, least_sides=1))
    assert "0 requests of its own" in judge(seen, logged, links)["reason"]
    seen.served["t"] = Served(SIDE, (1, 2), [3])
    links["t"] = links["heron1"]
    title = logged[0]._replace(turn=replace(logged[0].turn, turn_id="t"), next_states=())
    assert "side0 is main" in judge(seen, [*logged, title], links)["reason"]
    title = title._replace(turn=replace(title.turn, kind=TurnKind.SIDE))
    row = judge(seen, [*logged, title], links)
    assert (row["ok"], row["sides"], row["turns"]) == (True, 1, 3)


# --- running -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("no-such-program",), "is not among the client's programs"),
        (("python", "-c", "raise SystemExit('sorry')"), "ended with 1: sorry"),
        (("python", "-c", "import time; time.sleep(60)"), "was not done after 1 s"),
    ],
)
def test_clients_that_fail_say_why(command, reason):
    row = run(replace(RECIPE, command=command, timeout_s=1.0 if "60" in command[-1] else 60.0))
    assert not row["ok"]
    assert reason in row["reason"]
    assert row["turns"] == 0


def test_a_client_takes_its_children_with_it():
    """They hold its output, and would be waited for."""
    code = "import subprocess; subprocess.Popen(['sleep', '600']); print('bye', flush=True)"
    row = run(replace(RECIPE, command=("python", "-c", code), timeout_s=4.0))
    assert "was not done after 4 s: bye" in row["reason"]


def test_what_cannot_be_installed_is_a_row(monkeypatch, tmp_path):
    recipe = replace(RECIPE, install=Pip("no such package", "1"))
    monkeypatch.setattr("clients.installing.INSTALLED", tmp_path)
    monkeypatch.setattr("clients.installing.sys.executable", shutil.which("false"))
    with pytest.raises(NotInstalledError):
        install(recipe)
    row = failed(recipe, "why")
    assert (row["ok"], row["reason"], row["version"]) == (False, "why", None)


def test_rows_have_the_same_columns(told):
    assert {"client", "version", *judge(*told)} == set(failed(RECIPE, "why"))


@pytest.mark.parametrize("name", all_recipes())
def test_the_page_shows_what_is_tried(name):
    recipe, page = all_recipes()[name], PAGE.read_text(encoding="utf-8")
    for path, text in recipe.files.items():
        if not path.endswith((".py", "keys.json")) and name not in VARIANTS:
            assert filled(text, VALUES).strip() in page
    for variable, value in recipe.environment.items():
        if variable.startswith(TOLD):
            assert f"export {variable}={filled(value, VALUES)}\n" in page
    programs = [word for word in recipe.command if "@PROGRAMS@" in word]
    assert all(f"({filled(word, VALUES)})" in page for word in programs)


def test_recipes_are_complete():
    recipes = all_recipes()
    assert len(recipes) >= 12
    known = dict.fromkeys(("BASE", "URL", "MODEL", "HOME", "WORK", "PROGRAMS", "TEXT"), "")
    for recipe in recipes.values():
        commands = (recipe.command, recipe.goes_on, *recipe.then)
        texts = [*recipe.files.values(), *recipe.environment.values(), *sum(commands, ())]
        assert not [text for text in texts if "@" in filled(text, known).replace("@ai-sdk", "")]
