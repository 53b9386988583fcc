"""How a conversation is recognised whose beginning was summed up."""

import pytest

from clawjax.config import LinkingConfig
from clawjax.records import LinkKind

from .linking_records import R1, R2, A, B, C, Talk, parent_of, result, said, user

SUMMARY = user(
    "The conversation history before this point was compacted into the following summary:\n..."
)


def test_a_compacted_history_is_recognised_by_its_last_pair():
    talk = Talk()
    talk.ask(R1, A)
    question = user("How many people live there?")
    talk.ask(R2, A, R1, question)
    placed = talk.place(SUMMARY, question, R2, C)
    assert (placed.kind, parent_of(placed)) == (LinkKind.COMPACTED, "2")
    assert placed.reaction.messages == (C,)


def test_behind_a_summary_a_reply_is_enough_where_the_session_has_a_name():
    talk = Talk()
    talk.ask(R1, A, key="k")
    assert parent_of(talk.place(SUMMARY, R1, C, key="k")) == "1"
    assert parent_of(talk.place(SUMMARY, R1, C, key="other")) is None
    named = talk.place(SUMMARY, said("forgotten"), C, key="k")
    assert (named.kind, parent_of(named)) == (LinkKind.COMPACTED, None)


def test_a_pair_that_two_conversations_have_is_a_guess():
    talk = Talk()
    question = user("How many people live there?")
    for first in (A, B):
        talk.ask(R1, first)
        talk.ask(R2, first, R1, question)
    assert talk.place(SUMMARY, question, R2, C).kind is LinkKind.NEW


@pytest.mark.parametrize(
    ("question", "reply"), [("a", "ok"), ("Thank you!", "You're welcome! Anything else?")]
)
def test_a_pair_that_anybody_may_say_is_a_guess(question, reply):
    talk = Talk()
    talk.ask(said(reply), user(question))
    assert talk.place(B, said("hm"), user(question), said(reply), C).kind is LinkKind.NEW


def test_behind_a_summary_a_reply_that_anybody_may_say_is_a_guess_without_a_name():
    for origin, is_known in (({}, False), ({"key": "k"}, True)):
        talk = Talk()
        talk.ask(said("You're welcome!"), user("thanks"), **origin)
        placed = talk.place(SUMMARY, said("You're welcome!"), C, **origin)
        assert (parent_of(placed) == "1") is is_known


def test_a_call_counts_to_what_a_pair_says():
    talk = Talk()
    called = said("", ("write", '{"path": "notes/paris.md", "text": "two million"}'))
    talk.ask(called, A)
    assert parent_of(talk.place(B, said("hm"), A, called, result("done"))) == "1"


def test_an_old_reply_is_no_anchor():
    talk = Talk(LinkingConfig(anchor_age_s=10))
    talk.ask(R1, user("What is the capital of France?"))
    talk.now += 11
    assert talk.place(SUMMARY, user("What is the capital of France?"), R1, C).parent is None
