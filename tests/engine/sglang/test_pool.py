"""What is known of a server."""

from __future__ import annotations

import httpx

from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.pool import Server


async def test_a_token_is_of_the_version_that_its_server_names_if_it_ever_had_it():
    async with httpx.AsyncClient(trust_env=False) as connections:
        server = Server(ServerClient(connections, "http://a"))
    assert server.stamp("default") is None, "nothing is known"
    server.version, server.had, server.incoming = 3, {0, 1, 3}, 4
    named = {"default": 0, "0": 0, "1": 1, "3": 3, "4": 4, None: 3, "nightly": 3, "2": None}
    assert {word: server.stamp(word) for word in named} == named
