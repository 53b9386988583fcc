"""Who gets in, what a key opens, whose conversations are whose, and what is kept of them."""

import json
import logging
import re

import pytest

from clawjax.keys import Role
from clawjax.models import segments

from .doors import BODIES, Door
from .helpers import MODEL, assistant, user


@pytest.mark.parametrize("path", [*BODIES, "/v1/messages/count_tokens"])
async def test_replies_need_the_role_chat(door, path):
    door.add("rater", Role.FEEDBACK, Role.ADMIN)
    door.add("talker", Role.CHAT)
    body = BODIES.get(path, BODIES["/v1/messages"])
    refused = await door.post(path, body, door.rater)
    assert refused.status_code == 403, refused.text
    assert "this needs chat" in refused.text
    assert (await door.post(path, body, door.talker)).status_code == 200
    unknown = await door.post(path, body, {"authorization": "Bearer ck-unknown"})
    assert unknown.status_code == (await door.post(path, body, {})).status_code == 401


async def test_feedback_needs_the_role_feedback(door):
    door.add("talker", Role.CHAT)
    said = await door.post("/v1/chat/completions", BODIES["/v1/chat/completions"], door.talker)
    body = {"response_id": said.json()["id"], "thumbs": "up"}
    assert (await door.post("/v1/feedback", body, door.talker)).status_code == 403


async def test_a_key_is_revoked_and_another_made_while_the_gateway_runs(door):
    path, body = "/v1/chat/completions", BODIES["/v1/chat/completions"]
    door.add("phone", Role.CHAT)
    assert (await door.post(path, body, door.phone)).status_code == 200
    door.file.revoke("phone", now=2.0)
    assert (await door.post(path, body, door.phone)).status_code == 401
    assert (await door.post(path, body, door.owner)).status_code == 200


async def test_another_keys_reply_cannot_be_rated(door):
    door.add("other", *Role)
    body = BODIES["/v1/chat/completions"]
    said = (await door.post("/v1/chat/completions", body, door.owner)).json()
    rating = {"response_id": said["id"], "thumbs": "down"}
    refused = await door.post("/v1/feedback", rating, door.other)
    unknown = await door.post("/v1/feedback", {**rating, "response_id": "x"}, door.other)
    assert refused.status_code == unknown.status_code == 404
    assert refused.text.replace(said["id"], "x") == unknown.text
    (turn,) = door.gateway.turns()
    assert door.gateway.events(turn.turn_id) == ()
    assert (await door.post("/v1/feedback", rating, door.owner)).status_code == 200


async def test_another_keys_response_cannot_be_gone_on_from(door):
    door.add("other", *Role)
    said = (await door.post("/v1/responses", {"input": "a secret"}, door.owner)).json()
    body = {"input": "and?", "previous_response_id": said["id"]}
    refused = await door.post("/v1/responses", body, door.other)
    unknown = await door.post("/v1/responses", {**body, "previous_response_id": "x"}, door.other)
    assert refused.status_code == unknown.status_code == 404
    assert refused.text.replace(said["id"], "x") == unknown.text
    assert (await door.post("/v1/responses", body, door.owner)).status_code == 200


async def test_another_keys_session_is_not_joined_by_name_or_history(door):
    door.add("other", *Role)
    path, named = "/v1/chat/completions", {"x-session-id": "diary"}
    said = (await door.post(path, {"messages": [user("hi")]}, {**door.owner, **named})).json()
    reply = said["choices"][0]["message"]["content"]
    body = {"messages": [user("hi"), assistant(reply), user("and?")]}
    assert (await door.post(path, body, {**door.other, **named})).status_code == 200
    first, second = door.gateway.turns()
    assert first.scope != second.scope
    assert second.parent_turn_id is None
    assert door.gateway.events(first.turn_id) == ()


async def test_another_keys_session_is_not_closed(door):
    door.add("other", *Role)
    path, named = "/v1/chat/completions", {"x-session-id": "diary"}
    await door.post(path, {"messages": [user("hi")]}, {**door.owner, **named})
    body = {"messages": [user("bye")], "session_done": True}
    await door.post(path, body, {**door.other, **named})
    first, second = door.gateway.turns()
    assert door.gateway.events(first.turn_id) == ()
    assert [state.kind for state in door.gateway.events(second.turn_id)] == ["session_closed"]


async def test_ids_cannot_be_guessed(door):
    ids = []
    for _ in range(2):
        said = await door.post("/v1/chat/completions", {"messages": [user("hi")]}, door.owner)
        ids.append(said.json()["id"])
    randoms = [re.fullmatch(r"chatcmpl-?([0-9a-f]{32})", one).group(1) for one in ids]
    assert all(one[12] == "4" for one in randoms), "version 4: 122 bits of the system's randomness"
    assert len(set(randoms)) == 2


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", list(BODIES))
async def test_what_is_not_to_be_trained_on_is_answered_and_kept_nowhere(door, path, is_stream):
    if is_stream and path == "/v1/completions":
        pytest.skip("streams alike")
    headers = {**door.owner, "X-No-Training": "1"}
    answer = await door.post(path, {**BODIES[path], "stream": is_stream}, headers)
    assert answer.status_code == 200
    assert "one reply" in answer.text or is_stream
    assert door.gateway.turns() == []
    assert door.gateway.log.counts().logged == 0


async def test_a_key_that_is_not_logged_and_a_body_that_says_so(door):
    door.add("guest", *Role, is_logged=False)
    path = "/v1/chat/completions"
    said = (await door.post(path, {"messages": [user("hi")]}, door.guest)).json()
    insists = {"messages": [user("hi")], "no_training": False}
    assert (await door.post(path, insists, door.guest)).status_code == 200
    private = {"messages": [user("hi")], "no_training": True}
    assert (await door.post(path, private, door.owner)).status_code == 200
    assert door.gateway.turns() == []
    rating = {"response_id": said["id"], "thumbs": "up"}
    assert (await door.post("/v1/feedback", rating, door.guest)).status_code == 404


async def test_a_private_reaction_is_not_linked_to_what_is_logged(door):
    said = await door.gateway.say(user("hi"), headers=door.owner)
    reply = said["choices"][0]["message"]["content"]
    history = [user("hi"), assistant(reply), user("a secret")]
    await door.gateway.say(*history, headers={**door.owner, "x-no-training": "1"})
    (turn,) = door.gateway.turns()
    assert door.gateway.events(turn.turn_id) == ()


async def test_an_opt_out_that_is_not_understood_is_refused_rather_than_logged(door):
    headers = {**door.owner, "x-no-training": "please"}
    answer = await door.post("/v1/chat/completions", {"messages": [user("hi")]}, headers)
    assert answer.status_code == 400
    assert door.gateway.turns() == []


async def test_keys_share_no_cache_of_prompts_unless_the_operator_wants_it(make_gateway, tmp_path):
    door = Door(make_gateway, tmp_path)
    other = door.add("other", *Role)
    owner = door.file.read()[0]
    for headers in (door.owner, door.other):
        await door.gateway.say(user("hi"), headers=headers)
    scopes = [request.cache_scope for request in door.gateway.engine.requests]
    assert scopes == [owner.key_id, other.key.key_id]
    folder = tmp_path / "sharing"
    folder.mkdir()
    sharing = Door(make_gateway, folder, sampling={"shares_prefixes": True})
    await sharing.gateway.say(user("hi"), headers=sharing.owner)
    assert sharing.gateway.engine.requests[0].cache_scope is None


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/messages/count_tokens"]
)
async def test_what_one_key_has_sent_is_not_the_sooner_encoded_for_another(
    make_gateway, tmp_path, monkeypatch, path
):
    door = Door(make_gateway, tmp_path, context_length=4096)
    encoded, plain = [], segments.encoded
    monkeypatch.setattr(segments, "encoded", lambda *of: encoded.append(of[1]) or plain(*of))
    door.add("other", *Role)
    message = f"{path} " + "hello " * 400
    body = {"model": MODEL, "max_tokens": 5}
    body |= {"prompt": message} if path == "/v1/completions" else {"messages": [user(message)]}
    for headers in (door.owner, door.owner, door.other):
        assert (await door.post(path, body, headers)).status_code == 200
    assert sum(message.strip() in text for text in encoded) == 2


async def test_no_secret_is_in_the_log_or_in_what_is_answered(door, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    made = door.add("phone", Role.CHAT)
    headers = {"authorization": f"Bearer {made.secret}"}
    wrong = {"authorization": "Bearer ck-not-a-key-of-this-endpoint"}
    answers = [
        await door.post("/v1/chat/completions", {"messages": [user("hi")]}, headers),
        await door.post("/v1/chat/completions", {"messages": "no list"}, headers),
        await door.post("/v1/feedback", {}, headers),
        await door.post("/v1/feedback", {}, wrong),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 403, 401]
    told = caplog.text + json.dumps([[a.text, dict(a.headers)] for a in answers])
    door.gateway.log.close()
    stored = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    for secret in (made.secret, "ck-not-a-key-of-this-endpoint"):
        assert secret not in told
        assert secret.encode() not in stored


async def test_another_keys_session_is_not_forgotten_and_ones_own_is(door):
    door.add("other", *Role)
    door.add("rater", Role.FEEDBACK)
    path, client = "/v1/chat/completions", door.gateway.client
    named = {**door.owner, "x-session-id": "di/ary"}
    said = (await door.post(path, {"messages": [user("hi")]}, named)).json()
    reply = said["choices"][0]["message"]["content"]
    refused = await client.delete("/v1/sessions/di/ary", headers=door.other)
    unknown = await client.delete("/v1/sessions/x", headers=door.other)
    assert refused.status_code == unknown.status_code == 404
    assert refused.text.replace("di/ary", "x") == unknown.text
    assert (await client.delete("/v1/sessions/di/ary", headers=door.rater)).status_code == 403
    assert len(door.gateway.turns()) == 1
    gone = await client.delete("/v1/sessions/di/ary", headers=door.owner)
    assert gone.json() == {"forgotten": 1, "trained_versions": {}}
    assert door.gateway.turns() == []
    history = [user("hi"), assistant(reply), user("and?")]
    assert (await door.post(path, {"messages": history}, named)).status_code == 200
    (turn,) = door.gateway.turns()
    assert turn.parent_turn_id is None


async def test_keys_are_seen_and_revoked_by_admins_only(door):
    door.add("talker", Role.CHAT, Role.FEEDBACK)
    made = door.add("lost", Role.CHAT)
    client, path = door.gateway.client, f"/v1/keys/{made.key.key_id}"
    for headers, status in ((door.talker, 403), ({}, 401)):
        assert (await client.get("/v1/keys", headers=headers)).status_code == status
        assert (await client.delete(path, headers=headers)).status_code == status
    listed = await client.get("/v1/keys", headers=door.owner)
    assert [key["name"] for key in listed.json()["data"]] == ["owner", "talker", "lost"]
    assert made.key.digest not in listed.text
    assert (await client.delete(path, headers=door.owner)).json()["revoked_at"] is not None
    assert (await client.delete(path, headers=door.owner)).status_code == 404
    body = BODIES["/v1/chat/completions"]
    assert (await door.post("/v1/chat/completions", body, door.lost)).status_code == 401


async def test_an_admin_rates_nobody_elses_conversations(door):
    door.add("admin", *Role)
    said = await door.gateway.say(user("hi"), headers=door.owner)
    rating = {"response_id": said["id"], "thumbs": "down"}
    assert (await door.post("/v1/feedback", rating, door.admin)).status_code == 404
