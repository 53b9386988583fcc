"""Labelled turns: what came of a reply, and whether that was good, bad or says nothing.

Owns `data/judge_turns.jsonl`: reactions of people (of the set that no judge was trained on),
results of tools, replies that hold to principles or break them. Reactions of the simulated users,
whose moods only they know, are made here. Invariant: the same seed makes the same turns.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clawjax.envs.persona import Question, join_message, load_persona, shipped_personas
from clawjax.records import (
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    VersionRun,
)

__all__ = ["DATA_PATH", "LabelledTurn", "canned_replies", "labelled_turns", "make_labelled"]

DATA_PATH = Path(__file__).parents[1] / "data" / "judge_turns.jsonl"

_SIGNS = {"praise": 1.0, "complaint": -1.0, "neutral": 0.0}
_CONTINUED_SHARE = 0.5
"""Of the simulated reactions that go on to another question in the same message."""


class LabelledTurn(NamedTuple):
    """A turn, what came after it, and what a judge should make of that."""

    turn: Turn
    next_state: NextState
    label: float
    """+1 good, -1 bad, 0 nothing can be told."""
    group: str
    twin_of: str | None = None
    """The turn that this one is a manipulated copy of."""
    wish: float | None = None
    """The score that the manipulation asks for."""

    @property
    def turn_id(self) -> str:
        """Of the turn."""
        return self.turn.turn_id


def labelled_turns(
    *, seed: int = 0, per_persona: int = 12, path: Path = DATA_PATH
) -> list[LabelledTurn]:
    """All labelled turns, those of the file first; without manipulated copies."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [*map(_from_row, rows), *_of_personas(seed, per_persona)]


def make_labelled(
    turn_id: str,
    group: str,
    request: str,
    reply: Message,
    came_next: tuple[Message, ...],
    label: float,
    *,
    scope: str = "labelled",
) -> LabelledTurn:
    """A labelled turn of its parts; without anything that came next, its session was closed."""
    kinds = {"user": NextStateKind.USER, "tool": NextStateKind.TOOL}
    kind = kinds[came_next[0].role] if came_next else NextStateKind.SESSION_CLOSED
    turn = Turn(
        turn_id=turn_id,
        session_id=turn_id,
        parent_turn_id=None,
        response_id=turn_id,
        choice=0,
        kind=TurnKind.MAIN,
        scope=scope,
        model="labelled",
        messages=(Message("user", request),),
        tools_json=None,
        reply=reply,
        prompt_ids=(0,),
        response_ids=(0,),
        sampler_logprobs=(0.0,),
        sampler_logprobs_t1=(0.0,),
        token_versions=(VersionRun(0, 1),),
        sampling=SamplingParams(max_response_tokens=1),
        finish_reason=FinishReason.STOP,
        arrived_at=0.0,
        finished_at=0.0,
        seed=0,
    )
    return LabelledTurn(turn, NextState(turn_id, kind, 1.0, came_next), label, group)


def _from_row(row: dict[str, Any]) -> LabelledTurn:
    calls = ()
    if call := row.get("call"):
        calls = (ToolCall("c1", call["name"], call["arguments"]),)
    came_next = ()
    if "user" in row:
        came_next = (Message("user", row["user"]),)
    elif "tool" in row:
        came_next = (Message("tool", row["tool"], tool_call_id="c1"),)
    reply = Message("assistant", row.get("reply", ""), calls)
    return make_labelled(
        row["id"], row["group"], row["request"], reply, came_next, float(row["label"])
    )


def _of_personas(seed: int, count: int) -> Iterator[LabelledTurn]:
    """`count` reactions of each shipped persona to replies of several kinds."""
    for name in shipped_personas():
        persona, rng = load_persona(name), random.Random(f"judging:{seed}:{name}")
        for number in range(count):
            question, following = rng.sample(persona.held_out, 2)
            (reply,) = canned_replies(question, rng, 1)
            reaction = persona.react(reply, question, rng)
            text = reaction.text
            if rng.random() < _CONTINUED_SHARE:
                text = join_message(rng.choice(persona.connectors), text, following.text)
            yield make_labelled(
                f"persona-{name}-{number:02d}",
                "persona",
                question.text,
                Message("assistant", reply),
                (Message("user", text),),
                _SIGNS[reaction.mood],
                scope=name,
            )


_OPENINGS = ("It comes down to {topic}.", "A word about {topic} first.", "This is about {topic}.")
_BODIES = (
    "Start small, do it every day, and look at what changed after a week.",
    "You should begin with what you have, and you can add the rest later.",
    "I'm sorry, but it depends. Unfortunately nobody can say for sure.",
    "People tend to do too much at once, which rarely helps them.",
    "- Get ready\n- Begin\n- Keep going\n- Look back",
)
_ENDINGS = ("", "What have you tried so far?", "Does that help?", "Good luck with it!")


def canned_replies(question: Question, rng: random.Random, count: int) -> list[str]:
    """Replies of several lengths and forms; which wishes they meet differs."""
    return [_canned_reply(question, rng) for _ in range(count)]


def _canned_reply(question: Question, rng: random.Random) -> str:
    bodies = rng.sample(_BODIES, rng.randint(1, 4))
    parts = [rng.choice(_OPENINGS).format(topic=question.topic), *bodies, rng.choice(_ENDINGS)]
    joint = "\n\n" if rng.random() < 0.3 else " "
    return joint.join(part for part in parts if part)
