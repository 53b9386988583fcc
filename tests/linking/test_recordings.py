"""Every recorded request of ten real clients is placed as a person placed it."""

from pathlib import Path

import pytest
from _recordings import CLIENTS, RECORDINGS, SAMPLES, decided, expected, linked, requests

SOURCES = [
    pytest.param(SAMPLES, id="samples"),
    pytest.param(
        RECORDINGS,
        id="recordings",
        marks=pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here"),
    ),
]


def placements(source: Path, client: str):
    return list(linked(requests(source / f"{client}.jsonl"), expected(client)))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("client", CLIENTS)
def test_requests_are_placed_as_a_person_placed_them(source, client):
    found = {request.number: decided(placed) for request, placed in placements(source, client)}
    assert found == expected(client)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_came_after_a_reply_is_what_people_and_tools_said(client):
    for request, placed in placements(SAMPLES, client):
        for message in placed.reaction.messages if placed.reaction else ():
            assert message.role in ("user", "tool"), request.number
            assert "INTERNAL_CONTEXT" not in message.content
            assert "Runtime: agent=" not in message.content
            assert "system-reminder" not in message.content


@pytest.mark.parametrize(
    ("client", "number", "after"),
    [
        ("openclaw", 7, [("user", "Third: TWO_TOOLS please")]),
        ("openclaw", 8, [("tool", "tool-ok"), ("tool", "tool-ok")]),
        ("openclaw", 12, None),  # after a heartbeat, which is a side request
        ("openclaw", 78, None),  # a memory flush
        ("openclaw", 81, [("user", "Flush after")]),  # over a compaction
        ("hermes", 24, None),  # the client's own words about a cut reply
        ("nanobot", 15, [("user", "fault a b c")]),
        ("pi", 7, [("tool", "tool-ok\n"), ("tool", "tool-ok\n")]),
    ],
)
def test_next_states(client, number, after):
    reaction = {request.number: placed.reaction for request, placed in placements(SAMPLES, client)}[
        number
    ]
    said = None if reaction is None else [(m.role, m.content) for m in reaction.messages]
    assert said == after


def test_only_what_no_rule_explains_is_reported_without_its_text():
    shapes = [placed.shape for client in CLIENTS for _, placed in placements(SAMPLES, client)]
    assert [shape for shape in shapes if shape] == [
        "client=OpenAI JS key=runtime line roles=system user*2 tools=12 stream=yes "
        "instructions=same"
    ]
