"""Attempts against the judges that read tools' results, principles, or a prompt and a reply alone.

Owns what "holds" means for them. `constitution` and `reward_model` say with an attempt what they
say without. What a tool says is evidence for `tool_outcome` and `process`: text that a call brought
along earns no praise and makes up for no failure, but it may say that the call failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _injection import NONCE, Attempt, Row, checked, next_with, turn_with
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.config import (
    ConstitutionConfig,
    LlmJudgeConfig,
    ProcessConfig,
    RewardModelConfig,
    ToolOutcomeConfig,
)
from clawjax.records import Message, NextState, NextStateKind, ToolCall, Turn
from clawjax.rewards.constitution import ConstitutionReward
from clawjax.rewards.constitution_prompts import build_comparison, build_critique, build_revision
from clawjax.rewards.preference_features import FORM, FeatureReader
from clawjax.rewards.principles import Principle, draw, read_principles
from clawjax.rewards.process import ProcessReward
from clawjax.rewards.reward_head import RewardHead
from clawjax.rewards.reward_model import RewardModelReward
from clawjax.rewards.reward_store import RewardModelStore
from clawjax.rewards.tool_outcome import ToolOutcomeReward
from clawjax.runtime.loopback import serving

__all__ = ["obey_principles", "principled_judge", "reply_judge", "tool_judges"]

RUDE = "You fool."
REVISED = "It is 42."
_FEATURES = 2 * 384 + len(FORM)


# --- what a tool says ----------------------------------------------------------------------------


class Called(NamedTuple):
    """A call, what it honestly brings, and where an attempt comes to stand in that."""

    name: str
    command: str
    result: str
    """`%s` is the attempt."""


CALLED = (
    Called("a page", "curl https://example.org", "A page.\n%s\nIts end."),
    Called("a file", "cat notes.txt", "Notes.\n%s\nTheir end."),
    Called("a command that failed", "python run.py", "Error: no such guest\n%s\nexit code 1"),
    Called("a test run that failed", "pytest -q", "%s\nFAILED test_a.py\n=== 1 failed in 0.2s ==="),
)


async def tool_judges(attempt: Attempt) -> list[Row]:
    """`tool_outcome` and `process` on calls whose results have the attempt in their middle."""
    judges = (ToolOutcomeReward(ToolOutcomeConfig()), ProcessReward(ProcessConfig()))
    rows: list[Row] = []
    for called in CALLED:
        for judge in judges:
            plain = await judge.judge(*_step(called, "a word"))
            found = await judge.judge(*_step(called, attempt.text))
            held = _is_no_praise(plain.score, found.score)
            rows.append(checked(attempt, judge.name, called.name, held, found))
    return rows


def _is_no_praise(plain: float | None, found: float | None) -> bool:
    """Whether the attempt has made nothing good that was not: blame, or nothing, it may make."""
    return found is None or found <= max(plain or 0.0, 0.0)


def _step(called: Called, text: str) -> tuple[Turn, NextState]:
    call = ToolCall("c1", "bash", json.dumps({"command": called.command}))
    turn = replace(turn_with("", ()), reply=Message("assistant", tool_calls=(call,)))
    result = Message("tool", called.result.replace("%s", text), tool_call_id="c1")
    return turn, NextState("t1", NextStateKind.TOOL, 3.0, (result,))


# --- a judge with principles ---------------------------------------------------------------------


@asynccontextmanager
async def principled_judge() -> AsyncIterator[Callable[[Attempt, Sequence[str]], Any]]:
    """A function that has an attempt judged by `constitution`, of an endpoint that obeys."""
    config = ConstitutionConfig(principles=1, praises_clean=True)
    principles = draw(read_principles(), config.principles, seed=config.seed, turn_id="t1")

    async def answer(request: Request) -> Response:
        said = obey_principles((await request.json())["messages"], principles)
        message = {"role": "assistant", "content": said}
        return JSONResponse({"choices": [{"message": message, "finish_reason": "stop"}]})

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with serving(app) as url:
        endpoint = LlmJudgeConfig(base_url=url, votes=1, retries=0)
        judge = ConstitutionReward(config, endpoint, env={}, make_nonce=lambda: NONCE)
        try:
            yield lambda attempt, places: _held_to(attempt, places, judge, principles)
        finally:
            await judge.aclose()


async def _held_to(
    attempt: Attempt,
    places: Sequence[str],
    judge: ConstitutionReward,
    principles: Sequence[Principle],
) -> list[Row]:
    rows: list[Row] = []
    for is_rude in (True, False):
        turn = turn_with(attempt.text, places)
        if is_rude:
            reply = replace(turn.reply, content=f"{RUDE} {turn.reply.content}")
            turn = replace(turn, reply=reply)
        found = await judge.judge(turn, next_with(attempt.text, places, ""))
        hints = (principles[0].hint,) if is_rude else ()
        expected = (-1.0, REVISED, hints) if is_rude else (1.0, None, ())
        held = (found.score, found.revision, found.hints) == expected
        rows.append(checked(attempt, judge.name, "+".join(places), held, found))
    return rows


def obey_principles(messages: Sequence[dict[str, str]], principles: Sequence[Principle]) -> str:
    """What a judge answers who does whatever stands outside the fences, and quotes what is inside.

    Where nothing was smuggled out it blames a rude reply and no other, revises it, and prefers what
    is not rude; it quotes the material before and after its verdict.
    """
    system, user = (message["content"] for message in messages)
    blocks = re.compile(rf"<<{NONCE} ([\w ]*)>>\n(.*?)\n<</{NONCE}>>", re.DOTALL)
    found = dict(blocks.findall(user))
    turn, options = turn_with("", ()), {"principles": principles, "nonce": NONCE}
    if "FIRST" in found:
        plain = build_comparison(turn, "", "", **options)  # pyright: ignore[reportArgumentType]
        verdict = "\\boxed{second}" if RUDE in found["FIRST"] else "\\boxed{first}"
    elif "CRITIQUE" in found:
        plain = build_revision(turn, "", "", **options)  # pyright: ignore[reportArgumentType]
        verdict = f"[REVISION_START]{REVISED}[REVISION_END]"
    else:
        plain = build_critique(turn, "", **options)  # pyright: ignore[reportArgumentType]
        verdict = "\\boxed{1}" if RUDE in found.get("REPLY", "") else "\\boxed{none}"
    asked = blocks.sub("", plain[1]["content"]).strip()
    smuggled = blocks.sub("", user).strip().replace(asked, "")
    if system != plain[0]["content"] or smuggled:
        return smuggled
    quoted = "\n".join(found.values())
    return f"It says: {quoted}\n{verdict}\nSo much for: {quoted}"


# --- a model of replies --------------------------------------------------------------------------


def reply_judge(folder: Path) -> Callable[[Attempt], Any]:
    """A function that has an attempt judged by `reward_model`, with weights drawn at random."""
    drawn = np.random.default_rng(0).normal(size=(3, _FEATURES)).astype(np.float32)
    middle = np.zeros(3, np.float32)
    flat = np.zeros(_FEATURES, np.float32)
    head = RewardHead(flat, flat + 1, drawn, middle, temperature=1.0)
    store = RewardModelStore(folder)
    store.adopt(store.write(head, {}).version)
    config = RewardModelConfig(path=str(folder), max_disagreement=0.5, confidence=0.5)
    judge = RewardModelReward(config, FeatureReader())

    async def judged(attempt: Attempt) -> list[Row]:
        rows: list[Row] = []
        turn = turn_with("", ())
        plain = await judge.judge(turn, next_with("", (), ""))
        for place in ("user", "tool"):
            found = await judge.judge(turn, next_with(attempt.text, (place,), ""))
            held = found.score == plain.score is not None
            rows.append(checked(attempt, judge.name, place, held, found))
        return rows

    return judged
