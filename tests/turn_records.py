"""Turns made up for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from clawjax.records import FinishReason, Message, SamplingParams, Turn, TurnKind, VersionRun


def make_turn(
    turn_id: str = "t1",
    *,
    history: tuple[Message, ...] = (),
    request: str = "hi",
    reply: str | Message = "hello",
    version: int = 0,
    **changes: Any,
) -> Turn:
    """A turn that may be trained on; what has one entry per token follows `response_ids`.

    Args:
        turn_id: names the reply that the client got, too.
        history: the messages before the request.
        request: what the user asks.
        reply: the text of the answer, or all of it.
        version: of the policy that drew each token.
        changes: fields of the turn that are not as they would be.
    """
    response_ids = changes.get("response_ids", (4, 5))
    arrived_at = changes.get("arrived_at", 100.0)
    turn = Turn(
        turn_id=turn_id,
        session_id="s1",
        parent_turn_id=None,
        response_id=f"chatcmpl{turn_id}",
        choice=0,
        kind=TurnKind.MAIN,
        scope="local",
        model="policy",
        messages=(*history, Message("user", request)),
        tools_json=None,
        reply=reply if isinstance(reply, Message) else Message("assistant", reply),
        prompt_ids=(1, 2, 3),
        response_ids=response_ids,
        sampler_logprobs=(-1.0,) * len(response_ids),
        sampler_logprobs_t1=(-1.25,) * len(response_ids),
        token_versions=(VersionRun(version, len(response_ids)),),
        sampling=SamplingParams(max_response_tokens=64, stop=("x",), stop_token_ids=(7,)),
        finish_reason=FinishReason.STOP,
        arrived_at=arrived_at,
        finished_at=arrived_at + 1.0,
        seed=3,
    )
    return replace(turn, **changes)
