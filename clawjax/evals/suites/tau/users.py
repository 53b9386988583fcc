"""Who the agent talks to: a user by script, or one played by a model.

Invariant: a user's model that is away is an environment error, never the agent's failure; a request
that it refuses for what is in it may be the agent's.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import httpx

from clawjax.config.secrets import bearer
from clawjax.evals.harness.failures import OutsideFailure
from clawjax.openai_form import wire_text

__all__ = ["STOP", "USER_KEY", "ModelUser", "ScriptedUser", "User"]

STOP = "###STOP###"
"""Said by a user who has nothing more to say: tau-bench's sign."""
USER_KEY = "CLAWJAX_USER_API_KEY"
"""Environment variable with the key of the model that plays users."""

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Before each further attempt."""
_CONTENT_REFUSED = (400, 413, 422)

_GUIDELINES = f"""\
You are a customer who talks to a service agent. Follow the scenario below. Write one short message
at a time, say nothing that the scenario does not contain, and do not tell everything at once. When
what you want is done, or the agent transfers you or cannot help, reply with {STOP} only.

"""


class User(Protocol):
    """One conversation's user."""

    def opening(self) -> str:
        """What is said first."""
        ...

    def reply(self, text: str) -> str:
        """The answer to what the agent said; with `STOP` in it the conversation is over."""
        ...


class ScriptedUser:
    """Says each line of its script once: the first whose pattern is in what the agent said."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        """Take a script: `opening`, and `replies` with `when` (a pattern) and `say`."""
        self._opening = script["opening"]
        self._left = [(re.compile(each["when"], re.I), each["say"]) for each in script["replies"]]

    def opening(self) -> str:
        """As `User.opening`."""
        return self._opening

    def reply(self, text: str) -> str:
        """As `User.reply`; with no line that fits there is nothing more to say."""
        for index, (pattern, said) in enumerate(self._left):
            if pattern.search(text):
                del self._left[index]
                return said
        return STOP


class ModelUser:
    """A model behind an OpenAI-compatible endpoint plays the scenario."""

    def __init__(
        self,
        scenario: str,
        *,
        base_url: str,
        model: str,
        seed: int,
        api_key: str | None = None,
        timeout_s: float = 50.0,
    ) -> None:
        """Nothing is asked yet; `timeout_s` is of one reply, with all attempts at it."""
        self._messages = [{"role": "system", "content": _GUIDELINES + scenario}]
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._model, self._seed, self._timeout_s = model, seed, timeout_s
        self._headers = {"X-Turn-Type": "side", **bearer(api_key)}

    def opening(self) -> str:
        """As `User.opening`.

        Raises:
            OutsideFailure: the endpoint gives no reply; so for `reply`.
            httpx.HTTPStatusError: it refuses what is in the request; so for `reply`.
        """
        return self.reply("Hi! How can I help you today?")

    def reply(self, text: str) -> str:
        """As `User.reply`."""
        self._messages.append({"role": "user", "content": wire_text(text)})
        said = self._ask(self._messages)
        self._messages.append({"role": "assistant", "content": wire_text(said)})
        return said

    def _ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        body = {"model": self._model, "messages": messages, "seed": self._seed, "max_tokens": 200}
        until, pauses = time.monotonic() + self._timeout_s, iter(_PAUSES_S)
        while True:
            left_s = until - time.monotonic()
            try:
                found = httpx.post(self._url, json=body, headers=self._headers, timeout=left_s)
                found.raise_for_status()
            except httpx.HTTPError as error:
                status = _status(error)
                if status in _CONTENT_REFUSED:
                    raise
                pause_s = next(pauses, math.inf) if _passes(status) else math.inf
                if time.monotonic() + pause_s >= until:
                    raise OutsideFailure(f"the user gave no reply: {error!r}") from error
                time.sleep(pause_s)
            else:
                return _said(found)


def _status(error: httpx.HTTPError) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _passes(status: int | None) -> bool:
    """Whether the same request may do better later; None: there was no answer."""
    return status is None or status == 429 or status >= 500


def _said(found: httpx.Response) -> str:
    try:
        return found.json()["choices"][0]["message"]["content"] or ""
    except (ValueError, LookupError, TypeError) as error:
        raise OutsideFailure(f"the user's reply is no chat completion: {error!r}") from error
