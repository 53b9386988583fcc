"""What clients do to a history on its way back does not change its canonical form."""

from dataclasses import replace

import pytest

from clawjax.linking.canonical import (
    canonical_history,
    canonical_reply,
    exact_digest,
    hash_chain,
    scope_digest,
    system_digest,
)
from clawjax.records import Message, ToolCall

from .linking_records import result, said, user

CALLED = Message(
    "assistant", "I look. ", (ToolCall("call1", "ls", '{"b": 1, "a": {"y": 2, "x": 3}}'),)
)


def form(*messages: Message) -> list[str]:
    return [entry.form for entry in canonical_history(messages)]


@pytest.mark.parametrize(
    "rewritten",
    [
        replace(CALLED, content="I look."),
        replace(CALLED, reasoning="hm"),
        replace(CALLED, name="bot"),
        replace(CALLED, tool_calls=(replace(CALLED.tool_calls[0], call_id="x"),)),
        replace(CALLED, tool_calls=CALLED.tool_calls * 2),
        replace(
            CALLED,
            tool_calls=(replace(CALLED.tool_calls[0], arguments='{"a":{"x":3,"y":2},"b":1}'),),
        ),
    ],
)
def test_rewriting_keeps_the_form(rewritten):
    assert form(rewritten) == form(CALLED)


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLED, content="I  look."),
        replace(CALLED, role="user"),
        replace(CALLED, tool_calls=()),
        replace(CALLED, tool_calls=(replace(CALLED.tool_calls[0], arguments="{"),)),
        replace(CALLED, tool_calls=(*CALLED.tool_calls, ToolCall("", "ls", "{}"))),
    ],
)
def test_different_messages_have_different_forms(other):
    assert form(other) != form(CALLED)


@pytest.mark.parametrize(
    ("sampled", "back"),
    [
        ("1.0", "1"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("1E-7", "1e-7"),
        ("1e21", "1e+21"),
        ("0.10", "0.1"),
        ("1285673909213421569", "1285673909213421600"),
    ],
)
def test_a_number_is_the_one_that_javascript_reads(sampled, back):
    ours, theirs = (said("", ("f", f'{{"x": [{text}]}}')) for text in (sampled, back))
    assert form(theirs) == form(ours)
    assert exact_digest([theirs]) == exact_digest([ours])


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "2"), ("1", "true"), ("0.1", "0.2"), ("1e999", "2e999"), ("9" * 5000, "8" * 5000)],
)
def test_other_numbers_are_others(one, other):
    assert form(said("", ("f", one))) != form(said("", ("f", other)))


@pytest.mark.parametrize(
    ("sent", "same"),
    [
        ([user("a"), user("b")], [user("a\nb")]),
        ([user("a"), Message("system", "now"), said("x")], [user("a"), said("x")]),
        ([result("2"), result("1")], [result("1"), result("2")]),
        ([said("I look."), said("", ("ls", "{}"))], [said("I look.", ("ls", "{}"))]),
    ],
)
def test_an_order_or_division_that_clients_choose_does_not_matter(sent, same):
    assert form(*sent) == form(*same)


def test_two_replies_in_a_row_stay_two():
    assert len(form(said("a"), said("b"))) == 2


def test_calls_that_a_framework_writes_as_text_are_calls():
    text = (
        "Calling tools:\n[{'id': 'call_1', 'type': 'function', "
        "'function': {'name': 'ls', 'arguments': {'a': 1}}}]"
    )
    (entry,) = canonical_history([said(text)])
    assert entry.calls == canonical_reply(said("", ("ls", '{"a": 1}'))).calls
    assert entry.has_calls_in_text


def test_half_a_surrogate_pair_in_a_call_as_text_has_a_key():
    call = r"{'function': {'name': 'l\ud83d', 'arguments': {'a': '\ud83d'}}}"
    messages = [said(f"Calling tools:\n[{call}]")]
    assert len(hash_chain(scope_digest("s", "c"), canonical_history(messages))) == 2


CALLS_TOO_LONG = (
    f"Calling tools:\n[{{'function': {{'name': 'ls', 'arguments': '{'a' * 100_000}'}}}}]"
)


@pytest.mark.parametrize(
    "text",
    [
        *("Calling tools:\n[1]", "Calling tools:\n[{]", "x Calling tools:"),
        pytest.param(CALLS_TOO_LONG, id="long"),
    ],
)
def test_text_that_only_looks_like_calls_stays_text(text):
    (entry,) = canonical_history([said(text)])
    assert (entry.text, entry.calls) == (text, ())


def test_keys_depend_on_all_that_came_before_and_on_the_scope():
    a, b = canonical_history([user("a"), said("b")])
    start, other = scope_digest("s", "c"), scope_digest("t", "c")
    assert hash_chain(start, (a, b))[1] == hash_chain(start, (a,))[1]
    assert hash_chain(start, (a, b))[2] != hash_chain(start, (b, b))[2]
    assert not set(hash_chain(start, (a, b))) & set(hash_chain(other, (a, b)))
    assert len({start, other, scope_digest("s", "d")}) == 3


def test_instructions_are_hashed_apart():
    first, second = Message("system", "you are x"), Message("system", "you are y")
    assert system_digest([first, user("a")]) != system_digest([second, user("a")])
    assert system_digest([first, user("a"), second]) == system_digest([first, user("a")])


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ([user("a"), said("b ")], True),
        ([user("a "), said("b")], True),
        ([user("a")], False),
        ([Message("system", "s"), user("a"), said("b")], False),
        ([user("a"), user("<system-reminder>x</system-reminder>"), said("b")], False),
    ],
)
def test_a_prompt_goes_on_only_from_messages_that_were_sent_alike(other, is_same):
    assert (exact_digest(other) == exact_digest([user("a"), said("b")])) is is_same
