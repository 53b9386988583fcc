"""People at an endpoint who remember what they were promised.

Owns what counts as promised: an answer whose last byte arrived (`[DONE]` of a stream). Whoever
meets a server that is gone asks the same again, as SDKs do.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import httpx

__all__ = ["Answer", "Memory", "Person", "Talk", "ask", "connected", "messages_of"]

_TIMEOUT_S = 120.0
_AGAIN_S = 0.3
_WORDS = ("tide", "lamp", "north", "ember", "quill", "stone", "maple", "river", "cloud", "brass")


class Answer(NamedTuple):
    """One attempt."""

    sent_at: float
    """Unix seconds."""
    status: int | None
    """None where there was no answer at all."""
    is_whole: bool
    """Its last byte arrived."""
    response_id: str | None = None
    text: str = ""
    first_s: float | None = None
    """From sending to the first visible text, of a stream."""
    gaps_s: tuple[float, ...] = ()
    """Between one piece of visible text and the next."""

    @property
    def is_refused(self) -> bool:
        """The server was there, and said no."""
        return self.status is not None and not 200 <= self.status < 300

    @property
    def is_dropped(self) -> bool:
        """It began well, or was never answered, and did not end."""
        return not self.is_whole and not self.is_refused


async def ask(client: httpx.AsyncClient, body: Mapping[str, Any], *, retries: int = 0) -> Answer:
    """Ask once; what goes wrong is part of the answer."""
    sent_at = time.time()
    headers = {"x-stainless-retry-count": str(retries)} if retries else {}
    try:
        if body.get("stream"):
            return await _stream(client, body, headers, sent_at)
        response = await client.post("/chat/completions", json=body, headers=headers)
    except httpx.TransportError:
        return Answer(sent_at, None, is_whole=False)
    if not response.is_success:
        return Answer(sent_at, response.status_code, is_whole=True)
    found = response.json()
    text = found["choices"][0]["message"]["content"] or ""
    return Answer(sent_at, response.status_code, True, found["id"], text)


async def _stream(
    client: httpx.AsyncClient, body: Mapping[str, Any], headers: Mapping[str, str], sent_at: float
) -> Answer:
    began = time.perf_counter()
    shown_at: list[float] = []
    text, response_id, is_whole, status = "", None, False, None
    try:
        async with client.stream("POST", "/chat/completions", json=body, headers=headers) as answer:
            status = answer.status_code
            if not answer.is_success:
                return Answer(sent_at, status, is_whole=True)
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    is_whole = True
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                response_id = chunk.get("id", response_id)
                piece = "".join(
                    choice["delta"].get("content") or "" for choice in chunk.get("choices", ())
                )
                if piece:
                    shown_at.append(time.perf_counter())
                    text += piece
    except httpx.TransportError:
        is_whole = False
    first_s = shown_at[0] - began if shown_at else None
    gaps = tuple(after - before for before, after in pairwise(shown_at))
    return Answer(sent_at, status, is_whole, response_id, text, first_s, gaps)


@dataclass(slots=True)
class Memory:
    """What all people together were promised, and what they met."""

    answered: list[str] = field(default_factory=list)
    """Response ids of whole answers."""
    rated: list[str] = field(default_factory=list)
    """Response ids whose rating was acknowledged."""
    attempts: int = 0
    unreachable: int = 0
    broken_off: int = 0
    """Answers that began and did not end."""
    refused: list[int] = field(default_factory=list)
    """Statuses that are no 2xx."""
    sessions: int = 0

    def note(self, answer: Answer) -> None:
        """Count an attempt."""
        self.attempts += 1
        if answer.is_refused:
            assert answer.status is not None
            self.refused.append(answer.status)
        elif answer.is_dropped:
            self.unreachable += answer.status is None
            self.broken_off += answer.status is not None
        elif answer.response_id is not None:
            self.answered.append(answer.response_id)


class Talk(NamedTuple):
    """How people talk."""

    turns: int
    """Of a conversation, at most."""
    tokens: int
    """Of a reply, at most."""
    rated: float = 0.5
    """Share of the replies that are rated."""
    streamed: float = 0.5
    """Share of the replies that are streamed."""


@dataclass(slots=True)
class Person:
    """Holds one conversation after the other."""

    client: httpx.AsyncClient
    model: str
    talk: Talk
    memory: Memory
    rng: random.Random
    is_patient: bool = True
    """Asks again until it is answered; otherwise goes on with the next conversation."""

    async def converse(self) -> None:
        """One conversation, from its first question to the last."""
        self.memory.sessions += 1
        said: list[dict[str, str]] = []
        topic = f"{self.rng.randrange(10**9)}"
        for step in range(self.rng.randint(max(1, self.talk.turns // 2), self.talk.turns)):
            said.append({"role": "user", "content": f"{topic} {self.rng.choice(_WORDS)} {step}"})
            answer = await self._ask(said)
            if answer is None or answer.response_id is None:
                return
            said.append({"role": "assistant", "content": answer.text})
            if self.rng.random() < self.talk.rated:
                await self._rate(answer.response_id)

    async def _ask(self, said: Sequence[Mapping[str, str]]) -> Answer | None:
        body = {
            "model": self.model,
            "messages": list(said),
            "max_tokens": self.talk.tokens,
            "stream": self.rng.random() < self.talk.streamed,
        }
        retries = 0
        while True:
            answer = await ask(self.client, body, retries=retries)
            self.memory.note(answer)
            if answer.is_whole and not answer.is_refused:
                return answer
            if not self.is_patient:
                return None
            retries += 1
            await asyncio.sleep(_AGAIN_S * (0.5 + self.rng.random()))

    async def _rate(self, response_id: str) -> None:
        """An opinion that finds nobody is not given again: the reply it is about may be gone."""
        opinion = {"response_id": response_id, "thumbs": self.rng.choice(("up", "down"))}
        try:
            answer = await self.client.post("/feedback", json=opinion)
        except httpx.TransportError:
            self.memory.unreachable += 1
            return
        if answer.is_success:
            self.memory.rated.append(response_id)
        else:
            self.memory.refused.append(answer.status_code)


def messages_of(number: int) -> list[dict[str, str]]:
    """A question that nobody else asks."""
    word = _WORDS[number % len(_WORDS)]
    return [{"role": "user", "content": f"{number} {word}: what next?"}]


def connected(base_url: str, people: int) -> httpx.AsyncClient:
    """A client that so many people share, each with a connection."""
    limits = httpx.Limits(max_connections=people, max_keepalive_connections=people)
    return httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT_S, limits=limits, trust_env=False)
