"""Two engine servers in processes of their own, many clients, and versions that keep coming.

Every token is checked with the weights themselves: its log-prob is that of the version it is
stamped with, by a plain forward pass.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from _engine_servers import find_router, running_router, running_servers
from _rollouts import Endpoint, Tally, chatting, opened, worth
from _tiny_versions import MODEL
from sampled_replies import until

pytestmark = pytest.mark.slow

CLIENTS = 8
PATIENCE_S = 300.0


def servers_in(folder: Path, *options: str):
    return running_servers(
        2,
        folder,
        model=MODEL.path,
        context_length=MODEL.context_length,
        options=("--skip-server-warmup", *options),
    )


def check(endpoint: Endpoint, tally: Tally) -> None:
    """Nobody noticed anything, and no token is mistaken."""
    found = worth(endpoint)
    assert not tally.refused
    assert not tally.dropped
    assert tally.replies == found.turns >= CLIENTS
    assert endpoint.log.counters().get("non_2xx", 0) == 0
    assert found.tokens == len(endpoint.witness.drawn)
    assert (found.unconfirmed, found.mistaken) == (0, 0), found
    assert found.while_publishing > 0


async def published_under_load(urls, folder, *, transport, kinds, router=None):
    async with opened(urls, folder, transport=transport, kinds=kinds, router=router) as endpoint:
        async with chatting(endpoint, CLIENTS) as tally:
            await endpoint.publish_all(range(1, 5), urls)
        check(endpoint, tally)
        stamped = {token.version for token in endpoint.witness.drawn}
        assert set(range(4)) <= stamped, "each version was talked to"


@pytest.mark.parametrize(
    ("transport", "kinds", "options"),
    [
        pytest.param("disk", ("full", "adapter"), (), id="all weights and merged adapters"),
        pytest.param(
            "adapter",
            ("adapter",),
            ("--enable-lora",),
            id="adapters beside the base",
            marks=pytest.mark.thorough,
        ),
    ],
)
async def test_clients_do_not_notice_that_versions_are_published(
    tmp_path, transport, kinds, options
):
    with servers_in(tmp_path, *options) as servers:
        urls = [server.url for server in servers]
        await published_under_load(urls, tmp_path, transport=transport, kinds=kinds)


@pytest.mark.skipif(find_router() is None, reason="sglang-router is not installed")
async def test_nor_do_they_behind_a_router(tmp_path):
    router = find_router()
    assert router is not None
    with servers_in(tmp_path) as servers:
        urls = [server.url for server in servers]
        with running_router(router, urls, tmp_path) as url:
            await published_under_load(
                urls, tmp_path, transport="disk", kinds=("full", "adapter"), router=url
            )


async def test_a_killed_server_costs_no_chat_and_comes_back_with_the_weights(tmp_path, caplog):
    with servers_in(tmp_path) as servers:
        urls = [server.url for server in servers]
        killed, left = servers
        async with opened(urls, tmp_path, transport="disk", kinds=("full", "adapter")) as endpoint:
            known = next(s for s in endpoint.engine._pool.servers if s.url == killed.url)
            async with chatting(endpoint, CLIENTS) as tally:
                await endpoint.publish_all(range(1, 3), urls)
                await until(lambda: known.in_flight > 2, timeout_s=PATIENCE_S)
                killed.kill()
                await until(lambda: known.trouble is not None, timeout_s=PATIENCE_S)
                await endpoint.publish_all(range(3, 5), [left.url])
                assert "a request goes on after trouble" in caplog.text
                assert known.in_flight == 0, "who is out of rotation is not asked"

                killed.start()
                began = time.monotonic()
                await asyncio.to_thread(killed.until_ready)
                await until(lambda: known.trouble is None, timeout_s=PATIENCE_S)
                assert known.version == 4
                said = [s for s in endpoint.witness.said if s.url == killed.url and s.at > began]
                assert {one.version for one in said} == {4}, "never asked with anything older"
                await until(lambda: known.in_flight > 2, timeout_s=PATIENCE_S)
                await endpoint.publish_all(range(5, 7), urls)
            check(endpoint, tally)
