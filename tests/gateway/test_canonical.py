"""What clients do to a history on its way back does not change its key."""

from dataclasses import replace

import pytest

from clawjax.gateway.canonical import canonical, hash_chain
from clawjax.records import Message, ToolCall

CALLED = Message(
    "assistant", "I look. ", (ToolCall("call1", "ls", '{"b": 1, "a": {"y": 2, "x": 3}}'),)
)


@pytest.mark.parametrize(
    "rewritten",
    [
        replace(CALLED, content="I look."),
        replace(CALLED, reasoning="hm"),
        replace(CALLED, name="bot"),
        replace(CALLED, tool_calls=(replace(CALLED.tool_calls[0], call_id="x"),)),
        replace(
            CALLED,
            tool_calls=(replace(CALLED.tool_calls[0], arguments='{"a":{"x":3,"y":2},"b":1}'),),
        ),
    ],
)
def test_rewriting_keeps_the_form(rewritten):
    assert canonical(rewritten) == canonical(CALLED)


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLED, content="I  look."),
        replace(CALLED, role="user"),
        replace(CALLED, tool_calls=()),
        replace(CALLED, tool_calls=(replace(CALLED.tool_calls[0], arguments="{"),)),
        replace(CALLED, tool_calls=CALLED.tool_calls * 2),
    ],
)
def test_different_messages_have_different_forms(other):
    assert canonical(other) != canonical(CALLED)


def test_keys_depend_on_all_that_came_before_and_on_the_scope():
    a, b = Message("user", "a"), Message("user", "b")
    assert hash_chain("s", (a, b))[0] == hash_chain("s", (a,))[0]
    assert hash_chain("s", (a, b))[1] != hash_chain("s", (b, b))[1]
    assert hash_chain("s", (a,)) != hash_chain("t", (a,))
