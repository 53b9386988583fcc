"""Session headers and their body twins."""

import pytest

from clawjax.errors import WireError
from clawjax.gateway.caller import Caller, identify
from clawjax.records import TurnKind


def who(headers=None, body=None, default=TurnKind.MAIN):
    return identify(headers or {}, body or {}, scope="s", default_kind=default)


def test_nothing_said_means_the_defaults():
    assert who() == Caller("s", None, TurnKind.MAIN, False)
    assert who(default=TurnKind.SIDE).kind is TurnKind.SIDE


def test_headers_win_over_the_body():
    headers = {"x-session-id": "a", "x-turn-type": "Side", "x-session-done": "1"}
    body = {"session_id": "b", "turn_type": "main", "session_done": False}
    assert who(headers, body) == Caller("s", "a", TurnKind.SIDE, True, priority=1)
    assert who({}, body) == Caller("s", "b", TurnKind.MAIN, False)


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
    assert who(headers, body).priority == priority


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
