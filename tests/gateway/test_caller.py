"""Session headers and their body twins."""

import time

import pytest

from clawjax.errors import WireError
from clawjax.gateway.caller import Caller, read_caller
from clawjax.records import Origin, TurnKind

from .helpers import assistant, user


def who(headers=None, body=None):
    return read_caller(headers or {}, body or {}, scope="s")


def test_nothing_said_means_the_defaults():
    assert who() == Caller("s", Origin())


def test_headers_win_over_the_body():
    headers = {"x-session-id": "a", "x-turn-type": "Side", "x-session-done": "1"}
    body = {"session_id": "b", "turn_type": "main", "session_done": False}
    caller = who(headers, body)
    assert (caller.origin.key, caller.origin.said_kind) == ("a", TurnKind.SIDE)
    assert caller.is_session_done
    caller = who({}, body)
    assert (caller.origin.key, caller.origin.said_kind) == ("b", TurnKind.MAIN)
    assert caller.origin.is_key_explicit
    assert not caller.is_session_done


@pytest.mark.parametrize(
    ("headers", "body", "priority"),
    [
        ({}, {}, 0),
        ({"x-turn-type": "side"}, {}, 1),
        ({"x-turn-type": "side", "x-priority": "0"}, {}, 0),
        ({"x-priority": " 3 "}, {"priority": 5}, 3),
        ({}, {"priority": 5}, 5),
    ],
)
def test_people_come_before_side_turns_unless_it_is_said(headers, body, priority):
    caller = who(headers, body)
    assert caller.priority(caller.origin.said_kind or TurnKind.MAIN) == priority


@pytest.mark.parametrize(
    ("headers", "body", "key", "source"),
    [
        ({"x-claude-code-session-id": "c"}, {}, "c", "x-claude-code-session-id"),
        ({"x-openwebui-chat-id": "w"}, {}, "w", "x-openwebui-chat-id"),
        ({"session_id": "p", "x-session-affinity": "p"}, {}, "p", "session_id"),
        ({"thread-id": "t", "session-id": "s"}, {"prompt_cache_key": "k"}, "s", "session-id"),
        ({}, {"prompt_cache_key": "k"}, "k", "prompt_cache_key"),
        ({}, {"prompt_cache_key": "tenant:41"}, "tenant:41", "prompt_cache_key"),
        ({}, {"metadata": {"user_id": '{"session_id": "m"}'}}, "m", "metadata.user_id"),
        (
            {"x-session-affinity": "a", "x-client-request-id": "r", "traceparent": "t"},
            {},
            None,
            None,
        ),
        ({}, {"user": "u", "metadata": {"user_id": "u"}, "prompt_cache_key": 7}, None, None),
        ({"session-id": "\u00e9"}, {"prompt_cache_key": "k"}, "k", "prompt_cache_key"),
        ({}, {"metadata": {"user_id": "{"}}, None, None),
        ({}, {"metadata": ["x"], "prompt_cache_key": "k" * 300}, None, None),
    ],
)
def test_what_clients_say_for_other_reasons_is_a_hint(headers, body, key, source):
    origin = who(headers, body).origin
    assert (origin.key, origin.key_source, origin.is_key_explicit) == (key, source, False)


@pytest.mark.parametrize(
    ("user_agent", "family"),
    [
        ("OpenAI/JS 7.15.0", "OpenAI JS"),
        ("AsyncOpenAI/Python 3.54.0", "AsyncOpenAI Python"),
        ("claude-cli/2.1.197 (external, sdk-cli)", "claude-cli"),
        ("opencode/1.18.33 ai-sdk/provider-utils/4.0.23 runtime/bun/1.3", "opencode"),
        ("codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm", "codex_exec"),
        ("pydantic-ai/2.68.0", "pydantic-ai"),
        ("undici", "undici"),
        ("", ""),
    ],
)
def test_client_families(user_agent, family):
    assert who({"user-agent": user_agent}).origin.client == family


@pytest.mark.parametrize("control", ["\x1b[2J", "\x1b]0;mine\x07", "\x9b31m", "\x7f", "\0", "\xad"])
def test_a_client_writes_no_escape_codes_to_logs_and_terminals(control):
    family = who({"user-agent": f"agent{control}x/1.0"}).origin.client
    assert family.startswith("agent\N{REPLACEMENT CHARACTER}")
    assert family.isprintable()


def test_a_long_user_agent_keeps_nobody_waiting():
    began = time.process_time()
    assert who({"user-agent": "x " + "(" * 200_000}).origin.client == "x"
    assert time.process_time() - began < 5.0


def test_how_a_request_is_asked():
    origin = who(
        {"x-stainless-retry-count": "2"},
        {"stream": True, "model": "small"},
    ).origin
    assert (origin.retries, origin.is_stream, origin.is_constrained) == (2, True, False)
    assert origin.model == "small"
    assert who({"x-stainless-retry-count": "\u00b2"}).origin.retries == 0


FORM = {"type": "json_schema", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("path", "messages", "form", "kind"),
    [
        ("chat/completions", "messages", {"response_format": {"type": "json_object"}}, "side"),
        ("chat/completions", "messages", {"response_format": {"type": "text"}}, "main"),
        ("responses", "input", {"text": {"format": FORM}}, "side"),
        ("responses", "input", {"text": {"format": {"type": "text"}}}, "main"),
        ("messages", "messages", {"output_config": {"format": FORM}}, "side"),
        ("messages", "messages", {"output_format": FORM}, "side"),
        ("messages", "messages", {"output_config": {"effort": "high"}}, "main"),
    ],
)
async def test_a_given_format_at_once_from_a_client_that_streams_is_a_side_request(
    make_gateway, path, messages, form, kind
):
    gateway = make_gateway(["one", "{}"])
    said = [user("a")]
    for more in ({"stream": True}, form):
        body = {messages: said, **more}
        response = await gateway.client.post(f"/v1/{path}", json=body)
        assert response.status_code == 200, response.text
        said = [*said, assistant("one"), user("A title, please")]
    assert [turn.kind.value for turn in gateway.turns()] == ["main", kind]


@pytest.mark.parametrize("word", ["1", "true", "Yes", "ON", True, 1])
def test_words_for_done(word):
    assert who({}, {"session_done": word}).is_session_done


@pytest.mark.parametrize("word", ["0", "false", "no", "", False, 0, None])
def test_words_for_not_done(word):
    assert not who({}, {"session_done": word}).is_session_done


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        ({"x-turn-type": "lateral"}, {}, "turn_type"),
        ({}, {"session_id": "x" * 257}, "session_id"),
        ({}, {"session_id": "a\nb"}, "session_id"),
        ({}, {"session_id": "é"}, "session_id"),
        ({}, {"session_id": 7}, "session_id"),
        ({"x-session-done": "maybe"}, {}, "session_done"),
        ({"x-priority": "-1"}, {}, "priority"),
        ({"x-priority": "high"}, {}, "priority"),
        ({}, {"priority": 10}, "priority"),
    ],
)
def test_what_cannot_be_honoured_is_refused(headers, body, param):
    with pytest.raises(WireError) as caught:
        who(headers, body)
    assert caught.value.param == param
