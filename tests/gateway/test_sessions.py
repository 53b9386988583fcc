"""Which turn a request continues."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.gateway.sessions import SessionKey, Sessions, reaction_of
from clawjax.records import (
    FinishReason,
    Message,
    NextStateKind,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
)

A, B, C = (Message("user", text) for text in "abc")
R1, R2 = Message("assistant", "one "), Message("assistant", "two")
RESULT = Message("tool", "42", tool_call_id="x")


def turn(turn_id, messages, reply, *, session="s", scope="local", kind=TurnKind.MAIN, tokens=3):
    return Turn(
        turn_id=turn_id,
        session_id=session,
        parent_turn_id=None,
        response_id="r",
        choice=0,
        kind=kind,
        scope=scope,
        model="m",
        messages=tuple(messages),
        tools_json=None,
        reply=reply,
        prompt_ids=(1,) * tokens,
        response_ids=(2,),
        sampler_logprobs=(-0.5,),
        sampler_logprobs_t1=(-0.5,),
        token_versions=(),
        sampling=SamplingParams(8),
        finish_reason=FinishReason.STOP,
        arrived_at=0.0,
        finished_at=0.0,
        seed=0,
    )


def known(*turns, **bounds):
    sessions = Sessions(**bounds)
    for entry in turns:
        sessions.add(entry, now=0.0)
    return sessions


def parent_of(sessions, messages, *, session=None, scope="local"):
    parent = sessions.find(scope, session, messages).parent
    return parent and parent.turn_id


def test_a_history_that_ends_with_our_reply_and_more_is_a_continuation():
    sessions = known(turn("t1", [A], R1))
    match = sessions.find("local", None, [A, replace(R1, content="one"), B])
    assert (match.parent.turn_id, match.reply_index) == ("t1", 1)
    assert match.key == SessionKey("local", "s")
    reaction = reaction_of(match, [A, R1, B])
    assert (reaction.turn.turn_id, reaction.kind, reaction.messages) == (
        "t1", NextStateKind.USER, (B,),
    )  # fmt: skip


def test_the_longest_known_beginning_is_the_parent():
    sessions = known(turn("t1", [A], R1), turn("t2", [A, R1, B], R2))
    assert parent_of(sessions, [A, R1, B, R2, C]) == "t2"
    assert parent_of(sessions, [A, R1, C]) == "t1"


def test_an_edited_reply_forks_and_is_no_reaction_to_the_one_before():
    sessions = known(turn("t1", [A], R1), turn("t2", [A, R1, B], R2))
    sessions.find("local", None, [A, R1, B]).parent.is_answered = True
    messages = [A, R1, B, Message("assistant", "edited"), C]
    match = sessions.find("local", None, messages)
    assert match.parent.turn_id == "t1"
    assert reaction_of(match, messages) is None


def test_a_reaction_ends_where_a_foreign_reply_begins():
    sessions = known(turn("t1", [A], R1))
    messages = [A, R1, B, Message("assistant", "not ours"), C]
    assert reaction_of(sessions.find("local", None, messages), messages).messages == (B,)


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        ((RESULT, RESULT), NextStateKind.TOOL),
        ((RESULT, B), NextStateKind.USER),
        ((Message("system", "x"),), None),
        ((Message("assistant", "y"),), None),
    ],
)
def test_kinds_of_reactions(after, kind):
    called = Message("assistant", "", (ToolCall("x", "f", '{"a": 1}'),))
    sessions = known(turn("t1", [A], called))
    messages = [A, replace(called, tool_calls=(ToolCall("y", "f", '{"a":1}'),)), *after]
    reaction = reaction_of(sessions.find("local", None, messages), messages)
    assert (reaction and reaction.kind) == kind


@pytest.mark.parametrize("messages", [[A], [A, R1], [B, R1, C], [A, R2, C], [R1, B]])
def test_other_histories_are_new_sessions(messages):
    match = known(turn("t1", [A], R1)).find("local", None, messages)
    assert match == (None, None, None)


def test_turns_are_found_only_in_their_scope_and_in_the_session_that_is_named():
    sessions = known(turn("t1", [A], R1), turn("t2", [A], R1, session="other"))
    assert parent_of(sessions, [A, R1, B], scope="x") is None
    assert parent_of(sessions, [A, R1, B], session="s") == "t1"
    assert parent_of(sessions, [A, R1, B], session="other") == "t2"
    match = sessions.find("local", "new", [A, R1, B])
    assert match == (SessionKey("local", "new"), None, None)


def test_ties_go_to_the_newest_turn_without_an_answer():
    sessions = known(*(turn(f"t{i}", [A], R1, session=f"s{i}") for i in range(3)))
    answered = sessions.find("local", None, [A, R1, B]).parent
    assert answered.turn_id == "t2"
    answered.is_answered = True
    assert parent_of(sessions, [A, R1, B]) == "t1"


def test_side_turns_are_continued_but_never_reacted_to():
    sessions = known(turn("t1", [A], R1, kind=TurnKind.SIDE))
    match = sessions.find("local", None, [A, R1, B])
    assert match.parent.turn_id == "t1"
    assert reaction_of(match, [A, R1, B]) is None
    assert sessions.open_turns(match.key) == []


def test_idle_sessions_are_those_that_nobody_visits():
    sessions = known(turn("t1", [A], R1), turn("t2", [A], R1, session="busy"))
    busy = SessionKey("local", "busy")
    sessions.enter(busy, now=5.0)
    assert [entry.turn_id for entry in sessions.idle(before=100.0)] == ["t1"]
    sessions.leave(busy, now=50.0)
    assert [entry.turn_id for entry in sessions.idle(before=49.0)] == ["t1"]
    assert [entry.turn_id for entry in sessions.idle(before=50.0)] == ["t1", "t2"]


def test_a_visit_that_leaves_no_turn_leaves_no_session():
    sessions = Sessions()
    sessions.enter(SessionKey("local", "x"), now=0.0)
    sessions.leave(SessionKey("local", "x"), now=1.0)
    assert len(sessions) == 0


def test_the_least_recently_used_session_is_forgotten_first():
    sessions = known(
        turn("t1", [A], R1, session="one"), turn("t2", [B], R1, session="two"), max_turns=2
    )
    sessions.enter(SessionKey("local", "one"), now=1.0)
    sessions.leave(SessionKey("local", "one"), now=1.0)
    forgotten = sessions.add(turn("t3", [C], R1, session="three"), now=2.0)
    assert [entry.turn_id for entry in forgotten] == ["t2"]
    assert parent_of(sessions, [B, R1, A]) is None
    assert parent_of(sessions, [A, R1, B]) == "t1"


def test_a_turn_that_could_not_be_logged_is_forgotten():
    sessions = known(turn("t1", [A], R1))
    sessions.remove("t1", SessionKey("local", "s"))
    assert parent_of(sessions, [A, R1, B]) is None
    assert len(sessions) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(1, 30)),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 10),
    st.integers(20, 200),
)
def test_memory_stays_bounded(entries, max_turns, max_tokens):
    sessions = Sessions(max_turns=max_turns, max_tokens=max_tokens)
    for number, (session, text, tokens) in enumerate(entries):
        entry = turn(f"t{number}", [A], Message("assistant", str(text)), session=f"s{session}",
                     tokens=tokens)  # fmt: skip
        sessions.add(entry, now=float(number))
        kept = [k for s in range(5) for k in sessions.open_turns(SessionKey("local", f"s{s}"))]
        assert entry.turn_id in {k.turn_id for k in kept}
        assert len(kept) <= max_turns
        assert len(kept) == 1 or sum(len(k.prompt_ids) + 1 for k in kept) <= max_tokens
        found = sessions.find("local", f"s{session}", [A, entry.reply, B])
        assert found.parent.turn_id == entry.turn_id
