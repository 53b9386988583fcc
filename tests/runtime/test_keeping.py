"""Loops inside a process: started again alone, or left stopped while the rest goes on."""

import asyncio
from types import SimpleNamespace

import pytest

from clawjax.errors import EngineError, LogError
from clawjax.models.tiny import tiny_tokenizer
from clawjax.rewards.worker import JudgeStatus
from clawjax.runtime import keeping
from clawjax.runtime.keeping import LoopKeeper
from clawjax.runtime.paths import RunPaths, write_json
from clawjax.runtime.patience import Patience
from clawjax.runtime.serve import Status
from clawjax.testing import FakeEngine


class Failing:
    """Fails so often, then works for ever."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.works = asyncio.Event()

    async def run(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.works.set()
        await asyncio.Event().wait()


def test_pauses_grow_and_a_long_life_is_a_new_beginning():
    patience = Patience(max_restarts=5, max_wait_s=6.0, began_at=0.0)
    assert [patience.wait_s(0.0) for _ in range(6)] == [0, 1, 2, 4, 6, None]
    assert patience.wait_s(700.0) == 0
    assert patience.restarts == 1
    assert [patience.wait_s(700.0, counts=False) for _ in range(5)] == [1, 2, 4, 6, 6]
    assert patience.restarts == 1


async def test_a_loop_that_fails_is_started_again_and_the_others_notice_nothing():
    keeper = LoopKeeper(max_restarts=3, max_wait_s=0.01)
    failing, steady = Failing(ValueError("said"), ValueError("said")), Failing()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keeper.keep("judge", failing.run)),
            group.create_task(keeper.keep("weights", steady.run)),
        ]
        async with asyncio.timeout(10):
            await failing.works.wait()
        assert keeper.troubles == {}
        for task in tasks:
            task.cancel()
    assert failing.errors == []


async def test_a_loop_that_keeps_failing_is_left_stopped_and_says_why(caplog):
    keeper = LoopKeeper(max_restarts=1, max_wait_s=0.01)
    async with asyncio.timeout(10):
        await keeper.keep("judge", Failing(*[ValueError("what somebody said")] * 2).run)
    (trouble,) = keeper.troubles.values()
    assert (trouble["state"], trouble["restarts"]) == ("stopped", 1)
    assert trouble["reason"] == (
        "judge failed 2 times, the rest goes on: an unexpected ValueError, see the process's log"
    )
    assert "what somebody said" in caplog.text


async def test_a_log_that_fails_is_waited_for_as_long_as_it_takes(monkeypatch):
    monkeypatch.setattr(keeping, "_STORAGE_WAIT_S", 0.01)
    keeper = LoopKeeper(max_restarts=0, max_wait_s=60.0)
    failing = Failing(*[LogError("database or disk is full")] * 9)
    task = asyncio.create_task(keeper.keep("judge", failing.run))
    async with asyncio.timeout(10):
        await failing.works.wait()
    task.cancel()


async def test_an_engine_that_has_stopped_needs_a_new_process():
    keeper = LoopKeeper(max_restarts=9, max_wait_s=0.0)
    with pytest.raises(EngineError, match="gone"):
        await keeper.keep("weights", Failing(EngineError("gone")).run)


async def test_health_tells_which_loop_is_stopped_and_why(tmp_path):
    keeper = LoopKeeper(max_restarts=0, max_wait_s=0.0)
    await keeper.keep("judge", Failing(ValueError("x")).run)
    await keeper.keep("retain", Failing(ValueError("x")).run)
    judged = JudgeStatus(scored=4, abstained=0, failed=0, waiting=0, in_flight=0, cursor=4)
    judges = SimpleNamespace(status=lambda: judged)
    paths = RunPaths(tmp_path)
    status = Status(FakeEngine(tiny_tokenizer(), ["hi"]), judges, keeper, paths)
    learn = {"state": "stopped", "restarts": 5, "reason": "learn died 6 times"}
    write_json(paths.processes, {"serve": {"state": "running"}, "learn": learn})
    loops = status.loops()
    assert (loops["serve"]["state"], loops["judge"]["state"]) == ("idle", "stopped")
    assert loops["judge"]["reason"].startswith("judge failed 1 times")
    assert loops["judge"]["scored"] == 4
    assert loops["retain"]["state"] == "stopped"
    assert loops["learn"] == {"claimed": 0, **learn}


async def test_health_tells_that_turns_wait_for_a_judge(tmp_path):
    judged = JudgeStatus(scored=4, abstained=0, failed=0, waiting=1, in_flight=1, cursor=4, held=2)
    judges = SimpleNamespace(status=lambda: judged)
    keeper = LoopKeeper(max_restarts=0, max_wait_s=0.0)
    engine = FakeEngine(tiny_tokenizer(), ["hi"])
    judge = Status(engine, judges, keeper, RunPaths(tmp_path)).loops()["judge"]
    assert (judge["state"], judge["held"]) == ("waiting", 2)
    assert judge["reason"].startswith("a judge cannot be asked: 2 turns wait for it")
