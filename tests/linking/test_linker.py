"""How a request relates to the turns before it."""

import pytest

from clawjax.linking.linker import EDITED, note
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import LinkKind, Message, NextStateKind, TurnKind

from .linking_records import R1, R2, A, B, C, Talk, of, parent_of, result, said, user

BACK = said("The capital of France is Paris.")


def test_a_history_with_our_reply_and_more_is_a_continuation():
    talk = Talk()
    talk.ask(R1, A)
    placed = talk.place(A, BACK, B)
    assert (placed.kind, parent_of(placed), placed.parent.at) == (LinkKind.EXTEND, "1", 1)
    assert (placed.reaction.kind, placed.reaction.messages) == (NextStateKind.USER, (B,))
    assert placed.session == SessionRef("local", "session1")


def test_the_longest_known_beginning_is_the_parent():
    talk = Talk()
    talk.ask(R1, A)
    talk.ask(R2, A, R1, B)
    assert parent_of(talk.place(A, R1, B, R2, C)) == "2"
    again = talk.place(A, R1, C)
    assert (parent_of(again), again.reaction) == ("1", None)
    assert again.reason == "a reply came back that had come back before"


@pytest.mark.parametrize("is_cut", [True, False])
def test_words_that_follow_words_are_about_the_same_reply_while_nobody_got_another(is_cut):
    talk = Talk()
    talk.ask(R1, A)
    talk.ask(R2, A, R1, B, is_cut=is_cut)
    again = talk.place(A, R1, B, C)
    assert (parent_of(again), again.reaction is not None) == ("1", is_cut)
    assert talk.place(A, R1, B).reaction is None
    assert talk.place(A, R1, C, B).reaction is None
    if again.reaction is not None:
        assert again.reaction.messages == (B, C)
        note(again)
        assert talk.place(A, R1, B, C).reaction is None


def test_results_that_come_one_by_one_are_all_of_the_turn_that_called():
    talk = Talk()
    calls = said("", ("ls", "{}"), ("pwd", "{}"))
    talk.ask(calls, A)
    talk.ask(R2, A, calls, result("1"))
    placed = talk.place(A, calls, result("1"), result("2", "c1"), B)
    assert parent_of(placed) == "1"
    assert placed.reaction.messages == (result("1"), result("2", "c1"), B)


def test_all_results_and_words_after_a_reply_are_its_next_state():
    talk = Talk()
    talk.ask(said("", ("ls", "{}"), ("pwd", "{}")), A)
    placed = talk.place(A, said("", ("ls", "{}"), ("pwd", "{}")), result("1"), result("2", "c1"), B)
    assert (placed.reaction.kind, len(placed.reaction.messages)) == (NextStateKind.USER, 3)


def test_a_reply_that_comes_back_as_two_messages_has_its_next_state_behind_both():
    talk = Talk()
    talk.ask(said("I look.", ("ls", "{}"), ("pwd", "{}")), A)
    words, calls = said("I look."), (said("", ("ls", "{}")), said("", ("pwd", "{}")))
    placed = talk.place(A, words, *calls, result("1"), result("2", "c1"))
    assert (placed.kind, parent_of(placed)) == (LinkKind.EXTEND, "1")
    assert (placed.parent.at, placed.parent.end) == (1, 3)
    assert placed.reaction.kind is NextStateKind.TOOL
    assert placed.reaction.messages == (result("1"), result("2", "c1"))
    assert talk.place(A, words, *calls, B).reaction.messages == (B,)


def test_a_tools_result_for_a_side_request_is_side_where_its_call_is_a_message_apart():
    talk = Talk()
    talk.ask(said("I look.", ("ls", "{}")), A, said_kind=TurnKind.SIDE)
    placed = talk.place(A, said("I look."), said("", ("ls", "{}")), result("1"))
    assert placed.judged == (TurnKind.SIDE, "a tool's result for a side request")


def test_a_next_state_ends_where_a_foreign_reply_begins():
    talk = Talk()
    talk.ask(R1, A)
    assert talk.place(A, R1, B, said("not ours"), C).reaction.messages == (B,)


def test_words_after_a_message_that_the_client_wrote_itself_still_follow_our_reply():
    talk = Talk()
    talk.ask(R1, A)
    command = user("<command-name>/x</command-name>")
    placed = talk.place(A, R1, command, said("No response requested."), B)
    assert placed.reaction.messages == (B,)


def test_an_edited_reply_is_a_correction():
    talk = Talk()
    talk.ask(R1, A)
    talk.ask(R2, A, R1, B)
    placed = talk.place(A, R1, B, said("It has three million inhabitants."), C)
    assert (placed.kind, placed.reason) == (LinkKind.BRANCH, EDITED)
    assert (parent_of(placed), of(placed), placed.reaction) == ("1", "2", None)
    assert placed.link("3").at == 3


def test_an_edited_first_reply_is_found_by_its_words():
    talk = Talk()
    talk.ask(R1, A)
    assert of(talk.place(A, said("The capital of France is not Paris."), B)) == "1"
    assert talk.place(A, said("I do not know."), B).kind is LinkKind.NEW


@pytest.mark.parametrize("text", ["", "[Assistant reply unavailable due to model error.]"])
def test_a_reply_that_the_client_has_not_is_no_correction(text):
    talk = Talk()
    talk.ask(R1, A)
    placed = talk.place(A, said(text), B)
    assert (placed.kind, of(placed), placed.reaction) == (LinkKind.BRANCH, "1", None)
    assert placed.reason != EDITED


def test_a_cut_reply_that_is_asked_for_again_is_a_retry():
    talk = Talk()
    talk.ask(said("The cap"), A, is_cut=True)
    placed = talk.ask(R1, A)
    assert (placed.kind, of(placed), placed.superseded) == (LinkKind.RETRY, "1", ())
    assert talk.place(A, said("The cap")).kind is LinkKind.RETRY  # to be continued
    assert parent_of(talk.place(A, R1, B)) == "2"


def test_what_follows_a_cut_reply_says_nothing_about_it():
    talk = Talk()
    talk.ask(said("The capital of"), A, is_cut=True)
    placed = talk.place(A, said("The cap"), B)
    assert (placed.kind, parent_of(placed), placed.reaction) == (LinkKind.EXTEND, "1", None)


def test_a_retry_supersedes_a_reply_that_did_not_arrive():
    talk = Talk()
    talk.ask(R1, A)
    assert talk.place(A).kind is LinkKind.RESAMPLE
    retried = talk.place(A, retries=1)
    assert (retried.kind, [n.turn_id for n in retried.superseded]) == (LinkKind.RETRY, ["1"])
    talk.tree.session(SessionRef("local", "session1"))[0].is_delivered = False
    assert [node.turn_id for node in talk.place(A).superseded] == ["1"]


def test_a_reply_that_was_answered_has_arrived():
    talk = Talk()
    talk.ask(R1, A)
    note(talk.place(A, R1, B))
    assert talk.place(A, retries=1).kind is LinkKind.RESAMPLE


def test_a_retry_is_of_the_newest_request_even_where_that_was_refused():
    talk = Talk()
    talk.ask(R1, A)
    note(talk.place(A))  # another run of the same program; nothing was sampled
    assert talk.place(A, retries=1).kind is LinkKind.RESAMPLE


def test_asking_again_is_no_judgement_of_the_first_reply():
    talk = Talk()
    talk.ask(R1, A)
    talk.ask(R2, A, R1, B)
    placed = talk.place(A, R1, B)
    assert (placed.kind, parent_of(placed), of(placed)) == (LinkKind.RESAMPLE, "1", "2")
    assert (placed.reaction, placed.superseded) == (None, ())


def test_the_same_first_question_of_another_program_is_new():
    talk = Talk()
    talk.ask(R1, Message("system", "x"), A)
    assert talk.place(Message("system", "y"), A).kind is LinkKind.NEW
    assert talk.place(Message("system", "x"), A).session is None


# --- names ---------------------------------------------------------------------------------------


def test_nothing_links_across_credentials_clients_or_names():
    talk = Talk()
    talk.ask(R1, A, key="k", client="x")
    for other in (
        {"scope": "other", "key": "k", "client": "x"},
        {"key": "k", "client": "y"},
        {"key": "l", "client": "x"},
        {"key": "l", "client": "x", "is_key_explicit": True},
    ):
        placed = talk.place(A, R1, B, **other)
        assert (placed.kind, placed.parent, placed.of) == (LinkKind.NEW, None, None)
    assert parent_of(talk.place(A, R1, B, client="x")) == "1"


def test_a_session_is_found_by_the_id_that_we_gave_it():
    talk = Talk()
    talk.ask(R1, A)
    assert parent_of(talk.place(A, R1, B, key="session1", is_key_explicit=True)) == "1"


def test_who_names_a_session_for_us_owns_the_name():
    talk = Talk()
    talk.ask(R1, A, key="mine", is_key_explicit=True)
    placed = talk.place(B, key="mine", is_key_explicit=True)
    assert (placed.kind, placed.session) == (LinkKind.RESET, SessionRef("local", "mine"))


def test_a_clients_own_name_outlives_a_conversation():
    talk = Talk()
    assert talk.ask(R1, A, key="k").session == SessionRef("local", "k")
    assert (talk.place(B, key="k").kind, talk.place(B, key="k").session) == (LinkKind.RESET, None)
    talk.ask(R2, B, key="k")
    assert talk.place(B, R2, C, key="k").session == SessionRef("local", "session2")


def test_openclaw_names_its_session_in_its_text():
    talk = Talk()
    first = user("hi\n\nRuntime: agent=main | session=agent:main:x | sessionId=7f52-1b | host=pc")
    assert talk.ask(R1, first).session == SessionRef("local", "7f52-1b")


def test_openclaw_counts_compactions_behind_its_sessions_name():
    """Nobody else does: `tenant:41` and `tenant:42` are two."""
    talk = Talk()
    first = user("hi\n\nRuntime: agent=main | session=agent:main:x | sessionId=7f52 | host=pc")
    asked = {"key": "7f52:0", "key_source": "prompt_cache_key"}
    assert talk.ask(R1, first, **asked).session == SessionRef("local", "7f52")
    origin = talk.place(first, R1, B, **asked | {"key": "7f52:2"}).reading.origin
    assert (origin.key, origin.compactions) == ("7f52", 2)
    for number in (41, 42):
        key = f"tenant:{number}"
        placed = talk.ask(R1, A, key=key, key_source="prompt_cache_key")
        assert placed.session == SessionRef("local", key)


def test_a_question_that_many_have_asked_is_gone_on_from_by_each():
    talk = Talk()
    replies = [said(f"Answer {number}.") for number in range(200)]
    for number, reply in enumerate(replies):
        talk.ask(reply, A, key=f"k{number}")
    for number in (0, 100, 199):
        assert parent_of(talk.place(A, replies[number], B)) == str(number + 1)
        assert parent_of(talk.place(A, replies[number], B, key=f"k{number}")) == str(number + 1)


def test_memory_stays_bounded():
    talk = Talk(tree=Tree(max_turns=3))
    for number in range(20):
        talk.ask(R1, user(f"question {number}"), key=f"k{number % 5}")
    assert len(talk.tree) == 3
    assert parent_of(talk.place(user("question 19"), R1, B)) == "20"
    assert talk.place(user("question 3"), R1, B).parent is None
