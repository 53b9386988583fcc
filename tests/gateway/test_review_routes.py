"""The review queue over HTTP: one key, one reviewer, and nobody without the role admin."""

from __future__ import annotations

import httpx
import pytest

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.gateway.auth import Authenticator
from clawjax.gateway.openapi import document
from clawjax.gateway.review import ReviewEndpoint, parse_label, review_routes
from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, new_key
from clawjax.log.holding import ReviewRequest
from clawjax.records import DropReason, NextState, NextStateKind, Outcome
from clawjax.review.queue import ReviewQueue
from clawjax.testing import FakeEngine

from .helpers import MODEL, user

NOW = 1000.0


class Desk:
    """A gateway with a review queue and two people who may review."""

    def __init__(self, tokenizer, log, folder, *, recalls_reactions=False):
        self.log = log
        file = KeyFile(folder / KEY_FILE)
        self.keys = {}
        for name, role in (("anna", Role.ADMIN), ("ben", Role.ADMIN), ("phone", Role.CHAT)):
            made = new_key(name, [role], now=1.0)
            file.add(made.key)
            self.keys[name] = {"authorization": f"Bearer {made.secret}"}
        app = create_app(
            GatewayDeps(
                engine=FakeEngine(tokenizer, ["one reply"]),
                tokenizer=tokenizer,
                log=log,
                config=GatewayConfig(),
                sampling_defaults=EngineConfig(max_response_tokens=64),
                model_name=MODEL,
                keys=KeyRing(file),
                review=ReviewQueue(log, lease_s=100.0, clock=lambda: NOW),
                clock=lambda: NOW,
                recalls_reactions=recalls_reactions,
            )
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def post(self, name: str, path: str, body: dict | None = None) -> httpx.Response:
        return await self.client.post(path, json=body or {}, headers=self.keys[name])

    async def talk(self, *, people: int) -> str:
        """A reply that people are asked about; its turn."""
        body = {"messages": [user("hi")], "max_tokens": 20}
        assert (await self.post("phone", "/v1/chat/completions", body)).status_code == 200
        turn_id = self.log.turns()[-1].turn.turn_id
        self.log.append(
            NextState(turn_id, NextStateKind.SESSION_CLOSED, NOW),
            ReviewRequest(turn_id, ("votes split",), NOW, NOW, people),
        )
        return turn_id


@pytest.fixture
def desk(tokenizer, log, tmp_path) -> Desk:
    return Desk(tokenizer, log, tmp_path)


async def test_two_keys_label_a_turn_and_the_log_has_their_verdict(desk):
    turn_id = await desk.talk(people=2)
    item = (await desk.post("anna", "/v1/review/claim")).json()["item"]
    assert (item["turn_id"], item["reasons"], item["people"]) == (turn_id, ["votes split"], 2)
    assert item["messages"] == [user("hi")]
    assert item["reply"]["content"] == "one reply"
    label = {"score": 1, "hints": ["Be brief."], "steps": {"progress": 1}, "note": "fine"}
    first = await desk.post("anna", f"/v1/review/{turn_id}/label", label)
    assert first.json() == {"turn_id": turn_id, "settled": False, "score": None, "used": True}
    assert (await desk.post("anna", "/v1/review/claim")).json() == {"item": None}
    await desk.post("ben", "/v1/review/claim")
    second = await desk.post("ben", f"/v1/review/{turn_id}/label", {"score": 0.5})
    assert (second.json()["settled"], second.json()["score"]) == (True, 0.75)
    (verdict,) = desk.log.get(turn_id).verdicts
    assert (verdict.module, verdict.hints) == ("human", ("Be brief.",))
    balance = (await desk.client.get("/v1/review", headers=desk.keys["ben"])).json()
    assert balance == {"open": 0, "held": 0, "leased": 0, "settled": 1, "labels": 2}
    undone = await desk.post("ben", "/v1/review/undo")
    assert undone.json()["settled"] is False
    assert not desk.log.get(turn_id).verdicts


async def test_only_the_role_admin_reviews(desk):
    turn_id = await desk.talk(people=1)
    paths = ("claim", "undo", f"{turn_id}/label", f"{turn_id}/skip")
    for path in paths:
        assert (await desk.post("phone", f"/v1/review/{path}", {"score": 1})).status_code == 403
        refused = await desk.client.post(f"/v1/review/{path}", json={"score": 1})
        assert refused.status_code == 401
    assert (await desk.client.get("/v1/review", headers=desk.keys["phone"])).status_code == 403


def test_every_route_is_described(log):
    queue = ReviewQueue(log, lease_s=1.0)
    routes = review_routes(ReviewEndpoint(queue, Authenticator(KeyRing()), lambda: NOW, 1000))
    paths = document(routes, GatewayConfig())["paths"]
    assert len(paths) == len(routes)
    assert set(paths["/v1/review/{turn_id}/label"]) == {"post"}


@pytest.mark.parametrize(
    ("recalls_reactions", "ending", "is_used"),
    [
        (True, {"trained_version": 3}, True),
        (True, {"drop_reason": DropReason.CONTENT}, True),
        (True, {"drop_reason": DropReason.STALE}, False),
        (False, {"trained_version": 3}, False),
    ],
)
async def test_a_late_label_is_used_where_such_a_turn_is_recalled(
    tokenizer, log, tmp_path, recalls_reactions, ending, is_used
):
    desk = Desk(tokenizer, log, tmp_path, recalls_reactions=recalls_reactions)
    turn_id = await desk.talk(people=1)
    await desk.post("anna", "/v1/review/claim")
    log.append(Outcome(turn_id, NOW, **ending))
    answer = (await desk.post("anna", f"/v1/review/{turn_id}/label", {"score": 1})).json()
    assert (answer["settled"], answer["used"]) == (True, is_used)
    assert ("; it counts for examples" in answer["reason"]) is is_used
    assert answer["reason"].startswith("the turn was ")


async def test_what_is_not_claimed_or_no_label_is_refused(desk):
    turn_id = await desk.talk(people=1)
    label = f"/v1/review/{turn_id}/label"
    unclaimed = await desk.post("anna", label, {"score": 1})
    assert unclaimed.status_code == 409
    assert "claim it again" in unclaimed.text
    assert (await desk.post("anna", "/v1/review/undo")).status_code == 404
    for body, field in (
        ({}, "score"),
        ({"score": 2}, "score"),
        ({"score": 1, "hints": "x"}, "hints"),
        ({"score": 1, "note": "a\0"}, "note"),
        ({"score": 1, "steps": {"speed": 1}}, "steps"),
        ({"score": 1, "steps": {"progress": 7}}, "steps"),
        ({"score": 1, "steps": {"progress": "much"}}, "steps"),
    ):
        refused = await desk.post("anna", label, body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == field
    for what in ("label", "skip"):
        refused = await desk.post("anna", f"/v1/review/a%00/{what}", {"score": 1})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "turn_id")
    await desk.post("anna", "/v1/review/claim")
    skipped = await desk.post("anna", f"/v1/review/{turn_id}/skip")
    assert skipped.json() == {"skipped": True}


def test_half_a_surrogate_pair_in_a_hint_is_a_question_mark():
    label = parse_label({"score": None, "hints": ["Be brief.\ud83d"]}, "t", "anna", now=NOW)
    assert label.hints == ("Be brief.?",)


async def test_without_people_to_ask_there_is_no_such_path(make_gateway):
    gateway = make_gateway()
    assert (await gateway.client.post("/v1/review/claim", json={})).status_code == 404
