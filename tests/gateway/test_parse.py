"""Text that is being written, cut anywhere, parses as the whole does."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawjax.gateway.parse import ReplyParser, new_call_id

CALL = '<tool_call>\n{"name": "ls", "arguments": {"path": "/tmp"}}\n</tool_call>'


def parse(*pieces, has_tools=True, has_reasoning=False, opens_reasoning=False):
    ids = (f"call{i}" for i in itertools.count())
    parser = ReplyParser(
        has_tools=has_tools,
        has_reasoning=has_reasoning,
        opens_reasoning=opens_reasoning,
        call_id=lambda: next(ids),
    )
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.flush()
    calls = [d.tool_call for d in deltas if d.tool_call]
    return "".join(d.content for d in deltas), "".join(d.reasoning for d in deltas), calls


def test_a_call_becomes_a_call_and_leaves_no_white_space():
    content, _, calls = parse(f"I look.\n{CALL}\n{CALL}\n")
    assert content == "I look."
    assert [(c.call_id, c.name, json.loads(c.arguments)) for c in calls] == [
        ("call0", "ls", {"path": "/tmp"}),
        ("call1", "ls", {"path": "/tmp"}),
    ]


def test_text_may_go_on_after_a_call():
    assert parse(f"I look.\n{CALL}\nDone.\n")[0] == "I look.\nDone."


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{not json}</tool_call> and more",
        "<tool_call>[1]</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "ls", "argu',
        "<tool_call>",
        "a < b and <tool",
        "  spaces around  \n",
    ],
)
def test_what_is_no_call_stays_text(text):
    assert parse(text) == (text.lstrip(), "", [])


def test_a_call_without_its_end_tag_counts_when_it_is_complete():
    _, _, calls = parse(CALL.removesuffix("</tool_call>"))
    assert [call.name for call in calls] == ["ls"]


def test_without_tools_tags_are_text():
    assert parse(CALL, has_tools=False) == (CALL, "", [])


def test_text_leaves_as_soon_as_it_is_certain():
    parser = ReplyParser(has_tools=True, has_reasoning=False)
    assert [d.content for d in parser.push("Hello <")] == ["Hello"]
    assert [d.content for d in parser.push("b> and")] == [" <b> and"]


def test_thoughts_are_kept_apart():
    text = f"<think>\nhm, <tool_call>?\n</think>\n\nYes <think> no {CALL}"
    content, reasoning, calls = parse(text, has_reasoning=True)
    assert (content, reasoning, len(calls)) == ("Yes <think> no", "hm, <tool_call>?", 1)
    assert parse("so\n</think>\nyes", has_reasoning=True, opens_reasoning=True)[:2] == ("yes", "so")
    assert parse("<think>never done", has_reasoning=True)[:2] == ("", "never done")


PIECES = st.lists(
    st.sampled_from([
        "a", " ", "\n", "<", "<think>", "</think>", "<tool_call>", "</tool_call>", CALL,
        '{"name": "f"}', "tool_call>", "</", "ü",
    ]),
    max_size=12,
).map("".join)  # fmt: skip


@given(PIECES, st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_cuts_change_nothing(text, cuts, has_reasoning):
    points = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(points)]
    whole = parse(text, has_reasoning=has_reasoning)
    assert parse(*pieces, has_reasoning=has_reasoning) == whole


@given(PIECES)
def test_text_without_calls_is_kept_whole(text):
    content, _, calls = parse(text)
    if not calls:
        assert content == (text.lstrip() or text)


def test_call_ids_are_letters_and_digits():
    assert new_call_id().isalnum()
    assert new_call_id() != new_call_id()
