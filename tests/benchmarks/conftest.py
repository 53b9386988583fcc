"""Records made up for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clawjax.records import FinishReason, Message, SamplingParams, Turn, TurnKind, VersionRun

_TURN = Turn(
    turn_id="t1",
    session_id="s",
    parent_turn_id=None,
    response_id="r1",
    choice=0,
    kind=TurnKind.MAIN,
    scope="",
    model="m",
    messages=(Message("user", "Why?"),),
    tools_json=None,
    reply=Message("assistant", "So."),
    prompt_ids=(1,),
    response_ids=(2,),
    sampler_logprobs=(0.0,),
    sampler_logprobs_t1=(0.0,),
    token_versions=(VersionRun(0, 1),),
    sampling=SamplingParams(8),
    finish_reason=FinishReason.STOP,
    arrived_at=1.0,
    finished_at=1.5,
    seed=0,
)


@pytest.fixture
def make_turn() -> Callable[..., Turn]:
    """A turn, changed as told."""

    def make(**changes: Any) -> Turn:
        return replace(_TURN, **changes)

    return make
