"""What is known of a server."""

from __future__ import annotations

import httpx
import pytest

from clawjax.config import SglangConfig
from clawjax.engine.sglang.adapters import AdapterShelf
from clawjax.engine.sglang.http import Connections, ServerClient
from clawjax.engine.sglang.pool import Pool, Server


class Shelved:
    """A courier of whom only the adapters are asked."""

    def __init__(self, shelf):
        self.asked = shelf.asked

    async def deliver(self, client, weights, on_version, *, is_doubtful):
        raise NotImplementedError


@pytest.fixture
async def client():
    async with httpx.AsyncClient(trust_env=False) as connections:
        yield ServerClient(Connections(connections, connections), "http://a")


async def test_what_a_router_is_asked_for_changes_whenever_one_of_its_servers_does(client):
    two, router = [Server(client), Server(client)], Server(client)
    pool, seen = Pool(SglangConfig(), two, router), []
    for server in two:
        server.confirm(3)
        pool.admit(server)
    for server, version in ((two[0], 3), (two[1], 4), (two[0], 4), (two[1], 3), (two[0], 3)):
        server.confirm(version)
        with pool.using(await pool.pick(b"")) as asked:
            seen.append(asked)
    assert [asked.version for asked in seen] == [3, 3, 4, 3, 3]
    assert len({asked.since for asked in seen}) == len(seen)


async def test_a_request_beside_adapters_is_of_what_it_asks_for_and_not_of_what_was_confirmed(
    client,
):
    shelf = AdapterShelf()
    server = Server(client, has_adapters=True, courier=Shelved(shelf))
    pool = Pool(SglangConfig(), [server])
    server.confirm(5)
    for version in (5, 0, 6):
        shelf.place(version)  # the word that it is confirmed comes later
        with pool.using(server) as asked:
            assert asked.adapter == version
            assert pool.stamp(server, asked, "default") == version


async def test_a_token_is_of_the_version_that_its_server_names_if_it_ever_had_it(client):
    server = Server(client)
    assert server.stamp("default") is None, "nothing is known"
    server.version, server.had, server.incoming = 3, {0, 1, 3}, 4
    named = {"default": 0, "0": 0, "1": 1, "3": 3, "4": 4, None: 3, "nightly": 3, "2": None}
    assert {word: server.stamp(word) for word in named} == named


async def test_a_server_whose_weights_are_not_known_gets_no_request(client):
    two = [Server(client), Server(client)]
    pool = Pool(SglangConfig(), two)
    for server in two:
        server.confirm(3)
        pool.admit(server)
    two[0].show(None)
    assert two[0].stamp("3") is None
    assert {await pool.pick(str(n).encode()) for n in range(9)} == {two[1]}
    two[0].show(4)
    assert set(pool.serving) == set(two)
