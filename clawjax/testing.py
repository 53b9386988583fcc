"""A fake for every protocol, each checking what it is handed: wiring mistakes fail in unit tests.

The turn log needs no fake: `temporary_log` opens the real one on a file of its own.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clawjax.config.databases import file_url
from clawjax.errors import EngineError, StoreError, WireError
from clawjax.log.store import SqlTurnLog
from clawjax.protocols import (
    BASE_KIND,
    EngineStatus,
    GenerateRequest,
    Removed,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)
from clawjax.records import FinishReason, NextState, Turn, Verdict

if TYPE_CHECKING:
    import numpy as np

    from clawjax.models.tokenizer import ChatTokenizer

__all__ = [
    "FakeEngine",
    "FakeReward",
    "MemoryWeightStore",
    "RecordingMonitor",
    "free_port",
    "temporary_log",
]

_KEY = re.compile(r"[a-z0-9_]+(/[a-z0-9_@]+)+")


def temporary_log(folder: Path) -> SqlTurnLog:
    """The real turn log, in `folder`."""
    return SqlTurnLog.open(file_url(Path(folder, "turns.db")))


def free_port() -> int:
    """A port of the loopback that nobody listens on now, and that may be taken again at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class FakeEngine:
    """Says what it was told to say, one token at a time; checks every request."""

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        replies: Sequence[str],
        *,
        context_length: int = 512,
        token_delay_s: float = 0.0,
        fails_after: int | None = None,
    ) -> None:
        """Answer requests with `replies` in turn, starting over at the end.

        Args:
            tokenizer: turns the replies into tokens.
            replies: what to say.
            context_length: longer prompts are refused as the real engine refuses them.
            token_delay_s: pause before each token.
            fails_after: raise `EngineError` after so many tokens of each reply.
        """
        self.requests: list[GenerateRequest] = []
        self.scored: list[ScoreRequest] = []
        self.cancelled: list[str] = []
        self.version = 0
        self._tokenizer = tokenizer
        self._replies = replies
        self._context_length = context_length
        self._token_delay_s = token_delay_s
        self._fails_after = fails_after
        self._running = 0

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """There is room; all else as for `generate`."""
        self._check(request)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """Stream the next reply and an end token; log-probs are -0.5 and -1 throughout."""
        self._check(request)
        reply = self._replies[len(self.requests) % len(self._replies)]
        self.requests.append(request)
        tokens = (*self._tokenizer.encode(reply), min(self._tokenizer.eos_ids))
        limit = request.sampling.max_response_tokens
        detokenizer = self._tokenizer.detokenizer(goes_on=request.goes_on)
        self._running += 1
        finished = False
        try:
            for index, token in enumerate(tokens[:limit]):
                if index == self._fails_after:
                    msg = "the fake engine was told to fail"
                    raise EngineError(msg)
                await asyncio.sleep(self._token_delay_s)
                text = "" if token in self._tokenizer.eos_ids else detokenizer.push(token)
                chunk = TokenChunk((token,), (-0.5,), (-1.0,), (self.version,), text)
                if index + 1 == min(len(tokens), limit):
                    finished = True
                    end = FinishReason.STOP if len(tokens) <= limit else FinishReason.LENGTH
                    chunk = replace(chunk, finish_reason=end, text=chunk.text + detokenizer.flush())
                yield chunk
        finally:
            self._running -= 1
            if not finished:
                self.cancelled.append(request.request_id)

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """Log-probs of -1 throughout, as for what it says itself."""
        self._check_prompt(request.prompt_ids)
        assert request.response_ids, "nothing to score"
        assert all(0 <= token < self._tokenizer.vocab_size for token in request.response_ids)
        self._require_room(len(request.prompt_ids) + len(request.response_ids) - 1)
        self.scored.append(request)
        return (-1.0,) * len(request.response_ids)

    async def swap(self, weights: WeightVersion) -> None:
        """Adopt a version number."""
        self.version = weights.version

    def status(self) -> EngineStatus:
        """Report the fake's state."""
        return EngineStatus(
            version=self.version,
            running=self._running,
            waiting=0,
            slots=64,
            context_length=self._context_length,
            generated_tokens=0,
            tokens_per_s=0.0,
        )

    async def aclose(self) -> None:
        """Do nothing; check that nothing is left running."""
        assert self._running == 0, f"{self._running} requests were never closed"

    def _check(self, request: GenerateRequest) -> None:
        self._check_prompt(request.prompt_ids)
        assert request.sampling.max_response_tokens >= 1
        self._require_room(len(request.prompt_ids))

    def _check_prompt(self, prompt_ids: tuple[int, ...]) -> None:
        assert prompt_ids, "empty prompt"
        assert all(0 <= token < self._tokenizer.vocab_size for token in prompt_ids)

    def _require_room(self, tokens: int) -> None:
        if tokens >= self._context_length:
            msg = f"This model's maximum context length is {self._context_length} tokens."
            raise WireError(msg, code="context_length_exceeded", param="messages")


class FakeReward:
    """Scores by a function of the next state."""

    def __init__(self, score: Callable[[NextState], float | None], name: str = "fake") -> None:
        """Judge with `score`; it may raise."""
        self.name = name
        self.judged: list[str] = []
        self._score = score

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Say yes to everything."""
        assert turn.turn_id == next_state.turn_id, "a next state of another turn"
        return True

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Score at once."""
        score = self._score(next_state)
        assert score is None or -1 <= score <= 1, f"score {score} outside [-1, 1]"
        self.judged.append(turn.turn_id)
        return Verdict(turn.turn_id, self.name, score, judged_at=next_state.arrived_at)

    async def aclose(self) -> None:
        """Do nothing."""


class MemoryWeightStore:
    """Keeps versions in memory; insists that they grow, and descend from one that exists."""

    def __init__(self) -> None:
        """Start empty: the base model."""
        self.served: int | None = None
        """Set it to roll back."""
        self._versions: dict[int, tuple[WeightVersion, dict[str, np.ndarray]]] = {}

    def publish(
        self,
        tensors: Mapping[str, np.ndarray],
        *,
        version: int,
        parent: int | None,
        step: int,
        base_model: str,
        kind: str,
        config: Mapping[str, object],
        refused: str | None = None,
    ) -> WeightVersion:
        """Keep a version; publishing one again is a no-op."""
        if version not in self._versions:
            assert version > max(self._versions, default=0), f"version {version} goes back"
            assert parent in (None, 0, *self._versions), f"version {version} of unknown {parent}"
            assert kind in ("adapter", "full"), kind
            assert tensors, "no tensors"
            if parent is not None and self.served not in (None, parent):
                refused = refused or f"version {self.served} is served, not {parent}"
            path = Path(f"memory/{version:06d}")
            made = WeightVersion(version, path, parent, step, base_model, kind, refused)
            self._versions[version] = (made, dict(tensors))
            self.served = (self.served or 0) if refused else version
        return self._versions[version][0]

    def latest(self) -> WeightVersion | None:
        """The version served."""
        return None if self.served is None else self.load(self.served)[0]

    def versions(self, *, after: int = 0) -> list[WeightVersion]:
        """Everything kept."""
        return [made for made, _ in self._versions.values() if made.version > after]

    def removed(self) -> dict[int, Removed]:
        """Of none: everything is kept."""
        return {}

    def load(self, version: int) -> tuple[WeightVersion, dict[str, np.ndarray]]:
        """Hand a version out."""
        if version == 0:
            return WeightVersion(0, Path("memory/000000"), None, 0, "", BASE_KIND), {}
        if version not in self._versions:
            msg = f"version {version} is not in the store"
            raise StoreError(msg)
        return self._versions[version]


class RecordingMonitor:
    """Remembers metrics; insists on slash paths and finite numbers."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: list[tuple[int | None, dict[str, float]]] = []
        self.texts: list[dict[str, str]] = []
        """Of each entry."""
        self.is_closed = False

    def log(
        self,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Check and keep."""
        texts = texts or {}
        for key, text in texts.items():
            assert _KEY.fullmatch(key), f"metric key {key!r} is no slash path"
            assert key not in metrics, f"{key} is a number already"
            assert text, f"{key} says nothing"
        for key, value in metrics.items():
            assert _KEY.fullmatch(key), f"metric key {key!r} is no slash path"
            assert math.isfinite(value), f"{key} is {value}"
        self.entries.append((step, dict(metrics)))
        self.texts.append(dict(texts))

    def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True
