"""Over HTTP: links are kept, and the log gives the same decisions again."""

import itertools

import pytest

from clawjax.config import LinkingConfig
from clawjax.errors import WireError
from clawjax.linking.corrections import corrections
from clawjax.linking.replay import replay
from clawjax.log.replay import Placed
from clawjax.records import DropReason, LinkKind

from .helpers import assistant, user

R = [assistant(text) for text in ("hello there", "second reply", "third reply")]
RETRIED = {"x-stainless-retry-count": "1"}


async def lead_a_life(gateway) -> None:
    """Two conversations at once, of which one is retried, resampled, edited and compacted."""
    await gateway.say(user("a"))
    await gateway.say(user("other"), headers={"session-id": "k"})
    await gateway.say(user("a"), R[0], user("b"), n=2)
    await gateway.say(user("a"), R[0], user("b"))
    await gateway.say(user("a"), R[0], user("b"), headers=RETRIED)
    await gateway.say(user("a"), R[0], user("b"), assistant("a second reply"), user("c"))
    await gateway.say(user("other"), R[1], user("x"), headers={"session-id": "k"})
    await gateway.say(user("begin anew"), headers={"session-id": "k"})
    await gateway.say(user("a"), R[0], user("Pre-compaction memory flush. Store"))
    await gateway.say(user("a"), headers={"authorization": "Bearer other"})


@pytest.mark.parametrize("replies", [("hello there",), ("hello there", "second reply")])
async def test_the_log_gives_the_decisions_that_were_made_live(make_gateway, replies):
    gateway = make_gateway(replies)
    await lead_a_life(gateway)
    logged = list(Placed(gateway.log))
    ended = gateway.log.outcomes().items()
    superseded = {turn for turn, end in ended if end.drop_reason is DropReason.RETRIED}
    again = list(replay(logged, superseded, LinkingConfig()))
    assert len(again) == len(gateway.turns()) == 11
    for turn, live, now in again:
        assert now == live, turn.turn_id
    kinds = {live.kind for _, live, _ in again}
    assert {LinkKind.NEW, LinkKind.EXTEND, LinkKind.RESAMPLE, LinkKind.RESET} < kinds


async def test_a_clock_that_went_back_during_a_reply_keeps_no_log_from_being_placed(make_gateway):
    gateway = make_gateway(clock=map(float, itertools.count(1000, -1)).__next__)
    await gateway.say(user("a"))
    (turn,) = gateway.turns()
    assert turn.finished_at < turn.arrived_at
    ((_, live, now),) = replay(list(Placed(gateway.log)), set(), LinkingConfig())
    assert now == live


async def test_an_edited_reply_is_kept_as_a_preference(make_gateway):
    gateway = make_gateway()
    await gateway.say(user("a"))
    edit = assistant("hello there, friend")
    await gateway.say(user("a"), edit, user("b"))
    await gateway.say(user("a"), edit, R[1], user("c"))
    (correction,) = corrections(Placed(gateway.log))
    assert correction.turn_id == gateway.turns()[0].turn_id
    assert correction.rejected.content == "hello there"
    assert correction.preferred.content == "hello there, friend"
    assert gateway.events(correction.turn_id) == ()


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_grammar"), (503, "engine_overloaded")])
async def test_who_is_refused_by_the_engine_has_said_nothing(
    make_gateway, monkeypatch, status, code
):
    gateway, asked = make_gateway(), []

    async def refuse(request, *, replies):
        asked.append(replies)
        raise WireError("no", status=status, code=code)

    await gateway.say(user("a"))
    with monkeypatch.context() as patch:
        patch.setattr(gateway.engine, "check", refuse)
        for body in ([user("a"), R[0], user("b")], [user("a")]):
            answer = await gateway.chat(*body, headers=RETRIED, n=3)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    (turn,) = gateway.turns()
    assert asked == [3, 3]
    assert gateway.events(turn.turn_id) == ()
    assert gateway.log.outcomes() == {}
    await gateway.say(user("a"), R[0], user("b"))
    (reaction,) = gateway.events(turn.turn_id)
    assert [message.content for message in reaction.messages] == ["b"]
