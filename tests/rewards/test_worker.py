import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import HumanConfig, RewardConfig
from clawjax.errors import LogError, RewardError
from clawjax.log.forgetting import forget
from clawjax.log.store import SqlTurnLog
from clawjax.records import NextState, Turn, Verdict
from clawjax.rewards.human import HumanReward
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.testing import FakeReward, RecordingMonitor, temporary_log

from .reward_records import session_closed, user_says
from .worker_runs import link, running, until


@pytest.fixture
def log(tmp_path) -> SqlTurnLog:
    return temporary_log(tmp_path)


def verdicts_of(log: SqlTurnLog) -> dict[str, dict[str, Verdict]]:
    return {
        judged.turn.turn_id: {verdict.module: verdict for verdict in judged.verdicts}
        for judged in log.judged(limit=1000)
    }


def judged_all(log: SqlTurnLog, count: int) -> Callable[[], bool]:
    return lambda: log.cursor(CURSOR) >= count


class SlowReward(FakeReward):
    """Holds back turns until told otherwise."""

    def __init__(self, *held: str) -> None:
        super().__init__(lambda _: 1.0, "slow")
        self.release = {name: asyncio.Event() for name in held}
        self.running = self.most_running = 0

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if turn.turn_id in self.release:
                await self.release[turn.turn_id].wait()
            else:
                await asyncio.sleep(0.01)
            return await super().judge(turn, next_state)
        finally:
            self.running -= 1


async def test_every_module_leaves_a_verdict_and_the_cursor_moves_to_the_end(log):
    link(log, "a", "b")
    rewards = [FakeReward(lambda _: 1.0, "yes"), FakeReward(lambda _: None, "unsure")]
    async with running(JudgeWorker(log, rewards, RewardConfig(), poll_s=0.05)):
        await until(judged_all(log, 2))
    found = verdicts_of(log)
    assert set(found) == {"a", "b"}
    assert found["a"]["yes"].score == 1.0
    assert found["b"]["unsure"].score is None


async def test_it_starts_at_once_when_woken(log):
    worker = JudgeWorker(log, [FakeReward(lambda _: 1.0)], RewardConfig(), poll_s=60.0)
    async with running(worker):
        await asyncio.sleep(0.1)
        link(log, "a")
        worker.wake()
        await until(judged_all(log, 1), timeout_s=5)


async def test_it_finds_new_turns_without_being_woken(log):
    async with running(JudgeWorker(log, [FakeReward(lambda _: 1.0)], RewardConfig(), poll_s=0.02)):
        await asyncio.sleep(0.1)
        link(log, "a")
        await until(judged_all(log, 1), timeout_s=5)


async def test_where_no_module_applies_the_turn_can_still_be_settled(log):
    class Never(FakeReward):
        def applies(self, turn: Turn, next_state: NextState) -> bool:
            return False

    log.append(make_turn("a"), session_closed("a"))
    async with running(JudgeWorker(log, [Never(lambda _: 1.0)], RewardConfig(), poll_s=0.05)):
        await until(judged_all(log, 1))
    (verdict,) = verdicts_of(log)["a"].values()
    assert (verdict.module, verdict.score) == ("none", None)
    assert verdict.explanation == "no module applies"


async def test_a_module_that_abstained_has_its_say_when_more_comes(log):
    said = iter([None, -1.0, 1.0])
    log.append(
        make_turn("a"), *(replace(session_closed("a"), arrived_at=n) for n in (1.0, 2.0, 3.0))
    )
    config = RewardConfig(max_concurrency=1)
    worker = JudgeWorker(log, [FakeReward(lambda _: next(said))], config, poll_s=0.05)
    async with running(worker):
        await until(judged_all(log, 3))
    assert [verdict.score for verdict in verdicts_of(log)["a"].values()] == [-1.0]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RewardError("the judge is down"), "failed: the judge is down"),
        (ZeroDivisionError("oops"), "failed: ZeroDivisionError: oops"),
    ],
)
async def test_a_failing_module_is_an_abstention_and_others_go_on(log, caplog, error, says):
    def fail(_: NextState) -> float:
        raise error

    link(log, "a", "b")
    worker = JudgeWorker(
        log, [FakeReward(fail, "broken"), FakeReward(lambda _: -1.0, "fine")], RewardConfig()
    )
    with caplog.at_level(logging.WARNING):
        async with running(worker):
            await until(judged_all(log, 2))
    found = verdicts_of(log)["b"]
    assert (found["broken"].score, found["broken"].explanation) == (None, says)
    assert found["fine"].score == -1.0
    assert worker.status().failed == 2
    assert worker.status().scored == 2
    traced = [record for record in caplog.records if record.exc_info]
    assert bool(traced) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict("another turn", "odd", 1.0, judged_at=0.0),
        Verdict("a", "another module", 1.0, judged_at=0.0),
        Verdict("a", "odd", 2.0, judged_at=0.0),
        Verdict("a", "odd", float("nan"), judged_at=0.0),
    ],
)
async def test_a_verdict_that_may_not_be_written_is_an_abstention(log, verdict):
    class Odd(FakeReward):
        async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
            return verdict

    link(log, "a")
    async with running(JudgeWorker(log, [Odd(lambda _: None, "odd")], RewardConfig())):
        await until(judged_all(log, 1))
    found = verdicts_of(log)["a"]
    assert set(found) == {"odd"}
    assert found["odd"].score is None


@pytest.mark.parametrize(
    ("said", "explanation", "hints"),
    [
        ({"explanation": "half \ud83d"}, "half ?", ()),
        ({"hints": ("Be \ud83d brief.",)}, "", ("Be ? brief.",)),
        ({"revision": "a\0b", "explanation": "x\0"}, "x", ()),
        ({"score": np.float32(0.5)}, "", ()),
        ({"hints": ["Be brief."], "votes": [np.float32(0.5)]}, "", ("Be brief.",)),
        ({"hints": (b"bytes",)}, "failed: a hint is of type bytes: make it a str", ()),
        ({"hints": "Be brief."}, "failed: hints is of type str: make it a tuple", ()),
        ({"explanation": None}, "failed: explanation is of type NoneType: make it a str", ()),
        ({"judged_at": None}, "failed: judged_at is of type NoneType: make it a finite", ()),
        ({"judged_at": float("nan")}, "failed: judged_at is nan: make it a finite number", ()),
        ({"score": "0.5"}, "failed: the score is of type str: make it a finite number", ()),
        ({"revision": ["text"]}, "failed: revision is of type list: make it a str", ()),
        ({"prompt_digest": 7}, "failed: prompt_digest is of type int: make it a str", ()),
        ({"votes": (float("inf"),)}, "failed: a vote is inf: make it a finite number", ()),
        ({"components": (("part", 1.0),)}, "failed: a component is of type tuple: make it", ()),
        ({"step_labels": (1.0,)}, "failed: step_labels has 1 values: give 7, one per", ()),
        ({"step_labels": (2.0,) * 7}, "failed: a step label 2.0 is outside [-1, 1]", ()),
    ],
)
async def test_odd_words_of_a_module_stop_no_judging(log, said, explanation, hints):
    class Odd(FakeReward):
        async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
            return replace(await super().judge(turn, next_state), **said)

    link(log, "a")
    link(log, "b")
    people = HumanReward(HumanConfig(audit_share=0.0))
    worker = JudgeWorker(log, [Odd(lambda _: 0.5, "odd"), people], RewardConfig(), poll_s=0.05)
    async with running(worker):
        await until(judged_all(log, 2))
    for turn_id in ("a", "b"):
        found = verdicts_of(log)[turn_id]["odd"]
        assert found.explanation.startswith(explanation)
        assert found.hints == hints
        assert found.score == (None if "failed" in explanation else 0.5)


async def test_a_module_that_takes_too_long_is_an_abstention(log):
    link(log, "a")
    slow = SlowReward("a")
    worker = JudgeWorker(log, [slow], RewardConfig(judge_timeout_s=0.1))
    async with running(worker):
        await until(judged_all(log, 1))
    assert verdicts_of(log)["a"]["slow"].explanation == "failed: no verdict within 0.1 s"
    assert slow.running == 0


async def test_what_is_forgotten_while_it_is_judged_is_not_written_down(log, tmp_path):
    class Quoting(SlowReward):
        async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
            verdict = await super().judge(turn, next_state)
            return replace(verdict, hints=(next_state.messages[0].content,))

    log.append(make_turn("a"), user_says("my PIN is Quetzalcoatl", turn_id="a"))
    log.append(replace(make_turn("b", arrived_at=110.0), response_id="rb", parent_turn_id="a"))
    slow = Quoting("a")
    async with running(JudgeWorker(log, [slow], RewardConfig(), poll_s=0.02)):
        await until(lambda: slow.running == 1)
        forget(log, now=1.0, response_id="rb")
        slow.release["a"].set()
        await until(judged_all(log, 1))
    found = verdicts_of(log)["a"]["slow"]
    assert (found.score, found.explanation) == (None, "what came after the turn is forgotten")
    assert not any(b"Quetzalcoatl" in file.read_bytes() for file in tmp_path.iterdir())


async def test_a_slow_event_holds_the_cursor_but_not_the_verdicts_of_others(log):
    link(log, "a", "b", "c")
    slow = SlowReward("a")
    worker = JudgeWorker(log, [slow], RewardConfig(), poll_s=0.02)
    async with running(worker):
        await until(lambda: set(verdicts_of(log)) == {"b", "c"})
        await until(lambda: worker.status().in_flight == 1)  # the others have reported back
        assert log.cursor(CURSOR) == 0
        slow.release["a"].set()
        await until(judged_all(log, 3))
    assert worker.status().in_flight == 0


async def test_unfinished_events_are_judged_again_after_a_restart(log):
    link(log, "a", "b")
    slow = SlowReward("a")
    async with running(JudgeWorker(log, [slow], RewardConfig(), poll_s=0.02)):
        await until(lambda: set(verdicts_of(log)) == {"b"})
    again = FakeReward(lambda _: -1.0, "slow")
    async with running(JudgeWorker(log, [again], RewardConfig(), poll_s=0.02)):
        await until(judged_all(log, 2))
    assert sorted(again.judged) == ["a", "b"]
    found = verdicts_of(log)
    assert found["a"]["slow"].score == -1.0
    assert found["b"]["slow"].score == 1.0, "the first verdict stands"


async def test_no_more_events_are_judged_at_once_than_configured(log):
    link(log, *(f"t{index}" for index in range(12)))
    slow = SlowReward()
    async with running(JudgeWorker(log, [slow], RewardConfig(max_concurrency=3), poll_s=0.02)):
        await until(judged_all(log, 12))
    assert slow.most_running == 3


async def test_a_full_window_is_refilled_without_waiting_for_the_next_poll(log):
    link(log, *(f"t{index}" for index in range(40)))
    worker = JudgeWorker(
        log, [FakeReward(lambda _: 1.0)], RewardConfig(max_concurrency=1), poll_s=60.0
    )
    async with running(worker):
        await until(judged_all(log, 40))


async def test_a_broken_log_stops_the_loop_with_its_own_error():
    class Broken:
        def cursor(self, name: str) -> int:
            return 0

        def linked(self, *, after: int, limit: int) -> list:
            msg = "disk full"
            raise LogError(msg)

        def append(self, *records: Verdict) -> None: ...

        def move_cursor(self, name: str, position: int) -> None: ...

    with pytest.raises(LogError, match="disk full"):
        await JudgeWorker(Broken(), [], RewardConfig()).run()


async def test_the_monitor_hears_of_every_event(log):
    link(log, "a", "b")
    scores = {"about a": 1.0, "about b": None}
    monitor = RecordingMonitor()
    worker = JudgeWorker(
        log,
        [FakeReward(lambda event: scores[event.messages[0].content])],
        RewardConfig(max_concurrency=1),
        monitor=monitor,
        clock=lambda: 112.5,
    )
    async with running(worker):
        await until(judged_all(log, 2))
    (_, first), (_, second) = monitor.entries
    assert first["judge/score"] == 1.0
    assert first["judge/latency_s"] == 2.5
    assert "judge/score" not in second
    assert (second["judge/scored"], second["judge/abstained"]) == (1.0, 1.0)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(delays=st.lists(st.integers(0, 5), min_size=1, max_size=25), stop_after=st.integers(0, 25))
async def test_whatever_the_order_and_the_stop_everything_is_judged_exactly_once_in_the_end(
    tmp_path_factory, delays, stop_after
):
    log = temporary_log(tmp_path_factory.mktemp("log"))
    names = [f"t{index}" for index in range(len(delays))]
    link(log, *names)

    class Uneven(FakeReward):
        async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
            await asyncio.sleep(delays[int(turn.turn_id[1:])] / 1000)
            return await super().judge(turn, next_state)

    def worker() -> JudgeWorker:
        return JudgeWorker(log, [Uneven(lambda _: 1.0)], RewardConfig(), poll_s=0.02)

    async with running(worker()):
        await until(lambda: len(verdicts_of(log)) >= min(stop_after, len(names)))
    done_before = {name for name, kept in verdicts_of(log).items() if kept}
    cursor = log.cursor(CURSOR)
    assert {f"t{index}" for index in range(cursor)} <= done_before
    async with running(worker()):
        await until(judged_all(log, len(names)))
    assert set(verdicts_of(log)) == set(names)
