"""A tiny policy at the front desk (`clawjax.envs.front_desk`): how it reads, acts, and is recorded.

A call is two tokens, the tool's letter and the argument; what happened so far is told in few. The
records are those of any agent with tools, so that labels are made as they are in a run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clawjax.envs.front_desk import GUESTS, KEYS, ROOMS, TOOLS, DeskTask, FrontDesk
from clawjax.learner.sampler import Drawn
from clawjax.records import (
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    ToolCall,
    Turn,
    TurnKind,
    run_lengths,
)

__all__ = ["CALL_LETTERS", "MOST_STEPS", "Attempt", "DeskStep", "attempts_of", "clumsy_call"]

MOST_STEPS = 6
CALL_LETTERS = 2
_LETTERS = {"f": "find", "o": "open", "b": "book", "s": "send"}
_ARGUMENTS = {"find": "name", "open": "key", "book": "room", "send": "name"}
_TOOLS_JSON = json.dumps(TOOLS)


class DeskStep(NamedTuple):
    """A step as a turn, and the tool's answer to it."""

    turn: Turn
    answer: NextState


@dataclass(slots=True)
class Attempt:
    """A task, and what was done about it so far."""

    name: str
    task: DeskTask
    desk: FrontDesk = field(init=False)
    steps: list[DeskStep] = field(default_factory=list)
    told: str = field(init=False)
    """What the policy reads."""

    def __post_init__(self) -> None:
        """Begin."""
        self.desk = FrontDesk(self.task)
        self.told = f"{self.task.guest}{self.task.room}:"

    @property
    def is_over(self) -> bool:
        """Solved, done wrongly, or out of steps."""
        return self.desk.is_done or len(self.steps) >= MOST_STEPS

    @property
    def outcome(self) -> float:
        """1 or -1."""
        return 1.0 if self.desk.is_solved else -1.0

    def act(self, prompt_ids: tuple[int, ...], text: str, drawn: Drawn, *, version: int) -> None:
        """Carry out what the policy wrote, and record it."""
        turn_id = f"{self.name}.{len(self.steps)}"
        call = call_of(text, turn_id)
        decoded = json.loads(call.arguments) if call.arguments else None
        answer = self.desk.call(call.name, decoded)
        messages: tuple[Message, ...] = (Message("user", self.task.request),)
        for step in self.steps:
            messages = (*messages, step.turn.reply, *step.answer.messages)
        turn = Turn(
            turn_id=turn_id,
            session_id=self.name,
            parent_turn_id=self.steps[-1].turn.turn_id if self.steps else None,
            response_id=turn_id,
            choice=0,
            kind=TurnKind.MAIN,
            scope="desk",
            model="policy",
            messages=messages,
            tools_json=_TOOLS_JSON,
            reply=Message("assistant", tool_calls=(call,)),
            prompt_ids=prompt_ids,
            response_ids=drawn.token_ids,
            sampler_logprobs=drawn.logprobs,
            sampler_logprobs_t1=drawn.logprobs,
            token_versions=run_lengths((version,) * len(drawn.token_ids)),
            sampling=SamplingParams(len(drawn.token_ids)),
            finish_reason=FinishReason.TOOL_CALLS,
            arrived_at=float(len(self.steps)),
            finished_at=float(len(self.steps)),
            seed=0,
        )
        said = Message("tool", answer, tool_call_id=call.call_id)
        state = NextState(turn_id, NextStateKind.TOOL, turn.arrived_at, (said,))
        self.steps.append(DeskStep(turn, state))
        self.told += f"{text[:CALL_LETTERS]}{_in_short(answer)}"


def call_of(text: str, call_id: str) -> ToolCall:
    """The call that two letters are; letters that are no tool's are a tool that does not exist."""
    name = _LETTERS.get(text[:1], text[:1] or "nothing")
    argument = _ARGUMENTS.get(name)
    arguments = {} if argument is None else {argument: text[1:2]}
    return ToolCall(call_id, name, json.dumps(arguments))


def clumsy_call(attempt: Attempt, rng: random.Random, *, mistakes: float) -> str:
    """What somebody who knows the task writes, but for a share of mistakes: two letters."""
    done = [
        step.turn.reply.tool_calls[0]
        for step in attempt.steps
        if not step.answer.messages[0].content.startswith("Error")
    ]
    solution = attempt.task.solution
    name, arguments = solution[min(len({call.name for call in done}), len(solution) - 1)]
    letter, argument = name[0], next(iter(arguments.values()))
    if rng.random() < mistakes:
        if rng.random() < 0.5:
            letter = rng.choice("fobs")
        else:
            argument = rng.choice({"f": GUESTS, "o": KEYS, "b": ROOMS, "s": GUESTS}[letter])
    return letter + argument


def attempts_of(tasks: Sequence[DeskTask], *, group: int, name: str) -> list[Attempt]:
    """`group` attempts at each task."""
    return [
        Attempt(f"{name}.{number}.{copy}", task)
        for number, task in enumerate(tasks)
        for copy in range(group)
    ]


def _in_short(answer: str) -> str:
    """A tool's answer in two tokens: what it found or did, or why not."""
    if answer.startswith("Error"):
        return "!\n" if answer.endswith("first") else "?\n"
    return f"{answer.rstrip('.').split()[-1][0]}\n"
