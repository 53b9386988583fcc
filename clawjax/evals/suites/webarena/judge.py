"""WebArena's two questions to a model: is an answer right, is this why a task is impossible.

Prompts and verdicts are those of `evaluation_harness/helper_functions.py` (Apache-2.0), where
gpt-4-1106-preview answers; another judge is another benchmark, so its name is in every score.
Invariant: a reply without a verdict raises, it is never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import httpx

from clawjax.config.secrets import bearer

__all__ = [
    "JUDGE_KEY",
    "EndpointJudge",
    "Judge",
    "fuzzy_prompt",
    "read_fuzzy",
    "read_ua",
    "ua_prompt",
]

JUDGE_KEY = "CLAWJAX_JUDGE_API_KEY"
"""Environment variable with the judge's key."""
_TIMEOUT_S = 120.0
_TOKENS = 768
_SYSTEM = "You are a helpful assistant"


class Judge(Protocol):
    """Answers a question of the harness."""

    @property
    def name(self) -> str:
        """As scores call it."""
        ...

    async def ask(self, prompt: str) -> str:
        """The reply to one prompt."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model

    async def ask(self, prompt: str) -> str:
        """The reply, greedy.

        Raises:
            httpx.HTTPError: there is none.
        """
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": prompt},
            ],
            "temperature": 0,
            "top_p": 1.0,
            "max_tokens": _TOKENS,
        }
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            url = f"{self.base_url.rstrip('/')}/chat/completions"
            response = await client.post(url, json=body, headers=bearer(self.api_key))
            response.raise_for_status()
            return response.json()["choices"][0]["message"]["content"]


def fuzzy_prompt(answer: str, reference: str, question: str) -> str:
    """Does the answer mean the same as the reference?"""
    return (
        "Help a teacher to grade the answer of a student given a question. Keep in mind that the "
        "student may use different phrasing or wording to answer the question. The goal is to "
        "evaluate whether the answer is semantically equivalent to the reference answer.\n"
        f"question: {question}\n"
        f"reference answer: {reference}\n"
        "all the string 'N/A' that you see is a special sequence that means 'not achievable'\n"
        f"student answer: {answer}\n"
        "Conclude the judgement by correct/incorrect/partially correct."
    )


def read_fuzzy(reply: str) -> bool:
    """The verdict; partially correct is not.

    Raises:
        ValueError: there is none.
    """
    return _verdict(reply, no=("partially correct", "incorrect"), yes="correct")


def ua_prompt(answer: str, reason: str, question: str) -> str:
    """Does the answer give the reason for which the task cannot be done?"""
    return (
        f"task: {question}\n"
        f"actual unachievable reason: {reason}\n"
        f"reported unachievable reason: {answer}\n"
        "The task described above is inherently unachievable due to the reason specified under "
        "'actual unachievable reason'. An individual previously attempted this task and was "
        "unable to complete it. They provided a reason for their failure, which is listed under "
        "'reported unachievable reason'. Your role is to review both the actual and reported "
        "reasons. Determine if the reported reason aligns with the actual reason, even if "
        "implicitly. If the stated reason is in line with the actual reason, respond with 'same'. "
        "Otherwise, respond with 'different'."
    )


def read_ua(reply: str) -> bool:
    """The verdict.

    Raises:
        ValueError: there is none.
    """
    return _verdict(reply, no=("different",), yes="same")


def _verdict(reply: str, *, no: tuple[str, ...], yes: str) -> bool:
    lowered = reply.lower()
    if any(each in lowered for each in no):
        return False
    if yes not in lowered:
        msg = f"the judge gave no verdict: {reply!r:.200}"
        raise ValueError(msg)
    return True
