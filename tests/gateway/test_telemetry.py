"""`/metrics`: what was asked for and answered, in numbers and without a word of it."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from clawjax.keys import KEY_FILE, KeyFile, KeyRing, Role, new_key

from .helpers import user

STATES = ("remembered", "open", "in_use")


class Scraped:
    """Samples by name and labels."""

    def __init__(self, families):
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name, **labels):
        found = [s.value for s in self.samples if s.name == name and s.labels == labels]
        assert len(found) == 1, (name, labels, found)
        return found[0]


async def scrape(gateway, headers=None):
    answer = await gateway.client.get("/metrics", headers=headers or {})
    assert answer.status_code == 200, answer.text
    read = read_open if "openmetrics" in answer.headers["content-type"] else read_plain
    return Scraped(read(answer.text))


async def test_what_nobody_foresaw_is_a_500(gateway, monkeypatch):
    async def fail(request, *, replies):
        raise RuntimeError

    monkeypatch.setattr(gateway.engine, "check", fail)
    assert (await gateway.chat(user("hi"))).status_code == 500
    found = await scrape(gateway)
    path = "/v1/chat/completions"
    assert found("clawjax_requests_total", path=path, method="POST", status="500") == 1


async def test_requests_tokens_and_times_are_counted_and_clients_make_no_labels(make_gateway):
    gateway = make_gateway(loop_status=lambda: {"judge": {"state": "idle", "waiting": 4}})
    first = await gateway.say(user("a secret word"))
    await gateway.chat(user("hi"), stream=True)
    await gateway.chat(user("hi"), n="many")
    for path in ("/v1/secret", "/v1/models/secret", "/etc/passwd"):
        assert (await gateway.client.get(path)).status_code == 404
    assert (await gateway.client.get("/v1/chat/completions")).status_code == 405
    found = await scrape(gateway)
    chat = "/v1/chat/completions"
    requests = "clawjax_requests_total"
    assert found(requests, path=chat, method="POST", status="200") == 2
    assert found(requests, path=chat, method="POST", status="400") == 1
    assert found(requests, path="/v1/models/{model_id:path}", method="GET", status="404") == 1
    assert found(requests, path="other", method="other", status="404") == 2
    assert found(requests, path="other", method="other", status="405") == 1
    assert found("clawjax_request_seconds_count", path=chat) == 3
    assert found("clawjax_first_token_seconds_count") == 2
    turns = gateway.turns()
    tokens = "clawjax_tokens_total"
    assert found(tokens, kind="response") == sum(len(turn.response_ids) for turn in turns)
    assert found(tokens, kind="prompt") == sum(len(turn.prompt_ids) for turn in turns)
    assert found("clawjax_replies_total", finish_reason="stop", turn_kind="main") == 2
    assert found("clawjax_loop_waiting", loop="judge") == 4
    assert first["usage"]["prompt_tokens"] == len(turns[0].prompt_ids)
    assert not any("secret" in value for s in found.samples for value in s.labels.values())


async def test_scrapers_of_openmetrics_get_their_format(make_gateway):
    gateway = make_gateway()
    found = await scrape(gateway, {"accept": "application/openmetrics-text; version=1.0.0"})
    assert found("clawjax_up") == 1


@pytest.mark.parametrize("access", ["admin", "off"])
async def test_metrics_can_be_kept_to_admins_or_to_nobody(make_gateway, tmp_path, access):
    file = KeyFile(tmp_path / KEY_FILE)
    made = {role: new_key(role.value, [role], now=1.0) for role in (Role.ADMIN, Role.CHAT)}
    for one in made.values():
        file.add(one.key)
    gateway = make_gateway(keys=KeyRing(file), config={"metrics": access})

    async def status(role):
        headers = {"authorization": f"Bearer {made[role].secret}"} if role else {}
        return (await gateway.client.get("/metrics", headers=headers)).status_code

    statuses = [await status(role) for role in (Role.ADMIN, Role.CHAT, None)]
    assert statuses == ([200, 403, 401] if access == "admin" else [404] * 3)


async def test_metrics_are_open_where_health_is(make_gateway):
    gateway = make_gateway(api_key="needed")
    assert (await scrape(gateway))("clawjax_up") == 1
    assert (await gateway.chat(user("hi"))).status_code == 401


async def test_sessions_in_memory_are_told_by_their_state(make_gateway):
    now = [1000.0]
    gateway = make_gateway(clock=lambda: now[0], config={"session_idle_s": 60})
    await gateway.say(user("one"))
    await gateway.say(user("two"))
    found = await scrape(gateway)
    told = {state: found("clawjax_sessions", state=state) for state in STATES}
    assert told == {"remembered": 2, "open": 2, "in_use": 0}
    now[0] += 61
    await gateway.collector.close_idle()
    found = await scrape(gateway)
    told = {state: found("clawjax_sessions", state=state) for state in STATES}
    assert told == {"remembered": 2, "open": 0, "in_use": 0}
