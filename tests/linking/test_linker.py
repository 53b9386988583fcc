"""How a request relates to the turns before it."""

import pytest

from clawjax.config import LinkingConfig
from clawjax.errors import ConfigError
from clawjax.linking.linker import EDITED, note
from clawjax.linking.tree import SessionRef, Tree
from clawjax.records import LinkKind, Message, NextStateKind, TurnKind

from .linking_records import Talk, of, parent_of, result, said, tools, user

A, B, C = (user(text) for text in "abc")
R1 = said("The capital of France is Paris. ")
R2 = said("It has two million inhabitants.")
BACK = said("The capital of France is Paris.")
SUMMARY = user(
    "The conversation history before this point was compacted into the following summary:\n..."
)


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


# --- rewritten histories -------------------------------------------------------------------------


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


def test_a_side_request_belongs_to_the_session_it_names_and_begins_none():
    talk = Talk()
    title = Message("system", "You are a title generator")
    side = talk.ask(said("A title"), title, A, key="k")
    assert (side.kind, side.judged.kind) == (LinkKind.NEW, TurnKind.SIDE)
    assert talk.ask(R1, A, key="k").kind is LinkKind.NEW
    assert talk.place(title, A, B, key="k").session == SessionRef("local", "k")


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


# --- main and side -------------------------------------------------------------------------------


def test_a_side_request_is_no_reaction_and_a_later_main_one_is():
    talk = Talk()
    talk.ask(R1, A)
    flush = user("Pre-compaction memory flush. Store durable memories only in memory/x.md")
    side = talk.ask(said("", ("write", "{}")), A, R1, flush)
    assert (side.judged.kind, parent_of(side), side.reaction) == (TurnKind.SIDE, "1", None)
    step = talk.place(A, R1, flush, said("", ("write", "{}")), result("done"))
    assert (step.judged.kind, step.reaction) == (TurnKind.SIDE, None)
    assert talk.place(A, R1, B).reaction.messages == (B,)


def test_fewer_tools_and_other_instructions_are_a_side_request_of_a_conversation_only():
    talk = Talk()
    main, other = Message("system", "x"), Message("system", "y")
    both, one = tools("ls", "rm"), tools("ls")
    talk.ask(R1, main, A, tools_json=both)
    assert talk.place(other, A, R1, B, tools_json=one).judged.kind is TurnKind.SIDE
    assert talk.place(other, A, R1, B, tools_json=both).judged.kind is TurnKind.MAIN
    assert talk.place(main, A, R1, B, tools_json=None).judged.kind is TurnKind.MAIN
    assert talk.place(other, C, tools_json=one).judged.kind is TurnKind.MAIN


@pytest.mark.parametrize(
    ("config", "message", "origin", "reason"),
    [
        ({}, user("### Task:\nSuggest tags"), {}, "its message is that of: open webui task"),
        ({}, user("fine\nCRITICAL: Respond with TEXT ONLY"), {}, "claude code compaction"),
        ({"side_users": {"mine": "Sum up"}}, user("Sum up this chat"), {}, "mine"),
        ({"side_systems": {"mine": "You sum"}}, Message("system", "You sum up"), {}, "mine"),
        ({"side_models": ["small"]}, A, {"model": "small"}, "the small model"),
        ({}, A, {"said_kind": TurnKind.SIDE}, "the request says so"),
    ],
)
def test_signs_of_a_side_request(config, message, origin, reason):
    placed = Talk(LinkingConfig(**config)).place(message, **origin)
    assert placed.judged.kind is TurnKind.SIDE
    assert placed.judged.reason.endswith(reason)


@pytest.mark.parametrize(
    ("config", "message", "origin"),
    [
        ({}, user("What does ### Task: mean?"), {}),
        ({"side_users": {"open webui task": ""}}, user("### Task: x"), {}),
        ({}, user("### Task: x"), {"said_kind": TurnKind.MAIN}),
        ({}, Message("system", "Do not say: You are a title generator"), {}),
    ],
)
def test_no_sign_of_a_side_request(config, message, origin):
    assert Talk(LinkingConfig(**config)).place(message, **origin).judged.kind is TurnKind.MAIN


def test_a_given_format_at_once_is_odd_from_a_client_that_streams():
    talk = Talk()
    talk.ask(R1, A, is_stream=True)
    assert talk.place(A, R1, B, is_constrained=True).judged.kind is TurnKind.SIDE
    assert talk.place(A, R1, B, is_constrained=True, is_stream=True).judged.kind is TurnKind.MAIN
    assert talk.place(A, R1, B).judged.kind is TurnKind.MAIN


def test_a_pattern_that_cannot_be_read_is_named():
    with pytest.raises(ConfigError, match=r"side_users\['mine'\]='\['"):
        LinkingConfig(side_users={"mine": "["})


def test_a_main_request_that_nothing_explains_is_outlined_without_its_text():
    talk = Talk()
    placed = talk.place(A, said("secret"), B, client="x")
    assert placed.shape == ("client=x key=none roles=user assistant user tools=0 stream=no")
    assert talk.place(A, client="x").shape is None
    assert talk.place(A, said("secret"), B, said_kind=TurnKind.MAIN).shape is None


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
