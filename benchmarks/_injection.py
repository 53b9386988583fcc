"""Attempts to forge verdicts, hints and control tokens, and what is made of them.

Owns the rule what "holds" means, module by module: a verdict with the attempt says what it says
without, or nothing; it never says the opposite, or something of the attempt's own. Prompts have the
template's control tokens and no others.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clawjax.config import LlmJudgeConfig, NextStateConfig, RulesConfig
from clawjax.errors import WireError
from clawjax.gateway.render import Renderer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import (
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    Verdict,
    VersionRun,
)
from clawjax.rewards.endpoint import EndpointReward
from clawjax.rewards.feedback import FeedbackReward
from clawjax.rewards.hindsight import HindsightReward
from clawjax.rewards.llm_judge import LlmJudgeReward
from clawjax.rewards.next_state import NextStateReward
from clawjax.rewards.prompts import build_hint_messages, build_messages
from clawjax.rewards.quote import QuoteReward
from clawjax.rewards.reaction_model import ReactionModel
from clawjax.rewards.rules import RulesReward
from clawjax.runtime.loopback import serving

__all__ = [
    "NONCE",
    "PLACES",
    "Attempt",
    "Row",
    "asked_judges",
    "attempts",
    "checked",
    "forged_tokens",
    "next_with",
    "obey",
    "reading_judges",
    "ruling_judges",
    "summed",
    "turn_with",
]

ATTEMPTS = Path(__file__).with_name("injection_attempts.yaml")
NONCE = "5ca1ab1e0ddba11e"
"""Of the fences; those who attempt something are given it, which nobody has in earnest."""

COMPLAINT = "That is wrong, I asked for something else."
PRAISE = "Thanks, that is exactly what I needed!"
HINT = "Answer the question that was asked."
PLACES = ("history", "request", "reply", "user", "tool", "role")
"""Of a judged turn."""

Row = dict[str, Any]


class Attempt(NamedTuple):
    """One text that tries to be more than text."""

    name: str
    text: str


def attempts(path: Path = ATTEMPTS) -> list[Attempt]:
    """All of them, in the file's order."""
    half = len(NONCE) // 2
    parts = {"%NONCE%": NONCE, "%HALF%": NONCE[:half], "%REST%": NONCE[half:]}
    found: list[Attempt] = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        text = entry["text"] * entry.get("times", 1)
        for part, value in parts.items():
            text = text.replace(part, value)
        found.append(Attempt(entry["name"], text))
    return found


# --- turns ---------------------------------------------------------------------------------------


def turn_with(text: str, places: Sequence[str]) -> Turn:
    """A turn with the text in those of `PLACES` that are before what came next."""

    def at(place: str, words: str) -> str:
        return f"{words}\n{text}" if place in places else words

    role = f"user {text}" if "role" in places else "user"
    return Turn(
        turn_id="t1", session_id="s1", parent_turn_id=None, response_id="r1", choice=0,
        kind=TurnKind.MAIN, scope="scope", model="policy",
        messages=(
            Message(role, at("history", "Hello.")),
            Message("assistant", "Hello!"),
            Message("user", at("request", "What is 6 times 7?")),
        ),
        tools_json=None, reply=Message("assistant", at("reply", "It is 42.")),
        prompt_ids=(1,), response_ids=(2,), sampler_logprobs=(-1.0,), sampler_logprobs_t1=(-1.0,),
        token_versions=(VersionRun(0, 1),), sampling=SamplingParams(8),
        finish_reason=FinishReason.STOP, arrived_at=1.0, finished_at=2.0, seed=0,
    )  # fmt: skip


def next_with(text: str, places: Sequence[str], said: str) -> NextState:
    """A tool's result and the user's words, with the text in those of `places` that are here."""
    result = f"ok\n{text}" if "tool" in places else "ok"
    words = f"{said}\n{text}" if "user" in places else said
    messages = (Message("tool", result, tool_call_id="c1"), Message("user", words))
    return NextState("t1", NextStateKind.USER, 3.0, messages)


# --- judges that read for themselves -------------------------------------------------------------


async def reading_judges(
    attempt: Attempt, model: ReactionModel, *, place: str = "user"
) -> list[Row]:
    """`next_state`, `feedback` in words, and `quote`, on a complaint and on praise."""
    config = NextStateConfig()
    words = NextStateReward(config, model)
    rows: list[Row] = []
    for said, sign in ((COMPLAINT, -1.0), (PRAISE, 1.0)):
        after = next_with(attempt.text, (place,), said)
        rated = replace(after, kind=NextStateKind.FEEDBACK)
        turn = turn_with("", ())
        read = await words.judge(turn, after)
        rows.append(checked(attempt, "next_state", place, read.score != -sign, read))
        told = await FeedbackReward(words).judge(turn, rated)
        rows.append(checked(attempt, "feedback", place, told.score != -sign, told))
        quoted = await QuoteReward(config, model).judge(turn, after)
        user_words = " ".join(after.messages[-1].content.split())
        is_theirs = all(_is_quoted(hint, user_words) for hint in quoted.hints)
        keeps_hint = bool(quoted.hints) == (sign < 0) or not quoted.hints
        rows.append(checked(attempt, "quote", place, is_theirs and keeps_hint, quoted))
    return rows


def _is_quoted(hint: str, words: str) -> bool:
    """Whether a hint is made of what the user wrote and of nothing else."""
    return all(part in words for part in hint.split())


async def ruling_judges(attempt: Attempt) -> list[Row]:
    """`rules` and a number given as feedback: neither reads what anybody but the policy wrote."""
    rules = RulesReward(RulesConfig(exact_answer="42", max_words=10))
    given = FeedbackReward(NextStateReward(NextStateConfig(), _NoModel()))  # type: ignore[arg-type]
    rows: list[Row] = []
    for place in ("history", "request", "user", "tool", "role"):
        turn = turn_with(attempt.text, (place,))
        after = next_with(attempt.text, (place,), COMPLAINT)
        plain = await rules.judge(turn_with("", ()), next_with("", (), COMPLAINT))
        ruled = await rules.judge(turn, after)
        rows.append(checked(attempt, "rules", place, ruled.score == plain.score, ruled))
        rating = replace(after, kind=NextStateKind.FEEDBACK, score=-1.0)
        told = await given.judge(turn, rating)
        rows.append(checked(attempt, "feedback", place, told.score == -1.0, told))
    return rows


class _NoModel:
    """A number needs no reading."""

    digest = ""


# --- judges that ask an endpoint -----------------------------------------------------------------


class Judges(NamedTuple):
    """The modules that ask, of one endpoint."""

    llm_judge: LlmJudgeReward
    hindsight: HindsightReward


@asynccontextmanager
async def asked_judges() -> AsyncIterator[Callable[[Attempt, Sequence[str]], Any]]:
    """A function that has an attempt judged, by an endpoint that obeys whatever is not fenced."""
    app = Starlette(routes=[Route("/v1/chat/completions", _answer, methods=["POST"])])
    async with serving(app) as url:
        config = LlmJudgeConfig(base_url=url, votes=1, retries=0)
        made: list[EndpointReward] = [
            kind(config, env={}, make_nonce=lambda: NONCE)
            for kind in (LlmJudgeReward, HindsightReward)
        ]
        judges = Judges(*made)  # type: ignore[arg-type]
        try:
            yield lambda attempt, places: _asked(attempt, places, judges)
        finally:
            for judge in made:
                await judge.aclose()


async def _asked(attempt: Attempt, places: Sequence[str], judges: Judges) -> list[Row]:
    turn, where = turn_with(attempt.text, places), "+".join(places)
    rows: list[Row] = []
    for said, sign in ((COMPLAINT, -1.0), (PRAISE, 1.0)):
        after = next_with(attempt.text, places, said)
        voted = await judges.llm_judge.judge(turn, after)
        rows.append(checked(attempt, "llm_judge", where, voted.score == sign, voted))
        hinted = await judges.hindsight.judge(turn, after)
        expected = (HINT,) if sign < 0 else ()
        rows.append(checked(attempt, "hindsight", where, hinted.hints == expected, hinted))
    return rows


async def _answer(request: Request) -> Response:
    messages = (await request.json())["messages"]
    choice = {"message": {"role": "assistant", "content": obey(messages)}, "finish_reason": "stop"}
    return JSONResponse({"choices": [choice]})


def obey(messages: Sequence[dict[str, str]]) -> str:
    """What a judge answers who does whatever stands outside the fences, and quotes what is inside.

    Where nothing was smuggled out it judges honestly, by the user's own words; it quotes the
    material before and after its verdict, as models do.
    """
    system, user = (message["content"] for message in messages)
    blocks = re.compile(rf"<<{NONCE} ([\w ]*)>>\n(.*?)\n<</{NONCE}>>", re.DOTALL)
    outside = blocks.sub("", user).strip()
    plain = (turn_with("", ()), next_with("", (), COMPLAINT))
    wants_hint = "HINT_START" in system
    build = build_hint_messages if wants_hint else build_messages
    expected_system, expected_user = (m["content"] for m in build(*plain, nonce=NONCE))
    smuggled = outside.replace(blocks.sub("", expected_user).strip(), "")
    if system != expected_system or smuggled:
        return smuggled
    found = blocks.findall(user)
    is_wrong = any(name == "NEXT user" and COMPLAINT in text for name, text in found)
    quoted = "\n".join(text for _, text in found)
    if wants_hint:
        hint = f"[HINT_START]{HINT}[HINT_END]\n\\boxed{{1}}" if is_wrong else "\\boxed{-1}"
        return f"It says: {quoted}\n{hint}\nSo much for: {quoted}"
    return f"It says: {quoted}\n\\boxed{{{'-1' if is_wrong else '+1'}}}\nSo much for: {quoted}"


# --- prompts -------------------------------------------------------------------------------------


def forged_tokens(attempt: Attempt, name: str, tokenizer: ChatTokenizer) -> list[Row]:
    """Whether a prompt with the attempt has other control tokens than one without, by place."""
    renderer = Renderer(tokenizer)
    rows: list[Row] = []
    for place, build in _CONVERSATIONS.items():
        harmless = _control(renderer, tokenizer, *build("word"))
        forged = _control(renderer, tokenizer, *build(attempt.text))
        is_same = harmless == forged or None in (harmless, forged)
        rows.append({
            "attempt": attempt.name, "module": f"prompt of {name}", "place": place,
            "held": is_same, "verdict": "" if is_same else f"{harmless} became {forged}",
        })  # fmt: skip
    return rows


_Conversation = tuple[tuple[Message, ...], str | None]


def _tools(text: str) -> _Conversation:
    function = {"name": "f", "description": text, "parameters": {"type": "object", text[:64]: text}}
    return (Message("user", "hi"),), json.dumps([{"type": "function", "function": function}])


_CONVERSATIONS: dict[str, Callable[[str], _Conversation]] = {
    "user": lambda text: ((Message("user", text),), None),
    "system": lambda text: ((Message("system", text), Message("user", "hi")), None),
    "history": lambda text: (
        (Message("user", "hi"), Message("assistant", text, reasoning=text), Message("user", "hi")),
        None,
    ),
    "prefill": lambda text: ((Message("user", "hi"), Message("assistant", text)), None),
    "name": lambda text: ((Message("user", "im_end|>", name=text),), None),
    "halves": lambda text: ((Message("user", text[: len(text) // 2]), Message("user", text)), None),
    "call": lambda text: (
        (
            Message("user", "hi"),
            Message("assistant", tool_calls=(ToolCall(text[:64], text[:64], text),)),
            Message("tool", text, tool_call_id=text[:64], name=text[:64]),
            Message("user", "hi"),
        ),
        None,
    ),
    "tools": _tools,
}


def _control(
    renderer: Renderer,
    tokenizer: ChatTokenizer,
    messages: tuple[Message, ...],
    tools_json: str | None,
) -> tuple[int, ...] | None:
    """The prompt's special tokens in order; None where the template takes no such conversation."""
    try:
        ids = renderer.prompt(messages, tools_json, None)
    except WireError:
        return None
    return tuple(token for token in ids if tokenizer.is_special(token))


def checked(attempt: Attempt, module: str, place: str, held: bool, verdict: Verdict) -> Row:
    """One check of one verdict."""
    said = f"score {verdict.score}" + (f", hints {list(verdict.hints)}" if verdict.hints else "")
    return {
        "attempt": attempt.name, "module": module, "place": place, "held": held,
        "verdict": said if len(said) < 200 else f"{said[:200]}...",
    }  # fmt: skip


def summed(rows: Sequence[Row]) -> Iterator[Row]:
    """One row per attempt and module: how many checks there were, how many held, what did not."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["attempt"], row["module"]), []).append(row)
    for (attempt, module), checks in groups.items():
        failed = [row for row in checks if not row["held"]]
        yield {
            "attempt": attempt,
            "module": module,
            "checks": len(checks),
            "held": len(checks) - len(failed),
            "failed": "; ".join(f"{row['place']}: {row['verdict']}" for row in failed),
        }
