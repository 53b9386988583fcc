"""What `gateway.py` measures: requests one by one, connections that are never idle, and streams."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _compare import load
from _gateway_server import MODEL, running_gateway
from _http_load import Connection, connected, post
from _result import Goal, largest, smallest

from clawjax.testing import free_port

__all__ = ["ASKED", "FULL", "HISTORY", "NOTES", "QUICK", "goals", "measure", "quantiles_ms"]

Row = dict[str, Any]

TOKENS_PER_S = 20.0
_REPLY_TOKENS = 16

HISTORY = [
    {"role": "system", "content": "You are a helpful assistant. " * 20},
    {"role": "user", "content": "What is the capital of France, and why? " * 5},
]
ASKED: Mapping[str, Mapping[str, object]] = {
    "/v1/chat/completions": {"messages": HISTORY, "max_tokens": _REPLY_TOKENS},
    "/v1/responses": {"input": HISTORY, "max_output_tokens": _REPLY_TOKENS},
    "/v1/messages": {"messages": HISTORY, "max_tokens": _REPLY_TOKENS},
    "/v1/completions": {"prompt": "What is the capital of France? " * 20},
}
NOTES = {
    "added": "from sending a request on a connection that is open to the last byte of its answer; "
    "one request at a time, not streamed, about 800 characters, a reply of 16 tokens",
    "requests_per_s": "answered by 32 connections that ask again as soon as they are answered; "
    "each turn is committed to SQLite on the disk",
    "stall": f"the longest time between two chunks of one stream; its tokens are "
    f"{1000 / TOKENS_PER_S:.0f} ms apart",
}


class Size(NamedTuple):
    """How much of each is done."""

    asked: int
    seconds: float
    connections: int
    streams: int
    stream_tokens: int


FULL = Size(asked=300, seconds=15, connections=32, streams=200, stream_tokens=400)
QUICK = Size(asked=30, seconds=3, connections=32, streams=200, stream_tokens=60)


def measure(size: Size) -> list[Row]:
    """Every row: a gateway that answers at once, then one that streams."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        with running_gateway(free_port(), Path(folder)) as url:
            rows += [asyncio.run(latency_row(url, path, size.asked)) for path in ASKED]
            rows.append(asyncio.run(throughput_row(url, size)))
        with running_gateway(free_port(), Path(folder), TOKENS_PER_S) as url:
            rows.append(asyncio.run(streams_row(url, size)))
    return rows


async def latency_row(url: str, path: str, times: int) -> Row:
    """One request after another, after some that do not count."""
    request = post(url, path, {"model": MODEL, **ASKED[path]})
    async with connected(url) as connection:
        for _ in range(times // 10 + 3):
            await connection.ask(request)
        seconds = [await _timed(connection, request) for _ in range(times)]
    return {"case": f"added, {path}", "load": load()} | quantiles_ms(seconds)


async def throughput_row(url: str, size: Size) -> Row:
    """Connections that are never idle."""
    path = "/v1/chat/completions"
    request = post(url, path, {"model": MODEL, **ASKED[path]})
    ends_at = time.perf_counter() + size.seconds

    async def keep_asking() -> list[float]:
        seconds: list[float] = []
        async with connected(url) as connection:
            while time.perf_counter() < ends_at:
                seconds.append(await _timed(connection, request))
        return seconds

    began = time.perf_counter()
    found = await asyncio.gather(*(keep_asking() for _ in range(size.connections)))
    seconds = [value for one in found for value in one]
    rate = len(seconds) / (time.perf_counter() - began)
    case = f"{size.connections} connections, {path}"
    return {"case": case, "load": load(), "requests_per_s": rate} | quantiles_ms(seconds)


async def streams_row(url: str, size: Size) -> Row:
    """Streams side by side, begun over the time between two tokens."""
    body = {"model": MODEL, "messages": HISTORY, "max_tokens": size.stream_tokens, "stream": True}
    request = post(url, "/v1/chat/completions", body)

    async def one(index: int) -> list[float]:
        await asyncio.sleep(index / size.streams)
        async with connected(url) as connection:
            return await connection.stream(request)

    streams = await asyncio.gather(*(one(index) for index in range(size.streams)))
    gaps = [after - before for arrived in streams for before, after in pairwise(arrived)]
    return {
        "case": f"{size.streams} streams of {TOKENS_PER_S:.0f} tokens/s",
        "load": load(),
        "chunks": sum(map(len, streams)),
        "stall_ms": 1000 * max(gaps),
        "gap_p99_ms": 1000 * float(np.quantile(gaps, 0.99)),
    }


async def _timed(connection: Connection, request: bytes) -> float:
    began = time.perf_counter()
    await connection.ask(request)
    return time.perf_counter() - began


def quantiles_ms(seconds: Sequence[float]) -> Row:
    """Median, 90th and 99th percentile in milliseconds."""
    found = np.quantile(seconds, (0.5, 0.9, 0.99))
    return {f"p{q}_ms": 1000 * float(v) for q, v in zip((50, 90, 99), found, strict=True)}


def goals(rows: Sequence[Row]) -> list[Goal]:
    """The slowest dialect, the rate, and the worst stall count."""
    added = [row["p50_ms"] for row in rows if row["case"].startswith("added")]
    rates = [row.get("requests_per_s") for row in rows if "requests_per_s" in row]
    stalls = [row.get("stall_ms") for row in rows if "stall_ms" in row]
    return [
        Goal("added to a reply, median of the slowest dialect", "<=", 3, largest(added), "ms"),
        Goal("requests answered by one core", ">=", 500, smallest(rates), "requests/s"),
        Goal("longest stall of 200 streams", "<=", 250, largest(stalls), "ms"),
    ]
