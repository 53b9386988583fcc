"""Scripted servers for the engine."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from scripted_server import ScriptedServer


@pytest.fixture
async def server():
    async with ScriptedServer().serving() as server:
        yield server


@pytest.fixture
async def two():
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ScriptedServer().serving()) for _ in range(2)]
