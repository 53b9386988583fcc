"""Turns and next states as the judges meet them."""

from __future__ import annotations

from clawjax.records import (
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    Turn,
    TurnKind,
    VersionRun,
)


def make_turn(
    turn_id: str = "t1",
    *,
    request: str = "What is a good breakfast?",
    reply: str | Message = "Porridge with fruit.",
    history: tuple[Message, ...] = (),
) -> Turn:
    return Turn(
        turn_id=turn_id,
        session_id="s1",
        parent_turn_id=None,
        response_id=f"r-{turn_id}",
        choice=0,
        kind=TurnKind.MAIN,
        scope="scope",
        model="policy",
        messages=(*history, Message(role="user", content=request)),
        tools_json=None,
        reply=reply if isinstance(reply, Message) else Message(role="assistant", content=reply),
        prompt_ids=(1, 2, 3),
        response_ids=(4, 5),
        sampler_logprobs=(-0.5, -0.25),
        sampler_logprobs_t1=(-0.5, -0.25),
        token_versions=(VersionRun(0, 2),),
        sampling=SamplingParams(max_response_tokens=16),
        finish_reason=FinishReason.STOP,
        arrived_at=100.0,
        finished_at=101.0,
        seed=7,
    )


def user_says(*words: str, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="user", content=text) for text in words)
    return NextState(turn_id, NextStateKind.USER, arrived_at=110.0, messages=messages)


def tool_says(*results: str, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="tool", content=text, tool_call_id="c1") for text in results)
    return NextState(turn_id, NextStateKind.TOOL, arrived_at=110.0, messages=messages)


def feedback(*words: str, score: float | None = None, turn_id: str = "t1") -> NextState:
    messages = tuple(Message(role="user", content=text) for text in words)
    return NextState(
        turn_id, NextStateKind.FEEDBACK, arrived_at=110.0, messages=messages, score=score
    )


def session_closed(turn_id: str = "t1") -> NextState:
    return NextState(turn_id, NextStateKind.SESSION_CLOSED, arrived_at=110.0)
