import pytest
from turn_records import make_turn

from clawjax.config import NextStateConfig
from clawjax.errors import RewardError
from clawjax.rewards.feedback import FeedbackReward
from clawjax.rewards.next_state import NextStateReward
from clawjax.rewards.reaction_model import ReactionModel

from .reward_records import feedback, session_closed, user_says


@pytest.fixture(scope="module")
def reward() -> FeedbackReward:
    return FeedbackReward(NextStateReward(NextStateConfig(), ReactionModel.packaged()))


@pytest.mark.parametrize("score", [1.0, -1.0, 0.25, 0.0])
async def test_a_given_score_counts_as_given_whatever_the_words(reward, score):
    verdict = await reward.judge(make_turn(), feedback("This is terrible.", score=score))
    assert (verdict.module, verdict.score) == ("feedback", score)


async def test_words_alone_are_read_as_a_reaction(reward):
    verdict = await reward.judge(make_turn(), feedback("Much too long and full of lists."))
    assert (verdict.module, verdict.score) == ("feedback", -1.0)
    verdict = await reward.judge(make_turn(), feedback("Perfect, thank you so much!"))
    assert verdict.score == 1.0


async def test_no_score_and_no_words_abstain(reward):
    assert (await reward.judge(make_turn(), feedback())).score is None


@pytest.mark.parametrize("score", [1.5, float("nan")])
async def test_a_score_out_of_range_is_refused(reward, score):
    with pytest.raises(RewardError, match=r"outside \[-1, 1\]"):
        await reward.judge(make_turn(), feedback(score=score))


def test_only_feedback_is_feedback(reward):
    assert reward.applies(make_turn(), feedback(score=1.0))
    assert not reward.applies(make_turn(), user_says("Thanks!"))
    assert not reward.applies(make_turn(), session_closed())
