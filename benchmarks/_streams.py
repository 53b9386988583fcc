"""Streamed replies over HTTP, timed as a client sees them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import httpx
import numpy as np

__all__ = ["Percentiles", "Timed", "percentiles", "stream_all", "times_of"]

_TIMEOUT_S = 300.0


class Timed(NamedTuple):
    """One reply; None and empty where it was refused."""

    is_refused: bool
    first_s: float | None
    """From sending the request to its first visible text."""
    gaps_s: tuple[float, ...]
    """Between one piece of visible text and the next."""


class Percentiles(NamedTuple):
    """Of a distribution, by linear interpolation."""

    p50: float
    p95: float
    p99: float

    def as_row(self, name: str) -> dict[str, float]:
        """Three columns of a result's row."""
        return {f"{name}_{key}": value for key, value in self._asdict().items()}


def percentiles(values: Sequence[float]) -> Percentiles:
    """Of at least one value."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
    return Percentiles(p50, p95, p99)


def times_of(sent_at: float, shown_at: Sequence[float]) -> Timed:
    """What is known of a reply whose pieces of text were shown at these times."""
    first = shown_at[0] - sent_at if shown_at else None
    return Timed(False, first, tuple(after - before for before, after in pairwise(shown_at)))


async def stream_all(
    base_url: str, bodies: Sequence[Sequence[dict[str, Any]]]
) -> list[list[Timed]]:
    """Some streams at once.

    Args:
        base_url: of the endpoint.
        bodies: for each stream, the requests that it makes one after the other.
    """
    limits = httpx.Limits(max_connections=len(bodies))
    async with httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_S, limits=limits) as client:
        return await asyncio.gather(*(_stream(client, each) for each in bodies))


async def _stream(client: httpx.AsyncClient, bodies: Sequence[dict[str, Any]]) -> list[Timed]:
    return [await _reply(client, body) for body in bodies]


async def _reply(client: httpx.AsyncClient, body: dict[str, Any]) -> Timed:
    sent_at = time.perf_counter()
    async with client.stream("POST", "/chat/completions", json=body | {"stream": True}) as answer:
        if not answer.is_success:
            return Timed(True, None, ())
        shown_at = [time.perf_counter() async for line in answer.aiter_lines() if _shows_text(line)]
    return times_of(sent_at, shown_at)


def _shows_text(line: str) -> bool:
    kind, _, data = line.partition(": ")
    if kind != "data" or data == "[DONE]":
        return False
    return any(choice["delta"].get("content") for choice in json.loads(data)["choices"])
