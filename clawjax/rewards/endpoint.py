"""Any OpenAI-compatible endpoint, asked for short answers in words.

Owns the one HTTP client of a judge. Invariant: every request has a time-out and few retries, a
semaphore bounds them, and an answer that cannot be used is a reason, not an exception: only an
endpoint that answers nothing at all, or nobody before its settings are mended, is one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx

from clawjax.config import LlmJudgeConfig
from clawjax.config.secrets import bearer, read_key
from clawjax.errors import JudgeAwayError
from clawjax.records import NextState, NextStateKind, Turn, Verdict
from clawjax.rewards.prompts import build_closing, closing_format, holds_verdict, read_closing

__all__ = ["BACKOFF_S", "Answer", "EndpointReward", "JudgeEndpoint", "Usage", "new_nonce"]

logger = logging.getLogger(__name__)

BACKOFF_S = 0.5
_PASSING = frozenset({408, 409, 425, 429})
"""Besides what is the server's own fault (500 and above, as a proxy's 524 or an overload's 529)."""
_REFUSING = frozenset({401, 402, 403, 404, 405})
"""A wrong key, no credit, a wrong address or model: what is refused now, whatever is asked. So are
answers that name another address, which a question is not sent on to."""
_MAX_BACKOFF_S = 20.0
_CLOSING_TOKENS = 64
"""Room for a closing verdict at least: its JSON, a token per character."""


class Answer(NamedTuple):
    """What the endpoint said, or why it said nothing."""

    text: str | None
    problem: str = ""
    is_away: bool = False
    """It could not be asked: no answer at all, or one that says to come back or refuses."""
    beginning: str = ""
    """Of an answer that was cut off, what there is."""


@dataclass(slots=True)
class Usage:
    """What asking has cost since start-up; tokens as far as the endpoint counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class JudgeEndpoint:
    """Asks; its requests are marked as side turns, since the policy may judge itself."""

    def __init__(
        self, config: LlmJudgeConfig, *, env: Mapping[str, str], backoff_s: float = BACKOFF_S
    ) -> None:
        """Read the key from `env`; nothing is sent before the first question."""
        self.usage = Usage()
        self.answered = 0
        """Questions that it has taken, whatever it said."""
        self.is_away = False
        """Whether the last one it was asked was not."""
        self._config = config
        self._backoff_s = backoff_s
        self._bound = asyncio.Semaphore(config.max_concurrency)
        self._client = httpx.AsyncClient(
            base_url=config.base_url.rstrip("/") + "/",
            timeout=config.timeout_s,
            headers={"X-Turn-Type": "side", **bearer(read_key(config.api_key_env, env))},
        )

    async def ask_all(
        self, messages: Sequence[Mapping[str, str]], *, choices: Sequence[str] = ()
    ) -> list[Answer]:
        """As many independent answers as `votes` says, collected concurrently.

        Args:
            messages: the question.
            choices: what the box at the end of an answer may hold; where it holds none of them and
                the judge `insists`, the verdict is asked for alone and put behind the answer.

        Raises:
            JudgeAwayError: there is not one.
        """
        answers = await self._collect([messages] * self._config.votes, choices)
        if all(answer.is_away for answer in answers):
            raise _away(answers)
        return answers

    async def ask_each(
        self,
        questions: Sequence[Sequence[Mapping[str, str]]],
        *,
        choices: Sequence[str] = (),
    ) -> list[Answer]:
        """One answer to each question, collected concurrently; `choices` as in `ask_all`.

        Raises:
            JudgeAwayError: one is missing.
        """
        answers = await self._collect(questions, choices)
        if any(answer.is_away for answer in answers):
            raise _away(answers)
        return answers

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, choices: Sequence[str] = ()
    ) -> Answer:
        """One answer; `choices` as in `ask_all`.

        Raises:
            JudgeAwayError: there is none.
        """
        return (await self.ask_each([messages], choices=choices))[0]

    async def _collect(
        self, questions: Sequence[Sequence[Mapping[str, str]]], choices: Sequence[str]
    ) -> list[Answer]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._closed(messages, choices)) for messages in questions]
        return [task.result() for task in tasks]

    async def _closed(
        self, messages: Sequence[Mapping[str, str]], choices: Sequence[str]
    ) -> Answer:
        """An answer, with a verdict behind it where the judge is held to one."""
        answer = await self._answer(messages)
        is_closed = answer.text is not None and holds_verdict(answer.text, choices)
        said = answer.beginning if answer.text is None else answer.text
        if is_closed or not (self._config.insists and choices and said):
            return answer
        closing, kept = build_closing(messages, said)
        closed = await self._answer(
            closing,
            response_format=closing_format(choices),
            max_tokens=max(self._config.max_tokens, _CLOSING_TOKENS),
        )
        if closed.is_away:
            return closed
        verdict = None if closed.text is None else read_closing(closed.text, choices)
        if verdict is None:
            why = closed.problem or "it keeps to no form"
            logger.warning("%s gives no verdict when held to one: %s", self._config.base_url, why)
            return answer
        return Answer(f"{kept}\n{verdict}")

    async def _answer(self, messages: Sequence[Mapping[str, str]], **more: object) -> Answer:
        body = {
            "model": self._config.model,
            "messages": messages,
            "temperature": self._config.temperature,
            "max_tokens": self._config.max_tokens,
            **more,
        }
        problem = "not asked"
        for attempt in range(self._config.retries + 1):
            async with self._bound:
                response, problem = await self._post(body)
            is_refusing = response is not None and _is_refusing(response.status_code)
            self.is_away = response is None or is_refusing or _is_passing(response.status_code)
            if response is not None and not self.is_away:
                self.answered += 1
                self._count(response)
                return _read(response)
            if is_refusing:  # asking again at once would not help
                return Answer(None, f"{problem} at {self._remedy()}", is_away=True)
            if attempt < self._config.retries:
                await asyncio.sleep(self._wait_s(attempt, response))
        return Answer(None, problem, is_away=True)

    def _remedy(self) -> str:
        """Where nobody is answered, and what may be wrong."""
        return (
            f"{self._config.base_url}: check reward.llm_judge.base_url, "
            f"reward.llm_judge.model={self._config.model} and the key in {self._config.api_key_env}"
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, body: dict[str, Any]) -> tuple[httpx.Response | None, str]:
        """A response of whatever status, or None where none arrived; and what is wrong with it."""
        self.usage.requests += 1
        try:
            async with asyncio.timeout(self._config.timeout_s):
                response = await self._client.post("chat/completions", json=body)
        except (httpx.RequestError, TimeoutError) as error:
            problem = f"{type(error).__name__} at {self._config.base_url}"
            logger.warning("judge request failed: %s", problem)
            return None, problem
        return response, f"HTTP {response.status_code}"

    def _count(self, response: httpx.Response) -> None:
        """Add the tokens that the response says it took, if it says so."""
        try:
            usage = response.json()["usage"]
            prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except (ValueError, LookupError, TypeError):
            return
        self.usage.prompt_tokens += prompt
        self.usage.completion_tokens += completion

    def _wait_s(self, attempt: int, response: httpx.Response | None) -> float:
        """Retry-After where the server names seconds, else exponential with jitter."""
        header = "" if response is None else response.headers.get("retry-after", "")
        if header.replace(".", "", 1).isdecimal():
            return min(float(header), _MAX_BACKOFF_S)
        wait = self._backoff_s * 2**attempt * (1 + random.random())
        return min(wait, _MAX_BACKOFF_S)


def _is_passing(status: int) -> bool:
    return status in _PASSING or status >= 500


def _is_refusing(status: int) -> bool:
    return status in _REFUSING or 300 <= status < 400


def _away(answers: Sequence[Answer]) -> JudgeAwayError:
    problems = sorted({answer.problem for answer in answers if answer.is_away})
    return JudgeAwayError(f"the judge cannot be asked: {', '.join(problems)}")


def _read(response: httpx.Response) -> Answer:
    """The text in a response that is not worth retrying."""
    if response.status_code != 200:
        return Answer(None, f"HTTP {response.status_code}")
    try:
        choice = response.json()["choices"][0]
        content, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Answer(None, "a response that is no chat completion")
    if finish == "length":
        beginning = content if isinstance(content, str) else ""
        return Answer(None, "an answer cut off by max_tokens", beginning=beginning)
    return Answer(content) if isinstance(content, str) else Answer(None, "an answer without text")


def new_nonce() -> str:
    """What fences the material of one call."""
    return secrets.token_hex(8)


class EndpointReward(ABC):
    """A reward module that asks an endpoint about whatever came after a reply."""

    name: str

    def __init__(
        self,
        config: LlmJudgeConfig,
        *,
        env: Mapping[str, str],
        make_nonce: Callable[[], str] = new_nonce,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        """Read the key from `env`; nothing is sent before the first turn."""
        self._endpoint = JudgeEndpoint(config, env=env, backoff_s=backoff_s)
        self._make_nonce = make_nonce

    @property
    def usage(self) -> Usage:
        """What judging has cost so far."""
        return self._endpoint.usage

    @property
    def answered(self) -> int:
        """How many questions the endpoint has taken so far."""
        return self._endpoint.answered

    @property
    def is_away(self) -> bool:
        """Whether it took none when it was asked last."""
        return self._endpoint.is_away

    def applies(self, turn: Turn, next_state: NextState) -> bool:
        """Whether anything was said or done after the reply."""
        return next_state.kind is not NextStateKind.SESSION_CLOSED and bool(next_state.messages)

    @abstractmethod
    async def judge(self, turn: Turn, next_state: NextState) -> Verdict:
        """Ask, and make a verdict of the answers.

        Raises:
            JudgeAwayError: there is none.
        """

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()
