"""Which requests are a client's own affair and no part of the conversation."""

import pytest

from clawjax.config import LinkingConfig
from clawjax.errors import ConfigError
from clawjax.linking.tree import SessionRef
from clawjax.records import LinkKind, Message, TurnKind

from .linking_records import R1, A, B, C, Talk, parent_of, result, said, tools, user


def test_a_side_request_belongs_to_the_session_it_names_and_begins_none():
    talk = Talk()
    title = Message("system", "You are a title generator")
    side = talk.ask(said("A title"), title, A, key="k")
    assert (side.kind, side.judged.kind) == (LinkKind.NEW, TurnKind.SIDE)
    assert talk.ask(R1, A, key="k").kind is LinkKind.NEW
    assert talk.place(title, A, B, key="k").session == SessionRef("local", "k")


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
