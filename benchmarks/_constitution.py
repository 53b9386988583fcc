"""What a constitution changes in replies, and what that costs, beside the base."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from clawjax.envs.persona import load_persona
from clawjax.evals.asking import Asker, PromptReply
from clawjax.evals.bootstrap import bootstrap_crossed
from clawjax.evals.material import closed_questions, is_correct, neutral_prompts
from clawjax.evals.personal import copied
from clawjax.evals.redteam import CHECKS, Tempting, is_refusal, violates

__all__ = ["HARMLESS", "REPLY_TOKENS", "STYLED", "TEMPERATURE", "arm_row", "measured"]

TEMPERATURE = 0.8
REPLY_TOKENS = 96
STYLED = "brief"
"""The persona whose style is looked at."""
LEAST_WORDS = 3
HARMLESS = 24
"""Prompts of each kind."""
BESIDE_BASE = {
    "less": ("violations", -1),
    "accuracy_lost": ("accuracy", -1),
    "style_lost": ("style", -1),
    "more_declined": ("declined", 1),
}
"""What an arm has less or more of than the base, by name."""


async def measured(
    asker: Asker, seed: int, prompts: Sequence[Tempting], system: str | None, *, is_quick: bool
) -> dict[str, Any]:
    """Violations, and what being good costs."""
    tokens, most = (16, 4) if is_quick else (REPLY_TOKENS, None)

    async def ask(texts: Sequence[str], temperature: float, max_tokens: int) -> list[PromptReply]:
        return await asker.ask(
            texts,
            seeds=[1000 * seed + index for index in range(len(texts))],
            temperature=temperature,
            max_tokens=max_tokens,
            system=system,
        )

    replies = await ask([each.prompt for each in prompts], TEMPERATURE, tokens)
    questions = closed_questions()[:most]
    answers = await ask([question.prompt for question in questions], 0.0, 32)
    neutral = await ask(neutral_prompts()[: most or HARMLESS], TEMPERATURE, tokens)
    persona = load_persona(STYLED)
    styled = await ask(persona.held_out_prompts[: most or HARMLESS], TEMPERATURE, tokens)
    told = {
        "violations": by_prompt(
            replies,
            [
                violates(each.principle, each.prompt, reply.text)
                for each, reply in zip(prompts, replies, strict=True)
            ],
        ),
        "accuracy": by_prompt(
            answers,
            [is_correct(said.text, asked) for said, asked in zip(answers, questions, strict=True)],
        ),
        "declined": by_prompt(
            [*neutral, *styled], [is_refusal(reply.text) for reply in (*neutral, *styled)]
        ),
        "style": by_prompt(styled, [persona.score(reply.text, reply.prompt) for reply in styled]),
    }
    return {
        **{name: fmean(values.values()) for name, values in told.items()},
        "by_principle": {
            name: fmean(
                told["violations"][each.prompt] for each in prompts if each.principle == name
            )
            for name in CHECKS
        },
        "mean_words": fmean(persona.count_words(reply.text) for reply in neutral),
        "empty": share_empty([reply.text for reply in neutral]),
        "samples": [
            {"prompt": said.prompt, "reply": said.text, "broken": told["violations"][said.prompt]}
            for said in replies[:8]
        ],
        "by_prompt": told,
        "replies": {reply.prompt: reply.text for reply in (*replies, *answers, *neutral, *styled)},
    }


def by_prompt(replies: Sequence[PromptReply], values: Sequence[float]) -> dict[str, float]:
    """What was found of each reply, under its prompt."""
    return {reply.prompt: float(value) for reply, value in zip(replies, values, strict=True)}


def share_empty(texts: Sequence[str]) -> float:
    """Share of the replies with less than three words, or equal to another one."""
    return fmean(
        len(text.split()) < LEAST_WORDS or is_copied
        for text, is_copied in zip(texts, copied(texts), strict=True)
    )


def arm_row(arm: str, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, beside the base on the same prompts and seeds."""
    own = [row for row in trials if row["arm"] == arm]
    names = ("violations", "accuracy", "declined", "style", "mean_words", "empty")
    found: dict[str, Any] = {
        "kind": "arm",
        "arm": arm,
        "seeds": len(own),
        **{name: fmean(row[name] for row in own) for name in names},
        "by_principle": {name: fmean(row["by_principle"][name] for row in own) for name in CHECKS},
    }
    for name, (of, sign) in BESIDE_BASE.items():
        change = [each for row in own if (each := beside_base(row, trials, of, sign))]
        found[name] = fmean(map(fmean, change)) if change else None
        found[f"{name}_ci"] = bootstrap_crossed(change) if change else None
    return found


def beside_base(
    row: dict[str, Any], trials: Sequence[dict[str, Any]], of: str, sign: int
) -> list[float]:
    """By prompt, in order: `sign` times what the trial has more than the base; empty without it."""
    base = next((r for r in trials if (r["arm"], r["seed"]) == ("base", row["seed"])), None)
    if base is None:
        return []
    own, other = row["by_prompt"][of], base["by_prompt"][of]
    return [sign * (own[prompt] - other[prompt]) for prompt in sorted(own)]
