"""A real judge that is away for a while: nothing is lost, and nothing else waits for it."""

from __future__ import annotations

from functools import partial

import pytest
from scripted_endpoint import ScriptedEndpoint
from turn_records import make_turn

from clawjax.config import CompositeConfig, CompositeRule, LlmJudgeConfig, RewardConfig
from clawjax.errors import JudgeAwayError
from clawjax.log.forgetting import forget
from clawjax.log.store import SqlTurnLog
from clawjax.rewards.composite import CompositeReward
from clawjax.rewards.llm_judge import LlmJudgeReward
from clawjax.rewards.waiting import Waiting
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.testing import FakeReward, temporary_log

from . import worker_runs
from .reward_records import user_says
from .worker_runs import link, running

until = partial(worker_runs.until, timeout_s=30.0)


@pytest.fixture
def log(tmp_path) -> SqlTurnLog:
    return temporary_log(tmp_path)


@pytest.fixture
async def endpoint() -> ScriptedEndpoint:
    """One that has been there, and is gone."""
    endpoint = ScriptedEndpoint(lambda _: r"\boxed{+1}")
    async with endpoint.serving():
        pass
    return endpoint


def judge_at(endpoint: ScriptedEndpoint) -> LlmJudgeReward:
    config = LlmJudgeConfig(base_url=endpoint.base_url, votes=1, retries=0)
    return LlmJudgeReward(config, env={}, backoff_s=0.01)


async def test_an_outage_costs_no_turn_its_verdict(log, endpoint):
    link(log, "a", "b")
    judge, local = judge_at(endpoint), FakeReward(lambda _: -1.0)
    worker = JudgeWorker(log, [judge, local], RewardConfig(), poll_s=0.02, first_wait_s=0.01)
    async with running(worker):
        await until(lambda: worker.status().held == 2)
        assert [log.cursor(CURSOR), worker.status().failed] == [0, 0]
        assert all(not turn.verdicts for turn in log.judged(limit=9))
        async with endpoint.serving():
            await until(lambda: log.cursor(CURSOR) == 2)
    await judge.aclose()
    for turn in log.judged(limit=9):
        scores = {verdict.module: verdict.score for verdict in turn.verdicts}
        assert scores == {"llm_judge": 1.0, "fake": -1.0}
    assert sorted(local.judged) == ["a", "b"], "who has answered is not asked again"
    assert worker.status().held == 0


async def test_a_worker_whose_judge_is_away_stops_at_once(log, endpoint):
    link(log, "a")
    judge = judge_at(endpoint)
    worker = JudgeWorker(log, [judge], RewardConfig(), poll_s=0.02, first_wait_s=1000.0)
    async with running(worker):
        await until(lambda: worker.status().held == 1)
    await judge.aclose()
    assert log.cursor(CURSOR) == 0


async def test_what_is_forgotten_while_its_judge_is_away_is_shown_to_nobody(log, endpoint):
    link(log, "a", "b")
    judge = judge_at(endpoint)
    worker = JudgeWorker(log, [judge], RewardConfig(), poll_s=0.02, first_wait_s=0.2)
    async with running(worker):
        await until(lambda: worker.status().held == 2)
        assert forget(log, now=1.0, response_id="chatcmpla").turn_ids == ("a",)
        async with endpoint.serving():
            await until(lambda: log.cursor(CURSOR) == 2)
    await judge.aclose()
    asked = [request["messages"][-1]["content"] for request in endpoint.requests]
    assert ["about a" in text for text in asked] == [False]
    assert log.get("b").verdicts[0].score == 1.0


async def test_patience_ends(log, endpoint):
    link(log, "a")
    judge = judge_at(endpoint)
    config = RewardConfig(judge_patience_h=0.0)
    async with running(JudgeWorker(log, [judge], config, poll_s=0.02)):
        await until(lambda: log.cursor(CURSOR) == 1)
    await judge.aclose()
    (verdict,) = log.judged(limit=9)[0].verdicts
    assert verdict.score is None
    assert verdict.explanation.startswith("failed: the judge cannot be asked: ConnectError")


@pytest.mark.parametrize(
    "status", [301, 308, 401, 402, 403, 404, 405, 425, 429, 500, 503, 520, 524, 529]
)
async def test_a_judge_that_refuses_or_says_to_come_back_is_away(endpoint, status):
    endpoint.failures = [status]
    judge = judge_at(endpoint)
    async with endpoint.serving():
        with pytest.raises(JudgeAwayError, match=f"HTTP {status}"):
            await judge.judge(make_turn(), user_says("Thanks!"))
        assert (await judge.judge(make_turn(), user_says("Thanks!"))).score == 1.0
    await judge.aclose()


@pytest.mark.parametrize("status", [308, 401, 402, 403, 404, 405])
async def test_turns_wait_until_a_judge_that_refuses_is_mended(log, endpoint, caplog, status):
    link(log, "a")
    endpoint.failures = [status]
    judge = LlmJudgeReward(LlmJudgeConfig(base_url=endpoint.base_url, votes=1), env={})
    worker = JudgeWorker(log, [judge], RewardConfig(), poll_s=0.02, first_wait_s=0.2)
    async with endpoint.serving(), running(worker):
        await until(lambda: worker.status().held == 1)
        assert log.cursor(CURSOR) == 0
        await until(lambda: log.cursor(CURSOR) == 1)
    await judge.aclose()
    (verdict,) = log.judged(limit=9)[0].verdicts
    assert verdict.score == 1.0
    assert f"HTTP {status} at {endpoint.base_url}: check reward.llm_judge.base_url" in caplog.text
    assert "CLAWJAX_JUDGE_API_KEY" in caplog.text


@pytest.mark.parametrize(
    ("settings", "names", "score"),
    [
        ({"rule": CompositeRule.first}, ("fake", "llm_judge"), 0.5),
        ({"rule": CompositeRule.first}, ("llm_judge", "fake"), None),
        ({"rule": CompositeRule.mean}, ("fake", "llm_judge"), None),
        ({"rule": CompositeRule.mean, "weights": {"llm_judge": 0.0}}, ("llm_judge", "fake"), 0.5),
        ({"rule": CompositeRule.min}, ("fake", "llm_judge"), None),
        ({"gates": {"fake": 0.9, "llm_judge": 0.0}}, ("llm_judge", "fake"), 0.5),
        ({"gates": {"llm_judge": 0.0}}, ("llm_judge", "fake"), None),
    ],
)
async def test_a_composite_waits_only_where_the_part_that_is_away_counts(
    endpoint, settings, names, score
):
    parts = {"fake": FakeReward(lambda _: 0.5), "llm_judge": judge_at(endpoint)}
    config = CompositeConfig(parts=list(names), **settings)
    composite = CompositeReward(config, [parts[name] for name in names])
    asked = composite.judge(make_turn(), user_says("Thanks!", turn_id=make_turn().turn_id))
    if score is None:
        with pytest.raises(JudgeAwayError):
            await asked
    else:
        assert (await asked).score == score
    await parts["llm_judge"].aclose()


def test_waits_grow_and_end_with_the_patience():
    now = [0.0]
    waiting = Waiting(100.0, first_s=1.0, clock=lambda: now[0])
    waits = []
    while (wait_s := waiting.next_s(0)) is not None:
        waits.append(wait_s)
        now[0] += wait_s
    assert sum(waits) == pytest.approx(100.0)
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(waits[:6]))


def test_a_turn_that_alone_gets_no_answer_is_given_up_early():
    waiting = Waiting(1e9, clock=lambda: 0.0)
    tries = [waiting.next_s(answered) for answered in range(9)]
    assert tries.index(None) == 5
