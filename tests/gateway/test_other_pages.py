"""What pages of other sites may do, and under which names the gateway answers."""

import json

import httpx
import pytest

from clawjax.config import GatewayConfig
from clawjax.errors import ConfigError
from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, new_key

from .doors import BODIES
from .helpers import serving, user


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


async def test_what_a_page_asks_before_its_request_is_not_counted(make_gateway):
    page = "https://app.example"
    gateway = make_gateway(config={"allowed_origins": [page]})
    asks = {"origin": page, "access-control-request-method": "POST"}
    for path in ("/v1/chat/completions", "/v1/feedback"):
        assert (await gateway.client.options(path, headers=asks)).status_code == 200
    assert gateway.log.counters() == {}
    await gateway.say(user("hi"), headers={"origin": page})
    assert gateway.log.counters() == {"requests": 1}


@pytest.mark.parametrize("wrong", ["*", "null", "app.example", "https://app.example/", ""])
def test_what_would_allow_any_page_is_no_origin(wrong):
    with pytest.raises(ConfigError, match=r"gateway\.allowed_origins"):
        GatewayConfig(allowed_origins=[wrong])


@pytest.mark.parametrize("wrong", ["*", "http://a", "a:80", ""])
def test_a_host_is_allowed_by_its_name(wrong):
    with pytest.raises(ConfigError, match=r"gateway\.allowed_hosts"):
        GatewayConfig(allowed_hosts=[wrong])
