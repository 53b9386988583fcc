"""A reaction is read in the light of how often its author praised before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.config import NextStateConfig
from clawjax.rewards.next_state import NextStateReward
from clawjax.rewards.prior import ReactionPrior
from clawjax.rewards.reaction_model import UNKNOWN, Reaction, ReactionModel

from .reward_records import make_turn, user_says

PRAISE, COMPLAINT = Reaction(0.9, 0.05, 0.05), Reaction(0.05, 0.9, 0.05)
probabilities = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda weights: Reaction(*(weight / sum(weights) for weight in weights))
)


def test_the_first_reaction_is_taken_as_it_is() -> None:
    np.testing.assert_allclose(ReactionPrior().corrected("u", PRAISE), PRAISE)


def test_values_against_bayes_by_hand() -> None:
    prior = ReactionPrior()
    prior.corrected("u", COMPLAINT)
    counts = np.array([4 / 3, 4 / 3, 4 / 3]) + COMPLAINT
    joint = np.array(PRAISE) * np.sqrt(counts / counts.sum())
    np.testing.assert_allclose(prior.corrected("u", PRAISE), joint / joint.sum())


def test_apparent_praise_by_somebody_who_always_complains_is_doubtful() -> None:
    prior = ReactionPrior()
    for _ in range(20):
        prior.corrected("u", COMPLAINT)
    assert prior.corrected("u", Reaction(0.7, 0.25, 0.05)).praise < 0.5
    assert 0.7 < prior.corrected("u", PRAISE).praise < 0.85  # and is not out of the question
    assert prior.corrected("u", Reaction(0.99, 0.005, 0.005)).praise > 0.9  # plain words stay plain
    np.testing.assert_allclose(prior.corrected("somebody else", PRAISE), PRAISE)


def test_who_becomes_content_is_believed_again() -> None:
    prior = ReactionPrior()
    for _ in range(100):
        prior.corrected("u", COMPLAINT)
    found = [prior.corrected("u", Reaction(0.97, 0.02, 0.01)).praise for _ in range(30)]
    assert found[0] < found[10] < found[-1]
    assert found[-1] > 0.97


@given(st.lists(probabilities, min_size=1, max_size=40))
def test_probabilities_stay_probabilities(reactions: list[Reaction]) -> None:
    prior = ReactionPrior()
    for reaction in reactions:
        found = prior.corrected("u", reaction)
        assert sum(found) == pytest.approx(1)
        assert min(found) > 0


def test_what_cannot_be_read_changes_nothing() -> None:
    prior = ReactionPrior()
    for _ in range(30):
        assert prior.corrected("u", UNKNOWN) == UNKNOWN
    np.testing.assert_allclose(prior.corrected("u", PRAISE), PRAISE)


async def test_the_judge_adapts_where_it_is_told_to() -> None:
    model = ReactionModel.packaged()
    scores = {}
    for adapts in (False, True):
        judge = NextStateReward(NextStateConfig(is_graded=True, adapts=adapts), model)
        for _ in range(12):
            await judge.judge(make_turn(), user_says("No, that is far too long."))
        verdict = await judge.judge(make_turn(), user_says("Nice."))
        scores[adapts] = verdict.score
    assert scores[False] is not None
    assert scores[True] is None or scores[True] < scores[False]
