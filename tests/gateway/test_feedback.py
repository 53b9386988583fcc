"""Explicit feedback."""

import pytest

from clawjax.config import CompositeConfig, RewardConfig
from clawjax.records import DropReason, NextStateKind, Outcome, Verdict

from .helpers import user


async def give(gateway, **body):
    return await gateway.client.post("/v1/feedback", json=body)


@pytest.mark.parametrize(
    ("said", "score", "words"),
    [
        ({"score": 0.25}, 0.25, []),
        ({"score": 0}, 0.0, []),
        ({"thumbs": "up"}, 1.0, []),
        ({"thumbs": "down"}, -1.0, []),
        ({"text": "too long"}, None, ["too long"]),
    ],
)
async def test_feedback_reaches_the_judges(gateway, said, score, words):
    body = await gateway.say(user("hi"), n=2)
    response = await give(gateway, response_id=body["id"], choice=1, **said)
    assert response.json() == {"accepted": True, "used": True}
    turn = next(turn for turn in gateway.turns() if turn.choice == 1)
    (event,) = gateway.events(turn.turn_id)
    assert (event.kind, event.score) == (NextStateKind.FEEDBACK, score)
    assert [message.content for message in event.messages] == words
    assert len(gateway.woken) == 1


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"trained_version": 3}, "trained on already, in version 3"),
        ({"drop_reason": DropReason.STALE}, "dropped: stale"),
    ],
)
async def test_feedback_that_comes_late_is_recorded_and_not_used(gateway, outcome, reason):
    body = await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    gateway.log.append(Outcome(turn.turn_id, 1.0, **outcome))
    answer = (await give(gateway, response_id=body["id"], thumbs="up")).json()
    assert (answer["accepted"], answer["used"]) == (True, False)
    assert reason in answer["reason"]
    assert len(gateway.events(turn.turn_id)) == 1


async def test_feedback_on_what_a_step_has_taken_is_not_used(gateway):
    body = await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    gateway.log.claim(4, [turn.turn_id])
    answer = (await give(gateway, response_id=body["id"], thumbs="up")).json()
    reason = "the turn is being trained on already, in step 4"
    assert answer == {"accepted": True, "used": False, "reason": reason}
    gateway.log.recover(3)
    assert gateway.log.claimed_by(turn.turn_id) is None


@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        ({"trained_version": 3}, "the turn was trained on already, in version 3; it counts for"),
        ({"drop_reason": DropReason.LISTENED}, "the turn was dropped: listened; it counts for"),
        ({"drop_reason": DropReason.CONTENT}, "the turn was dropped: content; it counts for"),
        ({"drop_reason": DropReason.NO_SIGNAL}, "the turn was dropped: no_signal; it counts for"),
        (None, "the turn is being trained on already, in step 4; it counts for"),
    ],
)
async def test_late_feedback_is_used_where_reactions_are_recalled(make_gateway, ending, begins):
    gateway = make_gateway(recalls_reactions=True)
    body = await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    if ending is None:
        gateway.log.claim(4, [turn.turn_id])
    else:
        gateway.log.append(Outcome(turn.turn_id, 1.0, **ending))
    answer = (await give(gateway, response_id=body["id"], thumbs="up")).json()
    assert answer["used"]
    assert answer["reason"].startswith(begins)
    second = (await give(gateway, response_id=body["id"], thumbs="down")).json()
    reason = "the turn was rated before: the first rating counts"
    assert second == {"accepted": True, "used": False, "reason": reason}


async def test_late_feedback_on_what_no_batch_had_is_used_nowhere(make_gateway):
    gateway = make_gateway(recalls_reactions=True)
    body = await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    gateway.log.append(Outcome(turn.turn_id, 1.0, drop_reason=DropReason.STALE))
    answer = (await give(gateway, response_id=body["id"], thumbs="up")).json()
    reason = "the turn was dropped: stale"
    assert answer == {"accepted": True, "used": False, "reason": reason}


@pytest.mark.parametrize("redact", [[], ["email"]])
async def test_the_first_rating_counts(make_gateway, redact):
    gateway = make_gateway(config={"redact": redact})
    body = await gateway.say(user("hi"), n=2)
    for choice in (0, 1):
        rating = {"response_id": body["id"], "choice": choice}
        assert (await give(gateway, **rating, thumbs="up")).json()["used"]
    answer = (await give(gateway, response_id=body["id"], text="too long")).json()
    reason = "the turn was rated before: the first rating counts"
    assert answer == {"accepted": True, "used": False, "reason": reason}


@pytest.mark.parametrize(("score", "is_used"), [(None, True), (-1.0, False)])
async def test_words_count_as_a_rating_where_a_judge_can_read_one_in_them(gateway, score, is_used):
    body = await gateway.say(user("hi"))
    (turn,) = gateway.turns()
    gateway.log.move_cursor("judge", 0)
    await give(gateway, response_id=body["id"], text="I looked at it on my phone")
    answer = (await give(gateway, response_id=body["id"], text="too long")).json()
    assert not answer["used"]  # as the first words are still being read
    gateway.log.append(Verdict(turn.turn_id, "feedback", score, 1.0))
    gateway.log.move_cursor("judge", 2)
    assert (await give(gateway, response_id=body["id"], thumbs="down")).json()["used"] is is_used


@pytest.mark.parametrize(
    ("modules", "parts", "is_used"),
    [
        (["next_state", "feedback"], [], True),
        (["next_state"], [], False),
        (["composite", "feedback"], ["rules"], True),
        (["mine:build"], [], True),
    ],
)
async def test_ratings_that_no_module_takes_are_not_used(make_gateway, modules, parts, is_used):
    reads_ratings = RewardConfig(modules, composite=CompositeConfig(parts=parts)).reads_ratings
    gateway = make_gateway(reads_ratings=reads_ratings)
    body = await gateway.say(user("hi"), n=2)
    answer = (await give(gateway, response_id=body["id"], score=0.5)).json()
    assert (answer["used"], "add feedback" in answer.get("reason", "")) == (is_used, not is_used)
    words = {"response_id": body["id"], "choice": 1, "text": "too long"}
    assert (await give(gateway, **words)).json() == {"accepted": True, "used": True}


async def test_feedback_is_for_replies_that_there_are(gateway):
    body = await gateway.say(user("hi"))
    for request in (
        {"json": {"response_id": "nothing", "score": 1}},
        {"json": {"response_id": body["id"], "choice": 1, "score": 1}},
    ):
        response = await gateway.client.post("/v1/feedback", **request)
        assert response.status_code == 404
        assert response.json()["error"]["param"] == "response_id"
    assert gateway.events(gateway.turns()[0].turn_id) == ()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer other"}])
async def test_where_nobody_needs_a_key_a_replys_id_is_enough_to_rate_it(gateway, headers):
    body = await gateway.say(user("hi"), headers={"authorization": "Bearer none"})
    rating = {"response_id": body["id"], "thumbs": "up", "session_done": True}
    response = await gateway.client.post("/v1/feedback", json=rating, headers=headers)
    assert response.json() == {"accepted": True, "used": True}
    kinds = [event.kind for event in gateway.events(gateway.turns()[0].turn_id)]
    assert kinds == [NextStateKind.FEEDBACK, NextStateKind.SESSION_CLOSED]


async def test_feedback_can_end_the_session(gateway):
    body = await gateway.say(user("hi"))
    await give(gateway, response_id=body["id"], thumbs="up", session_done=True)
    kinds = [event.kind for event in gateway.events(gateway.turns()[0].turn_id)]
    assert kinds == [NextStateKind.FEEDBACK, NextStateKind.SESSION_CLOSED]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "response_id"),
        ({"response_id": 3, "score": 1}, "response_id"),
        ({"response_id": "r\0", "score": 1}, "response_id"),
        ({"response_id": "r"}, "score"),
        ({"response_id": "r", "score": 1, "thumbs": "up"}, "score"),
        ({"response_id": "r", "score": 1.5}, "score"),
        ({"response_id": "r", "score": "good"}, "score"),
        ({"response_id": "r", "thumbs": "sideways"}, "thumbs"),
        ({"response_id": "r", "text": "  "}, "text"),
        ({"response_id": "r", "score": 1, "choice": -1}, "choice"),
    ],
)
async def test_what_is_wrong_is_named(gateway, body, param):
    response = await give(gateway, **body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
