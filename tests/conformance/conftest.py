"""The server under test: ours, started here, or the one at `--sglang-url`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sglang_peer import Peer, started


@pytest.fixture(scope="session")
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    url = request.config.getoption("--sglang-url")
    if url is not None:
        yield Peer(url, request.config.getoption("--sglang-api-key"))
        return
    folder = tmp_path_factory.mktemp("server")
    options = (
        "--context-length", "512", "--max-running-requests", "2", "--skip-server-warmup",
        "--chunked-prefill-size", "32",
    )  # fmt: skip
    with started(folder, *options) as ours:
        yield ours


@pytest.fixture(scope="session")
def prompt(peer: Peer) -> list[int]:
    """Six tokens of the server's own vocabulary."""
    ids = peer.ids("You are a helpful assistant. Hello there, what can I do for you?")
    assert len(ids) >= 6
    return ids[:6]


@pytest.fixture(autouse=True)
def running(peer: Peer) -> Iterator[None]:
    """No test leaves the server paused, or a request in it."""
    yield
    peer.post("/continue_generation")
    peer.post("/abort_request", {"abort_all": True})
