"""A personal agent as a suite: conversations with users whose taste it is not told.

Each user is a persona (`clawjax.envs.persona`) that asks held-out questions, says what it thinks of
a reply, and puts a question again once where the reply is not to its taste. Score: the persona's
style score where the question is answered, else 0; one half for first replies, the other for last
ones (`scoring`). All of it is by program.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clawjax.envs.persona import Persona, load_persona, shipped_personas
from clawjax.errors import ConfigError
from clawjax.evals.harness.parsing import reply_parser, say
from clawjax.evals.harness.protocols import Launch, Suite, furthest_from_nothing
from clawjax.evals.harness.tasks import Action, Brief, Limits, Reference, Task
from clawjax.evals.harness.trajectory import Message, Score, Trajectory
from clawjax.evals.suites import read_options
from clawjax.evals.suites.personal_agent.conversation import ASKED_AT_MOST, Conversation
from clawjax.evals.suites.personal_agent.exploits import EXPLOITS
from clawjax.evals.suites.personal_agent.scoring import FIRST, SETTLED, Known, score_replies

__all__ = ["QUESTIONS", "VERSION", "PersonalAgentOptions", "build"]

VERSION = "1"
QUESTIONS = Path(__file__).parents[2] / "data" / "personal_agent.json"
"""Held-out questions of the personas, what answers them, and a reply that each would like."""

_PER_CONVERSATION = 2
_WORDS = ("well", "then", "so", "it", "is", "as", "you", "say", "and", "that", "may", "be", "here")


@dataclass(frozen=True, slots=True)
class PersonalAgentOptions:
    """`suite.options` of the personal agent."""

    personas: list[str] = field(default_factory=list)
    """These only; empty: all."""
    path: str | None = None
    """A file of one's own like ours (`data/personal_agent.json`); None: ours."""


def build(options: Mapping[str, Any]) -> Suite:
    """The suite.

    Raises:
        ConfigError: a file or a persona that is not there, or a question that is not held out.
    """
    chosen = read_options(PersonalAgentOptions, options)
    file = QUESTIONS if chosen.path is None else Path(chosen.path)
    entries = _read(file)
    names = [entry["persona"] for entry in entries]
    for name in chosen.personas:
        if name not in names:
            msg = f"suite.options.personas names {name!r}, which {file} lacks: use {names}"
            raise ConfigError(msg)
    entries = [e for e in entries if not chosen.personas or e["persona"] in chosen.personas]
    personas = {_anywhere(e["persona"]): load_persona(e["persona"]) for e in entries}
    return Suite(
        name="personal_agent",
        version=VERSION,
        tasks=tuple(task for entry in entries for task in _tasks(entry, personas)),
        launch=Launch("clawjax.evals.suites.personal_agent.environment:PersonalEnvironment"),
        parser=reply_parser(say),
        scorer=partial(_score, personas),
        oracle=_oracle,
        random_action=_random,
        exploits=EXPLOITS,
        progress=furthest_from_nothing,
        licence="our own: Apache-2.0" if chosen.path is None else "",
    )


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"suite.options.path={file} cannot be read ({error}): use one like {QUESTIONS}"
        raise ConfigError(msg) from error


def _anywhere(persona: str) -> str:
    """The same persona in an environment's process, whose working directory is its own."""
    if persona in shipped_personas():
        return persona
    return str(Path(persona).expanduser().resolve())


def _tasks(entry: Mapping[str, Any], personas: Mapping[str, Persona]) -> list[Task]:
    """A persona's questions, a few per conversation."""
    name, questions = _anywhere(entry["persona"]), entry["questions"]
    Conversation(name, [each["prompt"] for each in questions], seed=0)  # refuses what is trained on
    told = json.dumps(entry, sort_keys=True) + repr(personas[name])
    version = hashlib.sha256(told.encode()).hexdigest()
    starts = range(0, len(questions), _PER_CONVERSATION)
    return [
        _task(name, number, start, questions, version) for number, start in enumerate(starts, 1)
    ]


def _task(
    persona: str, number: int, start: int, questions: Sequence[Mapping[str, Any]], version: str
) -> Task:
    end = start + _PER_CONVERSATION
    asked, others = questions[start:end], [*questions[:start], *questions[end:]]
    return Task(
        suite="personal_agent",
        task_id=f"{Path(persona).stem}-{number}",
        instruction="",
        limits=Limits(turns=ASKED_AT_MOST * len(asked) + 2),
        options={"persona": persona, "prompts": [each["prompt"] for each in asked]},
        reference=Reference(
            steps=len(asked),
            extra={"asked": _known(asked), "others": _known(others)},
        ),
        metadata={"persona": Path(persona).stem},
        data_version=version,
    )


def _known(questions: Sequence[Mapping[str, Any]]) -> list[Known]:
    return [Known(each["prompt"], tuple(each["mentions"]), each["reply"]) for each in questions]


async def _score(personas: Mapping[str, Persona], task: Task, trajectory: Trajectory) -> Score:
    persona, gold = personas[task.options["persona"]], task.reference.extra
    replies = [str(action.arguments["text"]) for action in trajectory.actions]
    parts = score_replies(
        persona, gold["asked"], gold["others"], replies, trajectory.after["answered"]
    )
    told = f"{FIRST:g} x first + {SETTLED:g} x settled; the user {persona.description}"
    return Score(parts.value, parts=parts._asdict(), explanation=told)


def _oracle(task: Task) -> Sequence[Action]:
    return [Action.respond(known.reply) for known in task.reference.extra["asked"]]


def _random(brief: Brief, history: Sequence[Message], rng: random.Random) -> Action:
    """Words, some of them the user's."""
    words = [*_WORDS, *history[-1].text.split()]
    text = " ".join(rng.choices(words, k=rng.randrange(4, 30)))
    return Action.respond(text.capitalize() + rng.choice(".?"))
