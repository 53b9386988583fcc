"""Conversations that nobody had: a persona, a topic, a scenario, and two models that play them.

So that a fresh deployment can warm up before its user arrives. Invariants: what is planned depends
on the seed and the ingredients alone, and no combination comes twice before all have come; a
persona's wish is told to the assistant in a message that is not kept; a conversation that an
endpoint did not finish is left out whole.

Reference: personas as a source of variety, Ge et al. 2024, arXiv:2406.20094; a reply made with an
instruction preferred over one made without it, as context distillation, Bai et al. 2022,
arXiv:2212.08073, section 4, uses a principle.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from clawjax.errors import ConfigError

__all__ = [
    "Chat",
    "Dialogue",
    "Exchange",
    "Ingredients",
    "Plan",
    "SyntheticPersona",
    "load_ingredients",
    "plans",
    "play",
    "rows_of",
]

PROVENANCE = "synthetic"

_SHIPPED = Path(__file__).parent / "ingredients.yaml"
_MANY = 2**31

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class SyntheticPersona:
    """Somebody who might talk to the assistant."""

    name: str
    is_a: str
    """Who they are, to follow "You are"."""
    wish: str
    """How they want replies to be, addressed to the assistant."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What conversations are made of."""

    personas: tuple[SyntheticPersona, ...]
    topics: tuple[str, ...]
    scenarios: tuple[str, ...]
    """Why they talk, to follow "You"."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One conversation to be."""

    persona: SyntheticPersona
    topic: str
    scenario: str
    seed: int

    @property
    def source(self) -> str:
        """Names it."""
        return f"{self.persona.name}/{self.topic}/{self.scenario}#{self.seed}"


class Exchange(NamedTuple):
    """A request and replies to it."""

    request: str
    reply: str
    """Of an assistant that knows the wish."""
    plain: str | None
    """Of one that does not; None where it was not asked."""


class Dialogue(NamedTuple):
    """A conversation as it went; it goes on from the replies that know the wish."""

    plan: Plan
    exchanges: tuple[Exchange, ...]


class Chat(Protocol):
    """A model that answers a chat."""

    async def ask(self, messages: Sequence[Mapping[str, str]], *, seed: int) -> str:
        """Its reply.

        Raises:
            EngineError: there is none.
        """
        ...


def load_ingredients(file: Path | None = None, *, personas: Sequence[str] = ()) -> Ingredients:
    """Read a file, the shipped one by default; of its personas only those named, if any are.

    Raises:
        ConfigError: the file cannot be read, lacks something, or has no such persona.
    """
    path = file or _SHIPPED
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = Ingredients(
            personas=tuple(
                SyntheticPersona(str(each["name"]), str(each["is"]), str(each["wish"]))
                for each in told["personas"]
            ),
            topics=tuple(map(str, told["topics"])),
            scenarios=tuple(map(str, told["scenarios"])),
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError) as error:
        msg = (
            f"synthesis.ingredients={path} cannot be used ({error!r}): give a YAML file with "
            "personas (name, is, wish), topics and scenarios"
        )
        raise ConfigError(msg) from error
    known = {persona.name for persona in found.personas}
    unknown = sorted(set(personas) - known)
    chosen = tuple(p for p in found.personas if not personas or p.name in personas)
    if unknown or not (chosen and found.topics and found.scenarios):
        msg = (
            f"synthesis.personas={list(personas)} and {path} leave nothing to talk about: use "
            f"personas of {', '.join(sorted(known))}, and at least one topic and scenario"
        )
        raise ConfigError(msg)
    return Ingredients(chosen, found.topics, found.scenarios)


def plans(ingredients: Ingredients, count: int, *, seed: int) -> Iterator[Plan]:
    """So many conversations; every combination comes once before any comes again."""
    rng = random.Random(f"plans:{seed}")
    combinations = list(
        itertools.product(ingredients.personas, ingredients.topics, ingredients.scenarios)
    )
    order: list[tuple[SyntheticPersona, str, str]] = []
    for _ in range(count):
        if not order:
            order = rng.sample(combinations, len(combinations))
        yield Plan(*order.pop(), seed=rng.randrange(_MANY))


async def play(plan: Plan, chat: Chat, *, turns: int, with_plain: bool) -> Dialogue:
    """Let a conversation happen.

    Args:
        plan: who talks about what.
        chat: plays both sides.
        turns: replies.
        with_plain: whether each request is also answered without the wish.

    Raises:
        EngineError: a reply could not be had.
    """
    history: Messages = []
    exchanges = []
    for number in range(turns):
        seed = (plan.seed + number) % _MANY
        request = _request_of(await chat.ask(_user_prompt(plan, history), seed=seed))
        asked = [*history, {"role": "user", "content": request}]
        wish = {"role": "system", "content": plan.persona.wish}
        reply = (await chat.ask([wish, *asked], seed=seed)).strip()
        plain = (await chat.ask(asked, seed=seed)).strip() if with_plain else None
        exchanges.append(Exchange(request, reply, plain))
        history = [*asked, {"role": "assistant", "content": reply}]
    return Dialogue(plan, tuple(exchanges))


def rows_of(dialogue: Dialogue) -> Iterator[dict[str, Any]]:
    """One line per reply, in TRL's forms: `prompt`, `chosen`, `rejected`, or `messages` for SFT.

    With `provenance` "synthetic", `user` the persona, `source` the plan and the reply's number. A
    pair of equal replies is none and is left out.
    """
    messages: Messages = []
    for number, exchange in enumerate(dialogue.exchanges):
        messages = [*messages, {"role": "user", "content": exchange.request}]
        reply = {"role": "assistant", "content": exchange.reply}
        about = {
            "provenance": PROVENANCE,
            "user": f"{PROVENANCE}:{dialogue.plan.persona.name}",
            "source": f"{dialogue.plan.source}/{number}",
        }
        if exchange.plain is None:
            yield {"messages": [*messages, reply], **about}
        elif exchange.plain != exchange.reply:
            rejected = {"role": "assistant", "content": exchange.plain}
            yield {"prompt": messages, "chosen": [reply], "rejected": [rejected], **about}
        messages = [*messages, reply]


def _user_prompt(plan: Plan, history: Messages) -> Messages:
    """Asks for the user's next message. The model plays the user: roles are as in a script."""
    so_far = "\n".join(
        f"{'YOU' if message['role'] == 'user' else 'ASSISTANT'}: {message['content']}"
        for message in history
    )
    task = (
        f"You are {plan.persona.is_a}. You {plan.scenario}, and it is about {plan.topic}. You are "
        "writing to an AI assistant. Write only your next message to it, as this person would "
        "type it: one to three sentences, no greeting, no quotation marks."
    )
    opening = f"The conversation so far:\n{so_far}\n\nYour next message:" if so_far else "Begin."
    return [{"role": "system", "content": task}, {"role": "user", "content": opening}]


def _request_of(answer: str) -> str:
    """A message without what models put around it."""
    text = answer.strip().removeprefix("YOU:").strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if is_quoted else text
