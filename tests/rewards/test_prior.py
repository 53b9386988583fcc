"""A reaction is read in the light of how often its author praised before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turn_records import make_turn

from clawjax.config import NextStateConfig, RewardConfig
from clawjax.log.earlier import newest_verdicts
from clawjax.log.store import SqlTurnLog
from clawjax.protocols import Reward
from clawjax.records import Component, Verdict
from clawjax.rewards.next_state import NextStateReward, reactions_in
from clawjax.rewards.prior import FADED, ReactionPrior
from clawjax.rewards.reaction_model import UNKNOWN, Reaction, ReactionModel
from clawjax.runtime.judges import open_rewards
from clawjax.testing import temporary_log

from .reward_records import user_says

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
        for number in range(12):
            said = user_says("No, that is far too long.", turn_id=f"t{number}")
            await judge.judge(make_turn(said.turn_id), said)
        verdict = await judge.judge(make_turn("new"), user_says("Nice.", turn_id="new"))
        scores[adapts] = verdict.score
    assert scores[False] is not None
    assert scores[True] is None or scores[True] < scores[False]


class Scripted:
    """A model that knows what is meant."""

    digest = "scripted"

    def classify(self, text: str) -> Reaction:
        return PRAISE if text == "Nice." else COMPLAINT


async def test_a_reaction_counts_once_however_often_its_judge_is_asked_about_it() -> None:
    """As it is while a judge beside it is away, and where judging begins again."""
    judge = NextStateReward(
        NextStateConfig(is_graded=True, adapts=True), cast("ReactionModel", Scripted())
    )
    again = [await judge.judge(make_turn(), user_says("No.")) for _ in range(20)]
    assert len({verdict.score for verdict in again}) == 1
    once = ReactionPrior()
    once.corrected(make_turn().scope, COMPLAINT)
    expected = once.corrected(make_turn().scope, PRAISE)
    found = (await judge.judge(make_turn("t2"), user_says("Nice.", turn_id="t2"))).score
    assert found == pytest.approx(expected.praise - expected.complaint)


def test_what_was_heard_before_is_counted_as_if_it_had_just_been() -> None:
    lasting, heard = ReactionPrior(), (COMPLAINT, PRAISE, UNKNOWN, COMPLAINT, COMPLAINT)
    earlier = [("u", lasting.corrected("u", reaction)) for reaction in heard]
    again = ReactionPrior(earlier)
    np.testing.assert_allclose(again.corrected("u", PRAISE), lasting.corrected("u", PRAISE))
    np.testing.assert_allclose(again.corrected("somebody else", PRAISE), PRAISE)


def test_what_is_older_than_what_is_read_again_has_next_to_no_say() -> None:
    lasting = ReactionPrior()
    for _ in range(40):
        lasting.corrected("u", PRAISE)
    earlier = [("u", lasting.corrected("u", COMPLAINT)) for _ in range(FADED)]
    again = ReactionPrior(earlier)
    np.testing.assert_allclose(
        again.corrected("u", PRAISE), lasting.corrected("u", PRAISE), atol=0.01
    )


def test_reactions_are_found_where_verdicts_and_their_parts_explain_them() -> None:
    said, other = "praise 0.12, complaint 0.80, neutral 0.08", "a tool rejected the call"
    parts = (Component("next_state", -0.7, said), Component("rules", None, other))
    alone = Verdict("t1", "next_state", -0.7, judged_at=1.0, explanation=said)
    composed = Verdict("t1", "composite", -0.7, judged_at=1.0, explanation="x", components=parts)
    silent = Verdict("t1", "next_state", -1.0, judged_at=1.0, explanation=other)
    assert reactions_in(alone) == reactions_in(composed) == [Reaction(0.12, 0.80, 0.08)]
    assert reactions_in(silent) == []


async def judged(log: SqlTurnLog, judge: Reward, number: int, words: str, user: str = "u") -> float:
    """What the judge makes of a reaction, which the log then has; the probability of praise."""
    turn = replace(make_turn(f"t{number}"), scope=user, response_id=f"r{number}")
    verdict = await judge.judge(turn, user_says(words, turn_id=turn.turn_id))
    log.append(turn, replace(verdict, judged_at=float(number)))
    return reactions_in(verdict)[0].praise


async def test_judges_that_start_again_know_how_often_a_user_complained(tmp_path: Path) -> None:
    log = temporary_log(tmp_path)
    config = RewardConfig(
        modules=["next_state"], next_state=NextStateConfig(is_graded=True, adapts=True)
    )
    (judge,) = await open_rewards(config, log)
    for number in range(12):
        await judged(log, judge, number, "No, that is far too long.")
    (again,) = await open_rewards(config, log)
    forgetful = replace(config, next_state=replace(config.next_state, adapts=False))
    (unmoved,) = await open_rewards(forgetful, log)
    lasting = await judged(log, judge, 20, "Fine I guess, thanks")
    assert await judged(log, again, 21, "Fine I guess, thanks") == pytest.approx(lasting, abs=0.02)
    assert await judged(log, unmoved, 22, "Fine I guess, thanks") > lasting + 0.05
    assert await judged(log, again, 23, "Fine I guess, thanks", user="v") > lasting + 0.05
    log.close()


def test_the_newest_verdicts_of_each_user_are_read_in_their_order(tmp_path: Path) -> None:
    log = temporary_log(tmp_path)
    for number in range(12):
        user = "rare" if number == 0 else "often"
        turn = replace(make_turn(f"t{number}"), scope=user, response_id=f"r{number}")
        verdict = Verdict(turn.turn_id, "next_state", 1.0, judged_at=100.0 - number)
        log.append(turn, verdict, replace(verdict, module="rules"))
    found = newest_verdicts(log, ["next_state"], of_each=3, limit=9)
    assert [(user, verdict.turn_id) for user, verdict in found] == [
        ("often", "t3"), ("often", "t2"), ("often", "t1"), ("rare", "t0")
    ]  # fmt: skip
    newest = newest_verdicts(log, ["next_state"], of_each=3, limit=2)
    assert [verdict.turn_id for _, verdict in newest] == ["t1", "t0"]
    log.close()
