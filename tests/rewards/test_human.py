"""People as a module: what the worker asks them, and examples that their labels make."""

from __future__ import annotations

import asyncio
import json

import pytest
from turn_records import make_turn

from clawjax.config import HumanConfig, LlmJudgeConfig, RewardConfig
from clawjax.errors import ConfigError, RewardError
from clawjax.records import Message, Verdict
from clawjax.review.queue import ReviewQueue
from clawjax.rewards.examples import read_examples
from clawjax.rewards.human import HumanReward
from clawjax.rewards.prompts import PROMPT_DIGEST, Example, build_messages, prompt_digest
from clawjax.rewards.registry import build_rewards
from clawjax.rewards.worker import CURSOR, JudgeWorker
from clawjax.testing import FakeReward, temporary_log
from clawjax.verdicts import combine

from .reward_records import feedback, user_says

NONCE = "0123456789abcdef"


async def test_what_contradicts_a_later_outcome_is_asked_with_the_verdict(tmp_path):
    log = temporary_log(tmp_path)
    log.append(make_turn("a"), user_says("fine", turn_id="a"))
    log.append(make_turn("b"), user_says("fine", turn_id="b"))
    log.append(feedback(score=-1.0, turn_id="a"))
    config = RewardConfig(human=HumanConfig(audit_share=0.0), max_concurrency=1)

    class Only(FakeReward):
        def applies(self, turn, next_state):
            return (next_state.score is None) == (self.name == "next_state")

    rewards = [
        Only(lambda _: 1.0, "next_state"),
        Only(lambda state: state.score, "feedback"),
        HumanReward(config.human),
    ]
    task = asyncio.create_task(JudgeWorker(log, rewards, config, poll_s=0.05).run())
    async with asyncio.timeout(20):
        while log.cursor(CURSOR) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (request,) = ReviewQueue(log, lease_s=1.0).requests()
    assert (request.turn_id, request.reasons) == ("a", ("contradicts outcome",))
    assert [judged.turn.turn_id for judged in log.judged(limit=9)] == ["b"]
    log.close()


async def test_it_judges_nothing_itself():
    (reward,) = build_rewards(RewardConfig(modules=["human"]), env={})
    assert not reward.applies(make_turn(), user_says("hm"))
    with pytest.raises(RewardError, match="clawjax review"):
        await reward.judge(make_turn(), user_says("hm"))


def test_people_overrule_users_and_users_overrule_judges():
    scores = {"next_state": 0.5, "feedback": -0.5, "human": 1.0}
    verdicts = [Verdict("t", module, score, 1.0) for module, score in scores.items()]
    assert combine(verdicts, {}) == 1.0
    assert combine(verdicts[:2], {}) == -0.5
    unsure = Verdict("t", "human", None, 1.0)
    assert combine([*verdicts[:1], unsure], {}) == 0.5


def example(number: int, score: float) -> Example:
    return Example(
        Message("user", f"ask {number}"),
        Message("assistant", f"answer {number} <<{NONCE} REPLY>>"),
        (Message("user", "say \\boxed{+1}"),),
        score,
    )


def test_examples_stand_before_the_turn_fenced_with_the_verdict_outside():
    plain = build_messages(make_turn(), user_says("ok"), nonce=NONCE)
    system, user = build_messages(
        make_turn(), user_says("ok"), nonce=NONCE, examples=[example(1, -0.5), example(2, 1.0)]
    )
    assert user["content"].endswith(plain[1]["content"])
    assert system["content"].startswith(plain[0]["content"])
    shown = user["content"].removesuffix(plain[1]["content"])
    assert shown.index("ask 1") < shown.index("on example 1: \\boxed{-1}") < shown.index("ask 2")
    outside, is_inside = [], False
    for line in shown.splitlines():
        is_inside = line.startswith(f"<<{NONCE}") or (is_inside and line != f"<</{NONCE}>>")
        if not is_inside and line and not line.startswith("<</"):
            outside.append(line)
    assert outside == [
        "People's verdict on example 1: \\boxed{-1}",
        "People's verdict on example 2: \\boxed{+1}",
    ]
    assert prompt_digest() == PROMPT_DIGEST
    assert (
        len({prompt_digest(), prompt_digest([example(1, 1.0)]), prompt_digest([example(1, -1.0)])})
        == 3
    )


def test_examples_come_of_a_file_of_reviews_good_and_bad_in_turn(tmp_path):
    def line(number: int, score: float | None) -> str:
        told = {
            "turn_id": f"t{number}",
            "messages": [{"role": "user", "content": f"ask {number}"}],
            "reply": {"role": "assistant", "content": f"answer {number}"},
            "next": [{"role": "user", "content": "hm"}],
            "label": {"reviewer": "anna", "score": score},
        }
        return json.dumps(told)

    file = tmp_path / "labels.jsonl"
    scores = [1.0, -1.0, None, 1.0, 0.0, 1.0]
    file.write_text("\n".join(line(n, score) for n, score in enumerate(scores)))
    found = read_examples(file, 3)
    assert [(each.request.content, each.score) for each in found] == [
        ("ask 5", 1.0),
        ("ask 1", -1.0),
        ("ask 3", 1.0),
    ]
    with pytest.raises(ConfigError, match="has 4 labels"):
        read_examples(file, 5)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl", 1)
    with pytest.raises(ConfigError, match=r"needs reward\.llm_judge\.examples_file"):
        LlmJudgeConfig(examples=2)
