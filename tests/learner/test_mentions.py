"""What reactions speak of, by name."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learner_records import next_state

from clawjax.learner.mentions import MENTIONS, mention_weights, user_text
from clawjax.learner.style_features import STYLE_FEATURES
from clawjax.records import Message, NextState, NextStateKind

NAMES = {
    "Stop saying sorry.": "apologises",
    "Don\u2019t apologize for everything": "apologises",
    "You needn't tell me that you are a robot.": "speaks of being an AI",
    "Why is that a list again?": "list",
    "No markdown please": "markup",
    "too long; keep it short": "words",
    "Ask me something back!": "ends in a question",
    "Speak to me, it is about me.": "sentences with you",
    "Do not use contractions.": "contractions",
    "The emojis have to go": "emoji",
    "That was kind of you, so friendly.": "kind words",
    'Who is "we"? Leave us out.': "ever we",
}


def by_name(*reactions: str) -> dict[str, float]:
    return dict(zip(STYLE_FEATURES, mention_weights(reactions).tolist(), strict=True))


@pytest.mark.parametrize(("reaction", "habit"), NAMES.items(), ids=NAMES.values())
def test_what_a_reaction_names_is_attended_to(reaction: str, habit: str) -> None:
    found = by_name(reaction)
    assert found[habit] == max(found.values())
    assert found[habit] > 5 * min(found.values())


def test_the_mean_of_a_dirichlet_posterior() -> None:
    found, number = by_name("Stop saying sorry.", "SORRY, sorry!", "Fine."), len(STYLE_FEATURES)
    assert found["apologises"] == pytest.approx((2 + 4 / number) / (2 + 4))
    assert found["colon"] == pytest.approx((4 / number) / (2 + 4))
    np.testing.assert_allclose(mention_weights([]), 1 / number)
    np.testing.assert_allclose(mention_weights(["The cat sat on the keyboard."]), 1 / number)


def test_words_within_words_name_nothing() -> None:
    np.testing.assert_allclose(
        mention_weights(["Maidens stake boldness, starboard."]), 1 / len(STYLE_FEATURES)
    )


def test_every_name_is_of_a_habit() -> None:
    assert set(MENTIONS) <= set(STYLE_FEATURES)


@given(st.lists(st.text(), max_size=4))
def test_shares_sum_to_one_whatever_is_said(reactions: list[str]) -> None:
    found = mention_weights(reactions)
    assert found.sum() == pytest.approx(1.0)
    assert (found > 0).all()


def test_a_long_text_costs_little() -> None:
    began = time.process_time()
    mention_weights(["you ask and ask again and again and " * 100_000] * 20)
    assert time.process_time() - began < 5.0


def test_only_what_the_user_wrote_counts() -> None:
    tool = NextState("t1", NextStateKind.TOOL, 1.0, (Message("tool", "sorry"),))
    closed = NextState("t1", NextStateKind.SESSION_CLOSED, 2.0)
    decorated = NextState(
        "t1",
        NextStateKind.USER,
        3.0,
        (
            Message("system", "you are a robot"),
            Message("user", "<system-reminder>a list</system-reminder> Too long"),
        ),
    )
    assert user_text([tool, closed]) == ""
    assert (
        user_text([tool, decorated, closed, next_state(NextStateKind.FEEDBACK)])
        == "Too long\nthanks"
    )
