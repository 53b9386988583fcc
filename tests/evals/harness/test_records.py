"""Records survive JSON, and nothing of the gold is in what others see."""

import json

from toy_suite import toy_task

from clawjax.evals.harness.outcome import AGENTBENCH, RETRIED, UNSCORED, Outcome
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.harness.tasks import Action
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Executed,
    Parse,
    RawCall,
    Score,
    Step,
    StepResult,
    Trajectory,
    effective_outcome,
    from_json,
    messages_of,
    to_json,
)


def trajectory(outcome=Outcome.COMPLETED):
    turn = AgentTurn(text="so", calls=(RawCall("a", "add", '{"n": 1}'), RawCall("b", "x", "{")))
    done = Executed(Action("add", {"n": 1}), StepResult("at 1", progress=0.5))
    return Trajectory(
        suite="toy",
        suite_version="1",
        data_version="0",
        task_id="t",
        split="test",
        trial=2,
        attempt=1,
        seed=7,
        agent="a",
        instruction="do",
        first_observation="see",
        steps=(Step(turn, Parse.PARSED, executed=(done,)),),
        outcome=outcome,
        after={"value": [1, None, {"a": 0.5}]},
    )


def test_each_attempt_has_a_folder_of_its_own_whatever_its_task_is_called(tmp_path):
    store = EpisodeStore(tmp_path / "run")
    assert store.episode("a/../b", 1, 0) == tmp_path.resolve() / "run/episodes/a%2F..%2Fb.1.0"
    assert not store.folder.exists()


def test_a_trajectory_survives_json():
    record = trajectory()
    assert from_json(Trajectory, json.loads(json.dumps(to_json(record)))) == record


def test_an_unscored_score_survives_json():
    score = Score(None, parts={"a": None, "b": 0.5}, error="broken")
    assert from_json(Score, json.loads(json.dumps(to_json(score)))) == score


def test_neither_agent_nor_environment_sees_the_gold():
    task = toy_task(41976)
    for seen in (task.brief("x"), task.setup(0)):
        told = json.dumps(to_json(seen)).replace(task.instruction, "").replace(task.task_id, "")
        assert "41976" not in told


def test_every_tool_call_is_answered():
    messages = messages_of("do", "see", trajectory().steps)
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [message.call_id for message in messages[2:]] == ["a", "b"]
    assert (messages[0].text, messages[2].text) == ("do\n\nsee", "at 1")


def test_an_error_of_the_harness_is_never_a_failure():
    assert {outcome.name for outcome in UNSCORED} == {
        "CANCELLED",
        "AGENT_ERROR",
        "ENVIRONMENT_ERROR",
        "SCORER_ERROR",
    }
    assert RETRIED < UNSCORED
    assert set(AGENTBENCH) == set(Outcome)
    assert set(AGENTBENCH.values()) == {
        "Completed",
        "Context Limit Exceeded",
        "Invalid Format",
        "Invalid Action",
        "Task Limit Exceeded",
    }
    assert effective_outcome(trajectory(), Score(None)) is Outcome.SCORER_ERROR
    assert effective_outcome(trajectory(), Score(0.0)) is Outcome.COMPLETED
    broken = trajectory(Outcome.ENVIRONMENT_ERROR)
    assert effective_outcome(broken, Score(None)) is Outcome.ENVIRONMENT_ERROR
