"""Weights that a server does not take: what is known of it then, and what goes on."""

from __future__ import annotations

import pytest
from test_delivery import QUICK, World, fake

from clawjax.engine.sglang.courier import DeliveryCourier
from clawjax.errors import EngineError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def failing(answer):
    """A server that answers every load so."""
    server = fake()
    server._update_weights_from_disk = lambda **_: answer
    return server


async def test_what_a_failed_load_has_left_is_unknown_before_the_server_goes_on(world):
    server, told = failing({"success": False, "message": "CUDA out of memory"}), []
    with pytest.raises(EngineError, match="CUDA out of memory"):
        await DeliveryCourier(world.directories, QUICK).deliver(
            server, world.full[0], lambda version: told.append((version, server.calls[-1]))
        )
    assert told == [(None, "/update_weights_from_disk")]
    assert server.calls[-1] == "/continue_generation"
