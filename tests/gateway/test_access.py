"""Who gets in, what a key opens, whose conversations are whose, and what is kept of them."""

import asyncio
import json
import logging
import re

import httpx
import pytest

from clawjax.config import GatewayConfig, LimitsConfig
from clawjax.errors import ConfigError
from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, new_key

from .helpers import assistant, serving, user

BODIES = {
    "/v1/chat/completions": {"messages": [user("hi")]},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": [user("hi")], "max_tokens": 20},
    "/v1/completions": {"prompt": "hi"},
}


class Door:
    """A gateway with a file of keys."""

    def __init__(self, make_gateway, folder, **options):
        self.file = KeyFile(folder / KEY_FILE)
        self.add("owner", *Role)
        self.gateway = make_gateway(["one reply"] * 9, keys=KeyRing(self.file), **options)

    def add(self, name, *roles, is_logged=True):
        made = new_key(name, roles, now=1.0, is_logged=is_logged)
        self.file.add(made.key)
        setattr(self, name, {"authorization": f"Bearer {made.secret}"})
        return made

    async def post(self, path, body, headers):
        return await self.gateway.client.post(path, json=body, headers=headers)


@pytest.fixture
def door(make_gateway, tmp_path) -> Door:
    return Door(make_gateway, tmp_path)


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


@pytest.mark.parametrize(
    ("limits", "body", "said"),
    [
        ({"max_messages": 1}, {"messages": [user("a"), assistant("b"), user("c")]}, "max_messages"),
        ({"max_choices": 1}, {"messages": [user("a")], "n": 2}, "max_choices"),
        ({"max_prompt_tokens": 2}, {"messages": [user("a b c")]}, "max_prompt_tokens"),
    ],
)
async def test_what_is_too_much_names_its_limit(make_gateway, limits, body, said):
    gateway = make_gateway(config={"limits": LimitsConfig(**limits)})
    answer = await gateway.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert f"gateway.limits.{said}" in answer.json()["error"]["message"]
    assert gateway.turns() == []


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user("1" * 60_000)]},
        {"messages": [user("1" * 600_000)]},
        {"messages": [user("hi"), assistant("1" * 60_000)]},
        {"prompt": "1" * 60_000},
    ],
    ids=["long", "endless", "begun", "text"],
)
async def test_what_cannot_fit_is_refused_without_finding_its_tokens(make_gateway, body):
    path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
    for config, said in (
        ({}, "maximum context length is 2048 tokens, but the messages take at least "),
        ({"limits": LimitsConfig(max_prompt_tokens=30)}, "gateway.limits.max_prompt_tokens"),
    ):
        gateway = make_gateway(config=config, context_length=2**20 if config else 2048)
        answer = await gateway.client.post(path, json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
        assert said in error["message"]
        assert "at least " in error["message"]
    assert gateway.turns() == []


async def test_a_prompt_of_several_contexts_is_counted_and_one_of_many_is_not(make_gateway):
    gateway = make_gateway(context_length=100)
    for text, counted in (("7" * 3000, True), ("7" * 30_000, False)):
        body = {"messages": [user(text)]}
        answer = await gateway.client.post("/v1/messages/count_tokens", json=body)
        if counted:
            assert answer.json()["input_tokens"] > 3000
        else:
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert message.startswith("prompt is too long: the messages take at least 20")
            assert "more than 400, 4 times" in message


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


async def sent(url: str, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    """What a page can send without asking first: text, to the address that its name resolves to."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = json.dumps(BODIES[path] | {"session_id": "diary"})
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"content-type": "text/plain", **named}
        return await client.post(url + path, content=text, headers=headers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://evil.example"}, "origin_not_allowed"),
        ({"origin": "http://localhost.evil.example"}, "origin_not_allowed"),
        ({"origin": "http://localhost@evil.example"}, "origin_not_allowed"),
        ({"origin": "null"}, "origin_not_allowed"),
        ({"origin": ""}, "origin_not_allowed"),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, "origin_not_allowed"),
        ({"sec-fetch-site": "cross-site"}, "origin_not_allowed"),
        ({"host": "evil.example", "origin": "http://evil.example"}, "host_not_allowed"),
        ({"host": "evil.example:30000"}, "host_not_allowed"),
        ({"host": "127.0.0.1.evil.example"}, "host_not_allowed"),
        ({"host": "0.0.0.0"}, "host_not_allowed"),
        ({"host": "localhost:80@evil.example"}, "host_not_allowed"),
        ({"host": ""}, "host_not_allowed"),
    ],
)
async def test_a_page_of_another_site_writes_nothing(gateway, headers, code):
    async with serving(gateway.app) as url:
        refused = {path: await sent(url, path, **headers) for path in BODIES}
    assert {answer.status_code for answer in refused.values()} == {403}
    assert gateway.turns() == []
    errors = {path: answer.json()["error"] for path, answer in refused.items()}
    assert {error["type"] for error in errors.values()} == {"permission_error"}
    assert refused["/v1/messages"].json()["type"] == "error", "as Anthropic's clients know it"
    assert errors["/v1/chat/completions"]["code"] == code


async def test_a_page_that_has_our_address_under_its_name_reads_and_forgets_nothing(gateway):
    await gateway.say(user("hi"), session_id="diary")
    async with serving(gateway.app) as url, httpx.AsyncClient(trust_env=False) as client:
        for method, path in (
            ("DELETE", "/v1/sessions/diary"),
            ("GET", "/healthz"),
            ("GET", "/metrics"),
            ("GET", "/v1/models"),
            ("OPTIONS", "/v1/chat/completions"),
        ):
            page = {"host": "evil.example", "sec-fetch-site": "same-origin"}
            refused = await client.request(method, url + path, headers=page)
            assert refused.status_code == 403, path
    assert len(gateway.turns()) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost"},
        {"host": "LOCALHOST:1"},
        {"host": "127.0.0.9:30000"},
        {"host": "[::1]:30000"},
        {"origin": "http://localhost:18789", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:18789", "sec-fetch-site": "same-site"},
        {"origin": "http://[::1]", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_programs_and_pages_of_this_machine_are_answered(gateway, headers):
    async with serving(gateway.app) as url:
        assert (await sent(url, **headers)).status_code == 200
    assert len(gateway.turns()) == 1


async def test_with_keys_any_name_is_answered_and_still_no_other_sites_page(door):
    named = {**door.owner, "host": "llm.example"}
    async with serving(door.gateway.app) as url:
        assert (await sent(url, **named)).status_code == 200
        own = await sent(url, **named, origin="https://llm.example")
        assert own.status_code == 200
        foreign = await sent(url, **named, origin="https://evil.example")
        assert foreign.status_code == 403
        assert foreign.json()["error"]["code"] == "origin_not_allowed"
    assert len(door.gateway.turns()) == 2


async def test_the_first_key_opens_other_names_while_the_gateway_runs(make_gateway, tmp_path):
    file = KeyFile(tmp_path / KEY_FILE)
    gateway = make_gateway(keys=KeyRing(file))
    made = new_key("owner", tuple(Role), now=1.0)
    async with serving(gateway.app) as url:
        named = {"host": "llm.example", "authorization": f"Bearer {made.secret}"}
        assert (await sent(url, **named)).status_code == 403
        file.add(made.key)
        assert (await sent(url, **named)).status_code == 200


async def test_pages_and_names_can_be_allowed(make_gateway):
    page = "https://app.example:8443"
    config = {"allowed_origins": [page], "allowed_hosts": ["host.docker.internal"]}
    gateway = make_gateway(config=config)
    async with serving(gateway.app) as url, httpx.AsyncClient(trust_env=False) as client:
        asks = {
            "origin": page,
            "sec-fetch-site": "cross-site",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        told = await client.options(url + "/v1/chat/completions", headers=asks)
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == page
        answer = await sent(url, origin=page, sec_fetch_site="cross-site")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert (await sent(url, origin="https://app.example")).status_code == 403
        assert (await sent(url, host="host.docker.internal:30000")).status_code == 200
        assert (await sent(url, host="x.docker.internal")).status_code == 403


@pytest.mark.parametrize("wrong", ["*", "null", "app.example", "https://app.example/", ""])
def test_what_would_allow_any_page_is_no_origin(wrong):
    with pytest.raises(ConfigError, match=r"gateway\.allowed_origins"):
        GatewayConfig(allowed_origins=[wrong])


@pytest.mark.parametrize("wrong", ["*", "http://a", "a:80", ""])
def test_a_host_is_allowed_by_its_name(wrong):
    with pytest.raises(ConfigError, match=r"gateway\.allowed_hosts"):
        GatewayConfig(allowed_hosts=[wrong])


async def test_headers_have_a_limit(make_gateway):
    gateway = make_gateway(config={"limits": LimitsConfig(max_header_bytes=1024)})
    answer = await gateway.chat(user("hi"), headers={"x-filler": "a" * 1024})
    assert answer.status_code == 431
    assert "gateway.limits.max_header_bytes" in answer.json()["error"]["message"]
    assert (await gateway.chat(user("hi"))).status_code == 200


async def test_requests_of_one_key_are_limited_and_those_of_another_are_not(make_gateway, tmp_path):
    config = {"limits": LimitsConfig(max_requests_per_key=1)}
    door = Door(make_gateway, tmp_path, config=config, token_delay_s=0.05)
    door.add("other", *Role)
    path, body = "/v1/chat/completions", {"messages": [user("hi")]}
    first = asyncio.create_task(door.post(path, body, door.owner))
    async with asyncio.timeout(60):
        while not door.gateway.engine.requests:  # noqa: ASYNC110 - the engine has no event
            await asyncio.sleep(0.01)
    refused = await door.post(path, body, door.owner)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert "gateway.limits.max_requests_per_key" in refused.json()["error"]["message"]
    assert (await door.post(path, body, door.other)).status_code == 200
    assert (await first).status_code == 200
    assert (await door.post(path, body, door.owner)).status_code == 200


async def test_counting_tokens_is_a_request_like_others(make_gateway, tmp_path):
    limits = LimitsConfig(max_requests_per_key=1, max_messages=2)
    door = Door(make_gateway, tmp_path, config={"limits": limits}, token_delay_s=0.05)
    path, body = "/v1/messages/count_tokens", BODIES["/v1/messages"]
    many = body | {"messages": [user("a"), assistant("b"), user("c")]}
    refused = await door.post(path, many, door.owner)
    assert refused.status_code == 400
    assert "gateway.limits.max_messages" in refused.text
    said = {"messages": [user("hi")]}
    first = asyncio.create_task(door.post("/v1/chat/completions", said, door.owner))
    async with asyncio.timeout(60):
        while not door.gateway.engine.requests:  # noqa: ASYNC110 - the engine has no event
            await asyncio.sleep(0.01)
    refused = await door.post(path, body, door.owner)
    assert refused.status_code == 429
    assert "gateway.limits.max_requests_per_key" in refused.text
    assert (await first).status_code == 200
    assert (await door.post(path, body, door.owner)).status_code == 200


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
