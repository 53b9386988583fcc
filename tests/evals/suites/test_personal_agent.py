"""The personal agent: data, the user by script, the scorer, and what pleasing alone is worth."""

import json
import re
from pathlib import Path

import pytest

from clawjax import envs
from clawjax.envs.persona import load_persona, shipped_personas
from clawjax.errors import ConfigError
from clawjax.evals.agents.scripted import following, oracle_agent
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.runner import Selection, run
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.metrics.summary import summarise
from clawjax.evals.suites.personal_agent.conversation import Conversation
from clawjax.evals.suites.personal_agent.exploits import CANNED
from clawjax.evals.suites.personal_agent.scoring import Known, is_answer
from clawjax.evals.suites.personal_agent.suite import QUESTIONS, build

ENTRIES = json.loads(QUESTIONS.read_text())
YEAST, KIDNEYS = "What is yeast?", "What do kidneys do?"
LIKED = {each["prompt"]: each["reply"] for entry in ENTRIES for each in entry["questions"]}
LONG = "Yeast is a tiny living fungus. " + "It is used for bread and much else. " * 15


async def play(tmp_path, *replies):
    """The first conversation with `brief`, by an agent that says `replies`."""
    suite = build({"personas": ["brief"]})
    agent = following(suite, "x", lambda task: [Action.respond(text) for text in replies])
    [episode] = await run(
        suite, agent, EpisodeStore(tmp_path), Selection(task_ids=("brief-1",)), concurrency=1
    )
    return suite, episode


async def test_a_persona_file_is_named_from_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [brief] = [entry for entry in ENTRIES if entry["persona"] == "brief"]
    (tmp_path / "mine.yaml").write_text(
        (Path(envs.__path__[0]) / "personas" / "brief.yaml").read_text()
    )
    (tmp_path / "mine.json").write_text(json.dumps([brief | {"persona": "mine.yaml"}]))
    suite = build({"path": "mine.json", "personas": ["mine.yaml"]})
    assert [task.task_id for task in suite.tasks] == ["mine-1", "mine-2"]
    store = EpisodeStore(tmp_path / "episodes")
    [episode] = await run(suite, oracle_agent(suite), store, Selection(limit=1))
    assert (episode.trajectory.outcome, episode.score.value) == (Outcome.COMPLETED, 1.0)


def test_there_are_questions_of_every_persona():
    assert sorted(entry["persona"] for entry in ENTRIES) == sorted(shipped_personas())
    assert len(build({}).tasks) == 16
    assert {task.metadata["persona"] for task in build({}).tasks} == set(shipped_personas())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["persona"])
def test_no_prompt_answers_itself_and_no_reply_another_question(entry):
    persona = load_persona(entry["persona"])
    known = [Known(each["prompt"], tuple(each["mentions"])) for each in entry["questions"]]
    for each, raw in zip(known, entry["questions"], strict=True):
        others = [other for other in known if other is not each]
        assert is_answer(raw["reply"], each, others)
        assert persona.score(raw["reply"], each.prompt) == 1.0
        assert not is_answer(each.prompt, each, [])


@pytest.mark.parametrize("name", CANNED)
def test_an_exploit_that_has_the_style_fails_for_its_content_only(name):
    persona = load_persona(name)
    prompts = [each["prompt"] for e in ENTRIES if e["persona"] == name for each in e["questions"]]
    assert [persona.score(CANNED[name], prompt) for prompt in prompts] == [1.0] * 4


async def test_what_the_user_likes_at_once_is_full_marks(tmp_path):
    suite, episode = await play(tmp_path, LIKED[YEAST], LIKED[KIDNEYS])
    assert episode.score.value == 1.0
    assert episode.trajectory.outcome is Outcome.COMPLETED
    [first, last] = episode.trajectory.executed
    assert first.result.observation.endswith(KIDNEYS) or KIDNEYS[1:] in first.result.observation
    assert (first.result.progress, last.result.progress) == (0.5, 1.0)
    report = summarise(suite, [episode])
    assert report["efficiency"]["steps_over_optimal"] == 1.0


async def test_what_the_user_likes_once_told_is_half(tmp_path):
    _, episode = await play(tmp_path, LONG, LIKED[YEAST], LONG, LIKED[KIDNEYS])
    assert episode.score.value == 0.5
    assert episode.score.parts["asked_again"] == 1.0
    assert "75 words" in episode.score.explanation
    asked_again = episode.trajectory.executed[0].result.observation
    assert re.search(r"what is yeast\?", asked_again, re.I)


async def test_a_question_is_put_twice_at_most(tmp_path):
    _, episode = await play(tmp_path, LONG, LONG, LIKED[KIDNEYS])
    assert episode.trajectory.after["answered"] == [0, 0, 1]
    assert episode.score.value == 0.5
    assert episode.score.parts["settled"] == 0.5


async def test_style_without_an_answer_and_an_answer_without_style_are_nothing(tmp_path):
    for number, replies in enumerate(
        [(CANNED["brief"],) * 2, (LONG,) * 4, (LIKED[YEAST] + " " + LIKED[KIDNEYS],) * 2]
    ):
        _, episode = await play(tmp_path / str(number), *replies)
        assert episode.trajectory.outcome is Outcome.COMPLETED
        assert episode.score.value == 0.0


async def test_silence_is_no_conversation(tmp_path):
    _, episode = await play(tmp_path, LIKED[YEAST])
    assert episode.trajectory.outcome is Outcome.INVALID_FORMAT
    assert episode.score.value == 0.0


def test_the_user_says_the_same_to_the_same_replies():
    def said(seed):
        user = Conversation("brief", [YEAST, KIDNEYS], seed=seed)
        return [user.opening(), *(user.reply(LONG) for _ in range(4))]

    assert said(1) == said(1)
    assert len({tuple(said(seed)) for seed in range(5)}) > 1


def test_neither_agent_nor_user_is_told_the_answers():
    for task in build({}).tasks:
        told = json.dumps(task.setup(0).options) + str(task.brief("x"))
        assert not any(known.reply in told for known in task.reference.extra["asked"])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match="names 'nobody'"):
        build({"personas": ["nobody"]})
    with pytest.raises(ConfigError, match="cannot be read"):
        build({"path": str(tmp_path / "no.json")})
    own = tmp_path / "own.json"
    trained = load_persona("brief").train[0].text
    question = {"prompt": trained, "mentions": ["x"], "reply": "x"}
    own.write_text(json.dumps([{"persona": "brief", "questions": [question]}]))
    with pytest.raises(ConfigError, match="no held-out question"):
        build({"path": str(own)})
