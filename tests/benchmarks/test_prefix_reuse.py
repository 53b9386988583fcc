"""What the prefix benchmark makes of recorded sessions, and of what it measured."""

from __future__ import annotations

import pytest
from _openclaw_sessions import known_before, more_sessions, recorded_sessions, without_middle
from prefix_reuse import COLD_REQUEST, goals

FIRST = (*range(10, 30), 1, 2)
SECOND = (*range(10, 30), 3)


def test_sessions_are_whole_requests_that_go_on_from_each_other():
    sessions = recorded_sessions()
    assert [len(session) for session in sessions] == [5, 3]
    assert [m.role for m in sessions[0][-1].messages].count("tool") == 2
    for session in sessions:
        instructions = session[0].messages[0]
        assert instructions.role == "system"
        assert len(instructions.content) > 40_000
        assert len(session[0].tools_json) > 5_000
        for request in session:
            assert request.messages[0] == instructions


def test_other_sessions_differ_in_their_names_only():
    [recorded], [[*_, last]] = [recorded_sessions()[0]], more_sessions(["wren"])
    said = [message.content for message in last.messages]
    assert [text.replace("wren", "heron") for text in said] == [
        message.content for message in recorded[-1].messages
    ]
    assert said[0] == recorded[-1].messages[0].content
    assert "sessionId=wren" in said[1]


def test_prompts_lose_the_same_tokens_of_what_all_begin_with():
    [[first], [second]] = without_middle([[FIRST], [SECOND]], 12)
    assert first == (*range(10, 15), *range(25, 30), 1, 2)
    assert second == (*first[:-2], 3)
    assert without_middle([[FIRST]], 100) == [[FIRST]]
    with pytest.raises(ValueError, match="share only 20"):
        without_middle([[FIRST], [SECOND]], 2)


def test_what_could_be_known_is_what_an_earlier_prompt_began_with():
    assert list(known_before([FIRST, SECOND, FIRST, (7, 8)])) == [0, 20, 21, 0]


def rows(ratio: float = 0.1, differ: int = 0, hit_rate: float = 0.6):
    place = {"model": "m", "kind": "first token", "session": 1}
    return [
        {**place, "request": COLD_REQUEST[1], "ratio": 1.0},
        {**place, "request": 2, "ratio": ratio},
        {"model": "m", "kind": "replies", "differ": differ},
        {"model": "m", "kind": "hit rate", "hit_rate": hit_rate, "possible": 0.6},
    ]


@pytest.mark.parametrize(
    ("changes", "missed"),
    [({}, None), ({"ratio": 0.2}, 0), ({"differ": 1}, 1), ({"hit_rate": 0.5}, 2)],
)
def test_each_goal_can_be_missed(changes, missed):
    assert [goal.met for goal in goals(rows(**changes))] == [n != missed for n in range(3)]
