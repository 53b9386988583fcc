"""Feedback collected up front: the base model answers, a persona reacts, a judge reads.

The same questions, words and judge as in a live conversation, but all replies are the base
model's, several are to the same question, so that they can be compared, and every reaction is in
words: live, one in four of those that end a session is a thumb, which no judge has to read.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path

from clawjax.config import RunConfig
from clawjax.data.preferences import Provenance, Rated, RowError
from clawjax.envs.persona import Persona, Question, join_message
from clawjax.evals.asking import Asker, PromptReply
from clawjax.models.load import LoadedModel
from clawjax.records import Message, NextState, NextStateKind
from clawjax.rewards.registry import build_rewards
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.paths import RunPaths

__all__ = ["JUDGE", "Event", "collect", "hybrid", "judged"]

JUDGE = "next_state"
_SATISFIED = 0.5
"""Style score from which a persona is content with a reply."""
_SURE = 0.25
"""Of a judge's score, from which its sign is a label: two of opposite sign differ by 0.5."""
_MANY = 2**31


@dataclass(frozen=True, slots=True)
class Event:
    """One reply and what became of it; survives as JSON."""

    question: str
    reply: str
    reaction: str
    score: float | None
    """The judge's, of the reaction; None: it could not tell."""
    style: float
    """What the persona thinks of it, in [0, 1]."""

    @property
    def is_met(self) -> bool:
        """Whether the persona is content: the true label."""
        return self.style >= _SATISFIED

    def as_json(self) -> dict[str, object]:
        """Of its fields."""
        return asdict(self)


async def collect(
    config: RunConfig,
    folder: Path,
    model: LoadedModel,
    persona: Persona,
    *,
    seed: int,
    questions: int,
    samples: int,
) -> list[Event]:
    """`samples` replies of the base to each of `questions` training questions, with reactions.

    Args:
        config: the personal suite's, with an untrained run at `folder`.
        folder: a new run's.
        model: the base.
        persona: who asks and reacts.
        seed: of the choice of questions, of the replies and of the reactions.
        questions: how many.
        samples: replies to each.
    """
    rng = random.Random(f"feedback:{persona.name}:{seed}")
    asked = rng.sample(persona.train, min(questions, len(persona.train)))
    repeated = [question for question in asked for _ in range(samples)]
    paths = RunPaths(folder)
    paths.prepare()
    async with Lockstep.open(config, paths, model) as lockstep:
        asker = Asker(lockstep.base_url, config.model.name, concurrency=config.engine.slots)
        replies = await asker.ask(
            [question.text for question in repeated],
            seeds=[rng.randrange(_MANY) for _ in repeated],
            temperature=config.user.temperature,
            max_tokens=config.user.max_tokens,
        )
        reactions = _Reactions(config, lockstep, persona, rng)
        events = [
            await reactions.to(question, reply)
            for question, reply in zip(repeated, replies, strict=True)
        ]
        await reactions.aclose()
    return events


class _Reactions:
    def __init__(
        self, config: RunConfig, lockstep: Lockstep, persona: Persona, rng: random.Random
    ) -> None:
        rewards = build_rewards(config.reward, env=os.environ)
        self._judge = next(reward for reward in rewards if reward.name == JUDGE)
        self._rewards = rewards
        self._log = lockstep.log
        self._persona = persona
        self._rng = rng

    async def to(self, question: Question, reply: PromptReply) -> Event:
        """React as in a conversation, in front of the next question."""
        reaction = self._persona.react(reply.text, question, self._rng)
        following = self._rng.choice(self._persona.train).text
        said = join_message(self._rng.choice(self._persona.connectors), reaction.text, following)
        turn_id = self._log.find_response(reply.response_id)
        found = None if turn_id is None else self._log.get(turn_id)
        assert found is not None, f"reply {reply.response_id} is not in the log"
        state = NextState(
            found.turn.turn_id, NextStateKind.USER, time.time(), (Message("user", said),)
        )
        verdict = await self._judge.judge(found.turn, state)
        style = self._persona.score(reply.text, question.text)
        return Event(question.text, reply.text, reaction.text, verdict.score, style)

    async def aclose(self) -> None:
        for reward in self._rewards:
            await reward.aclose()


def judged(events: Sequence[Event], user: str) -> list[Rated]:
    """What a judge made of the reactions; events that it could not read are left out."""
    return _rated(events, user, [event.score for event in events], frozenset())


def hybrid(events: Sequence[Event], user: str, *, share: float, seed: int) -> list[Rated]:
    """Replies labelled good or bad, a share of them, chosen by the seed, by the persona itself.

    The others have the sign of the judge's score, where it is sure enough of it: of two replies
    that are liked, one by the persona and one by a judge that is less sure, neither is the better.

    Args:
        events: all labels are about these; where neither says anything, there is no row.
        user: whose they are.
        share: 0 is the judge alone, 1 the persona alone.
        seed: of the choice; a larger share includes what a smaller one does.
    """
    order = list(range(len(events)))
    random.Random(f"hybrid:{seed}").shuffle(order)
    true = frozenset(order[: round(share * len(events))])
    labels = [
        (1.0 if event.is_met else -1.0) if place in true else _label(event.score)
        for place, event in enumerate(events)
    ]
    return _rated(events, user, labels, true)


def _label(score: float | None) -> float | None:
    return None if score is None or abs(score) < _SURE else math.copysign(1.0, score)


def _rated(
    events: Sequence[Event], user: str, scores: Sequence[float | None], true: Set[int]
) -> list[Rated]:
    rows = []
    for place, (event, score) in enumerate(zip(events, scores, strict=True)):
        if score is None:
            continue
        try:
            rows.append(
                Rated(
                    (Message("user", event.question),),
                    Message("assistant", event.reply),
                    score,
                    Provenance.HUMAN if place in true else Provenance.AI,
                    user=user,
                    source=f"event {place}",
                )
            )
        except RowError:  # an empty reply
            continue
    return rows
