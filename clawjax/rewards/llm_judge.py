"""Asks any OpenAI-compatible endpoint for a verdict, several times, and takes the majority.

Invariant: a vote that failed or cannot be read is None and never counts as 0. One HTTP client
serves all calls, a semaphore bounds them, every request has a time-out and few retries.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx

from clawjax.config import LlmJudgeConfig
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.prompts import PROMPT_DIGEST, build_messages, parse_vote

__all__ = ["LlmJudgeReward", "majority"]

logger = logging.getLogger(__name__)

_RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504})
_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 20.0


class _Answer(NamedTuple):
    """One vote, or why there is none."""

    vote: float | None
    problem: str = ""


def majority(votes: Sequence[float | None]) -> float | None:
    """The vote that more valid votes share than any other; None on a tie or without votes."""
    valid = [vote for vote in votes if vote is not None]
    ranked = sorted(((valid.count(vote), vote) for vote in set(valid)), reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]


class LlmJudgeReward:
    """An LLM as judge. Its requests are marked as side turns: the policy may judge itself."""

    name = "llm_judge"

    def __init__(
        self,
        config: LlmJudgeConfig,
        *,
        env: Mapping[str, str],
        make_nonce: Callable[[], str] = lambda: secrets.token_hex(8),
        backoff_s: float = _BACKOFF_S,
    ) -> None:
        """Read the key from `env`; nothing is sent before the first verdict."""
        self._config = config
        self._make_nonce = make_nonce
        self._backoff_s = backoff_s
        self._bound = asyncio.Semaphore(config.max_concurrency)
        key = env.get(config.api_key_env, "")
        self._client = httpx.AsyncClient(
            base_url=config.base_url.rstrip("/") + "/",
            timeout=config.timeout_s,
            headers={"X-Turn-Type": "side"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        )

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether anything was said or done after the reply."""
        return next_state.kind is not NextStateKind.SESSION_CLOSED and bool(next_state.messages)

    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Collect the votes concurrently; a tie, a majority of 0 and no valid vote abstain."""
        messages = build_messages(turn, next_state, nonce=self._make_nonce())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._vote(messages)) for _ in range(self._config.votes)]
        answers = [task.result() for task in tasks]
        votes = tuple(answer.vote for answer in answers)
        decided = majority(votes)
        return Verdict(
            turn_id=turn.turn_id,
            module=self.name,
            score=decided or None,
            judged_at=time.time(),
            votes=votes,
            explanation=_explain(answers, decided),
            prompt_digest=PROMPT_DIGEST,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _vote(self, messages: list[dict[str, str]]) -> _Answer:
        """One vote; what goes wrong is a reason, not an exception."""
        body = {
            "model": self._config.model,
            "messages": messages,
            "temperature": self._config.temperature,
            "max_tokens": self._config.max_tokens,
        }
        problem = "not asked"
        for attempt in range(self._config.retries + 1):
            async with self._bound:
                response, problem = await self._post(body)
            if response is not None and response.status_code not in _RETRYABLE:
                return _read(response)
            if attempt < self._config.retries:
                await asyncio.sleep(self._wait_s(attempt, response))
        return _Answer(None, problem)

    async def _post(self, body: dict[str, Any]) -> tuple[httpx.Response | None, str]:
        """A response of whatever status, or None where none arrived; and what is wrong with it."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await self._client.post("chat/completions", json=body)
        except (httpx.TransportError, TimeoutError) as error:
            problem = f"{type(error).__name__} at {self._config.base_url}"
            logger.warning("judge request failed: %s", problem)
            return None, problem
        return response, f"HTTP {response.status_code}"

    def _wait_s(self, attempt: int, response: httpx.Response | None) -> float:
        """Retry-After where the server names seconds, else exponential with jitter."""
        header = "" if response is None else response.headers.get("retry-after", "")
        if header.replace(".", "", 1).isdigit():
            return min(float(header), _MAX_BACKOFF_S)
        wait = self._backoff_s * 2**attempt * (1 + random.random())
        return min(wait, _MAX_BACKOFF_S)


def _read(response: httpx.Response) -> _Answer:
    """The vote in a response that is not worth retrying."""
    if response.status_code != 200:
        return _Answer(None, f"HTTP {response.status_code}")
    try:
        choice = response.json()["choices"][0]
        content, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Answer(None, "a response that is no chat completion")
    if finish == "length":
        return _Answer(None, "an answer cut off by max_tokens")
    vote = parse_vote(content) if isinstance(content, str) else None
    return _Answer(vote, "" if vote is not None else "an answer without a verdict")


def _explain(answers: Sequence[_Answer], decided: float | None) -> str:
    valid = sum(answer.vote is not None for answer in answers)
    problems = sorted({answer.problem for answer in answers if answer.problem})
    undecided = "tie" if valid else "no valid vote"
    outcome = undecided if decided is None else f"majority {decided:+g}"
    return "; ".join([f"{outcome} ({valid} of {len(answers)} votes valid)", *problems])
