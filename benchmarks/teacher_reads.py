"""What helps a teacher: does the base model do better once it has read what only hindsight knows?

`python benchmarks/teacher_reads.py [--quick] [--personas A,B]` lets the base model answer held-out
prompts of each persona after reading nothing, one or three exchanges that the user praised (its
own best answers to training questions), the user's complaints as hints, or the wish itself. What
does not help the base model to answer cannot help it to teach. About four minutes a persona on one
CPU core; `--quick` is the tiny random model, which shows that the script works.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openai
from _config import composed
from _result import Goal, write_result

from clawjax.config import RunConfig
from clawjax.envs.persona import Persona, load_persona, shipped_personas
from clawjax.evals.bootstrap import bootstrap_mean
from clawjax.learner.teacher import HINT_FORM
from clawjax.models.load import load_model
from clawjax.runtime.build import use_compilation_cache
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.paths import RunPaths

TINY = ("suite=tiny", "model=tiny", "engine=tiny", "learner=tiny", "user.max_tokens=16")
ASKED = 32
"""Training questions answered in search of exchanges to show, and held-out prompts scored."""
HINTS = 8
"""Complaints read together."""

Chat = list[dict[str, str]]
Build = Callable[[str, random.Random], Chat]
"""The conversation that ends with a held-out prompt."""


def main() -> None:
    """Ask, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--personas", type=lambda text: text.split(","), default=None)
    options = parser.parse_args()
    personas = options.personas or (["brief"] if options.quick else list(shipped_personas()))
    rows = asyncio.run(measure(configure(is_quick=options.quick), personas))
    write_result(
        "teacher_reads_quick" if options.quick else "teacher_reads",
        rows=rows,
        goals=goals(rows),
        command=" ".join(["python benchmarks/teacher_reads.py", *sys.argv[1:]]),
        notes={
            "style_score": f"share of {ASKED} sampled replies that meet the wish; ci: bootstrap",
            "praised": "exchanges there were to show; a persona without any has no such rows",
        },
    )


def configure(*, is_quick: bool) -> RunConfig:
    """The suite's configuration, in a folder that is thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="teacher_reads_"))
    return composed(folder, *(TINY if is_quick else ("suite=personal",)), root="evaluate")


async def measure(config: RunConfig, personas: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of all personas, by one base model."""
    use_compilation_cache(config)
    model = load_model(config.model, seed=0)
    paths = RunPaths(Path(config.run.dir))
    paths.prepare()
    rows: list[dict[str, Any]] = []
    async with (
        Lockstep.open(config, paths, model) as lockstep,
        openai.AsyncOpenAI(base_url=lockstep.base_url, api_key="none", timeout=600) as client,
    ):
        ask = Ask(client, config)
        for name in personas:
            rows += await measure_persona(ask, load_persona(name))
    return rows


class Ask:
    """Side turns to one endpoint, some at a time."""

    def __init__(self, client: openai.AsyncOpenAI, config: RunConfig) -> None:
        """Sample as the suite's users do."""
        self._client, self._config = client, config
        self._gate = asyncio.Semaphore(config.engine.slots)

    async def __call__(self, chats: Sequence[Chat], *, seed: int) -> list[str]:
        """One reply per conversation."""
        return await asyncio.gather(*(self._one(chat, seed + i) for i, chat in enumerate(chats)))

    async def _one(self, chat: Any, seed: int) -> str:
        user = self._config.user
        async with self._gate:
            completion = await self._client.chat.completions.create(
                model=self._config.model.name,
                messages=chat,
                temperature=user.temperature,
                max_tokens=user.max_tokens,
                seed=seed,
                extra_headers={"X-Turn-Type": "side"},
            )
        return completion.choices[0].message.content or ""


async def measure_persona(ask: Ask, persona: Persona) -> list[dict[str, Any]]:
    """A row for each thing that can be read."""
    praised = await exchanges(ask, persona)
    rows = []
    for name, build in readings(persona, praised).items():
        prompts = persona.held_out_prompts[:ASKED]
        chats = [build(prompt, random.Random(prompt)) for prompt in prompts]
        replies = await ask(chats, seed=10_000)
        scores = [
            persona.score(reply, prompt) for reply, prompt in zip(replies, prompts, strict=True)
        ]
        rows.append(
            {
                "persona": persona.name,
                "reads": name,
                "praised": len(praised),
                "style_score": sum(scores) / len(scores),
                "ci": bootstrap_mean(scores),
                "mean_words": sum(map(persona.count_words, replies)) / len(replies),
                "n": len(scores),
            }
        )
        print(persona.name, name, round(rows[-1]["style_score"], 2), flush=True)
    return rows


async def exchanges(ask: Ask, persona: Persona) -> list[tuple[str, str]]:
    """Training questions and replies of the base model that meet the wish."""
    questions = [question.text for question in persona.train]
    random.Random(persona.name).shuffle(questions)
    replies = await ask([chat(question) for question in questions[:ASKED]], seed=0)
    pairs = zip(questions, replies, strict=False)
    return [(question, reply) for question, reply in pairs if persona.score(reply, question) >= 1]


def readings(persona: Persona, praised: Sequence[tuple[str, str]]) -> dict[str, Build]:
    """How the prompt is presented, by what is read besides it."""
    complaints = [text for _, phrasings in persona.complaints for text in phrasings]

    def shown(count: int) -> Build:
        def build(prompt: str, rng: random.Random) -> Chat:
            before: Chat = []
            for question, reply in rng.sample(praised, min(count, len(praised))):
                before += [*chat(question), {"role": "assistant", "content": reply}]
            return [*before, *chat(prompt)]

        return build

    def complained(prompt: str, rng: random.Random) -> Chat:
        chosen = rng.sample(complaints, min(HINTS, len(complaints)))
        hint = " ".join(text.format(topic="this", words=120) for text in chosen)
        return chat(prompt + HINT_FORM.format(hint=hint))

    def told(prompt: str, _: random.Random) -> Chat:
        wish = f"You are a helpful assistant. The user {persona.description}."
        return [{"role": "system", "content": wish}, *chat(prompt)]

    found: dict[str, Build] = {"nothing": lambda prompt, _: chat(prompt)}
    if praised:
        found |= {"1 praised exchange": shown(1), "3 praised exchanges": shown(3)}
    return found | {f"{HINTS} complaints": complained, "the wish": told}


def chat(prompt: str) -> Chat:
    """A conversation of one message."""
    return [{"role": "user", "content": prompt}]


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Mean change over personas against reading nothing."""
    return [
        Goal(
            f"change by reading {name}, mean of {len({row['persona'] for row in rows})} personas",
            ">=",
            0.1,
            change(rows, name),
            "share",
        )
        for name in ("3 praised exchanges", f"{HINTS} complaints")
    ]


def change(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Of the style score, over the personas that have both; None where none has."""
    plain = {row["persona"]: row["style_score"] for row in rows if row["reads"] == "nothing"}
    changes = [row["style_score"] - plain[row["persona"]] for row in rows if row["reads"] == name]
    return sum(changes) / len(changes) if changes else None


if __name__ == "__main__":
    main()
