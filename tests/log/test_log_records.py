"""Records come back from the log as they were written, and what was said first stays."""

import dataclasses
import json
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_records import user_said
from turn_records import make_turn

from clawjax.errors import LogError
from clawjax.log import codec
from clawjax.records import (
    Component,
    DropReason,
    Grammar,
    GrammarKind,
    Link,
    LinkKind,
    Message,
    NextState,
    NextStateKind,
    Origin,
    Outcome,
    SamplingParams,
    ToolCall,
    TurnKind,
    Verdict,
    expand_versions,
    run_lengths,
)
from clawjax.verdicts import first_said

texts = st.text(max_size=20)
calls = st.builds(ToolCall, call_id=texts, name=texts, arguments=texts)
messages = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    content=texts,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.none() | texts,
    name=st.none() | texts,
    reasoning=st.none() | texts,
)
logprobs = st.floats(max_value=0.0, allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    history=st.lists(messages, max_size=3).map(tuple),
    reply=messages,
    tokens=st.lists(st.tuples(st.integers(0, 2**31 - 1), logprobs, st.integers(0, 3)), max_size=8),
    number=st.integers(0),
)
def test_a_turn_comes_back_as_it_was_written(log, history, reply, tokens, number):
    turn_id = f"turn{number}-{hash((history, reply, tuple(tokens)))}"
    turn = make_turn(
        turn_id,
        messages=history,
        reply=reply,
        response_ids=tuple(token for token, _, _ in tokens),
        sampler_logprobs=tuple(logprob for _, logprob, _ in tokens),
        sampler_logprobs_t1=tuple(logprob for _, logprob, _ in tokens),
        token_versions=run_lengths([version for _, _, version in tokens]),
    )
    log.append(turn)
    found = log.get(turn_id)
    assert found is not None
    assert found.turn == turn
    assert expand_versions(found.turn.token_versions) == tuple(v for _, _, v in tokens)


def test_a_turn_with_a_grammar_comes_back_and_so_does_an_older_one(log):
    grammar = Grammar(GrammarKind.JSON_SCHEMA, '{"type": "object"}')
    held = make_turn(
        sampling=SamplingParams(max_response_tokens=8, grammar=grammar),
        reply=Message("assistant", "<tool_call>", malformed="a call without a name"),
    )
    log.append(held)
    assert log.get("t1").turn == held
    table, columns = codec.row(make_turn())
    assert table.name == "turns"
    for name, added in (("sampling", "grammar"), ("reply", "malformed")):
        written = json.loads(columns[name])
        del written[added]
        columns[name] = json.dumps(written)
    assert codec.decode_turn(columns) == make_turn()


def test_all_events_of_a_turn_come_back_in_order(log):
    feedback = NextState("t1", NextStateKind.FEEDBACK, 120.0, score=-1.0)
    verdict = Verdict(
        "t1",
        "composite",
        1.0,
        111.0,
        hints=("be brief", "no lists"),
        votes=(1.0, None),
        components=(Component("rules", 1.0, "all passed"), Component("llm_judge", None)),
        revision="A better reply.",
    )
    log.append(make_turn(), user_said("t1"), feedback, verdict)
    found = log.get("t1")
    assert found is not None
    assert found.next_states == (user_said("t1"), feedback)
    assert found.verdicts == (verdict,)


def test_appending_again_changes_nothing(log):
    verdict = Verdict("t1", "rules", 1.0, 111.0)
    outcome = Outcome("t1", 112.0, trained_version=1)
    for _ in range(2):
        log.append(make_turn(), user_said("t1"), verdict, outcome)
    log.append(dataclasses.replace(verdict, score=-1.0))
    log.append(Outcome("t1", 113.0, drop_reason=DropReason.STALE))
    found = log.get("t1")
    assert found is not None
    assert found.next_states == (user_said("t1"),)
    assert found.verdicts == (verdict,)
    assert log.outcome("t1") == outcome
    assert log.counts().logged == 1


@pytest.mark.parametrize(
    "said",
    [
        Verdict("t1", "rules", -1.0, 112.0),
        Verdict("t1", "rules", None, 112.0, hints=("too long",)),
        Verdict("t1", "rules", None, 112.0, step_labels=(None, 0.5)),
        Verdict("t1", "rules", None, 112.0, revision="A better reply."),
    ],
)
def test_the_first_verdict_that_says_something_takes_an_abstentions_place_and_stays(log, said):
    nothing = Verdict("t1", "rules", None, 111.0, step_labels=(None, None), explanation="unsure")
    log.append(make_turn(), nothing, Verdict("t1", "own", 0.0, 111.0))
    log.append(Verdict("t1", "rules", None, 111.5))
    assert nothing in log.get("t1").verdicts
    for later in (said, Verdict("t1", "rules", 1.0, 113.0), nothing):
        log.append(later)
        assert set(log.get("t1").verdicts) == {Verdict("t1", "own", 0.0, 111.0), said}


said_or_not = st.builds(
    Verdict,
    st.just("t1"),
    st.sampled_from(["rules", "own"]),
    score=st.none() | st.floats(-1, 1),
    judged_at=st.floats(0, 1e9),
    hints=st.just(()) | st.just(("too long", "a, [null]")),
    step_labels=st.lists(st.none() | st.just(0.5), max_size=3).map(tuple),
    explanation=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    revision=st.none() | st.just("") | st.just("A better reply."),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(verdicts=st.lists(said_or_not, max_size=6), at_once=st.booleans())
def test_the_log_keeps_the_verdicts_that_the_judges_say_it_keeps(log, verdicts, at_once):
    turn_id = f"turn-{uuid.uuid4()}"
    said = [dataclasses.replace(verdict, turn_id=turn_id) for verdict in verdicts]
    log.append(make_turn(turn_id))
    for some in [said] if at_once else ([each] for each in said):
        log.append(*some)
    assert set(log.get(turn_id).verdicts) == set(first_said(said))


def test_one_bad_record_commits_none_of_them(log):
    broken = dataclasses.replace(make_turn("t2"), session_id=None)
    with pytest.raises(LogError, match="session_id"):
        log.append(make_turn("t1"), broken)
    assert log.counts().logged == 0


def test_how_turns_were_placed_comes_back(log):
    origin = Origin("x", key="k", key_source="session-id", said_kind=TurnKind.SIDE, retries=2)
    link = Link("t1", LinkKind.RETRY, "why", "why side", origin, of_turn_id="t0", at=3)
    log.append(make_turn("t0"), make_turn("t1"), link)
    assert log.links(["t0", "t1", "t2"]) == {"t1": link}
