"""What a delivery makes of a refusal: whether the server's old weights are known still."""

from __future__ import annotations

import pytest
from published_weights import DISK, QUICK, World, fake

from clawjax.engine.sglang.courier import DeliveryCourier
from clawjax.engine.sglang.delivery_plan import Capability, is_untouched
from clawjax.engine.sglang.failures import DeclinedError, RefusedError
from clawjax.errors import EngineError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def answering(server, error):
    """A server that answers every load so."""

    def answer(**_):
        if isinstance(error, Exception):
            raise error
        return error

    server._update_weights_from_disk = answer
    return server


async def bring(world, server, config=QUICK):
    told = []
    courier = DeliveryCourier(world.directories, config)
    try:
        await courier.deliver(
            server,
            world.full[0],
            lambda version: told.append((version, server.calls[-1])),
            is_doubtful=False,
        )
    except EngineError as error:
        return error, told
    return None, told


async def test_what_a_failed_load_has_left_is_unknown_before_the_server_goes_on(world):
    server = answering(fake(), {"success": False, "message": "CUDA out of memory"})
    error, told = await bring(world, server)
    assert "CUDA out of memory" in str(error)
    assert not isinstance(error, DeclinedError)
    assert told == [(None, "/update_weights_from_disk")]
    assert server.calls[-1] == "/continue_generation"


async def test_what_was_not_begun_leaves_what_is_known(world):
    words = "Failed to get weights iterator: nothing there."
    server = answering(fake(), RefusedError("http://a", "/x", 400, words))
    error, told = await bring(world, server)
    assert isinstance(error, DeclinedError)
    path = world.directories.root / "000001"
    assert str(error).startswith(f"it does not load {path} (it answered 400: {words})")
    assert (told, server.paused) == ([], None)


async def test_a_pause_that_is_refused_declines(world):
    server = fake()

    def refuse(**_):
        raise RefusedError("http://a", "/pause_generation", 404, "Not Found")

    server._pause_generation = refuse
    error, told = await bring(world, server)
    assert isinstance(error, DeclinedError)
    assert "new weights by retract: http://a/pause_generation answered 404" in str(error)
    assert "use SGLang 0.5.2 or newer, or one that takes adapters" in str(error)
    assert (told, server.calls[-1]) == ([], "/continue_generation")


async def test_a_server_without_a_way_declines(world):
    error, told = await bring(world, fake(label=None), DISK)
    assert isinstance(error, DeclinedError)
    assert told == []


NOT_BEGUN = "Failed to get weights iterator: a."


@pytest.mark.parametrize(
    ("can", "status", "words", "is_so"),
    [
        ({}, 400, NOT_BEGUN, True),
        ({}, 400, f"{NOT_BEGUN} | {NOT_BEGUN}", True),
        ({}, 400, f"{NOT_BEGUN} | Succeeded to update model weights.", False),
        ({}, 400, f"Failed to update weights: {NOT_BEGUN}", False),
        ({}, 404, "Not Found", True),
        ({}, 500, "Internal Server Error", False),
        ({"answers_alone": False}, 400, NOT_BEGUN, False),
        ({"keeps_refused": True}, 400, "a tensor has a NaN", True),
        ({"keeps_refused": True}, 500, "adopted in part", False),
    ],
)
def test_what_shows_that_a_load_was_not_begun(can, status, words, is_so):
    server = Capability(says_version=True, takes_adapters=False, **can)
    assert is_untouched(server, status, words) is is_so
