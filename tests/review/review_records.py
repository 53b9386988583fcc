"""Verdicts, labels and logged turns as reviews meet them."""

from __future__ import annotations

from typing import Any

from clawjax.records import (
    FinishReason,
    Message,
    NextState,
    NextStateKind,
    SamplingParams,
    Turn,
    TurnKind,
    Verdict,
    VersionRun,
)
from clawjax.review.label import Label


def reviewed_turn(turn_id: str, **changes: Any) -> Turn:
    values: dict[str, Any] = {
        "turn_id": turn_id,
        "session_id": "s1",
        "parent_turn_id": None,
        "response_id": f"r-{turn_id}",
        "choice": 0,
        "kind": TurnKind.MAIN,
        "scope": "somebody",
        "model": "policy",
        "messages": (Message("system", "Be brief."), Message("user", f"ask {turn_id}")),
        "tools_json": None,
        "reply": Message("assistant", f"answer {turn_id}"),
        "prompt_ids": (1, 2, 3),
        "response_ids": (4, 5),
        "sampler_logprobs": (-0.5, -0.25),
        "sampler_logprobs_t1": (-0.5, -0.25),
        "token_versions": (VersionRun(0, 2),),
        "sampling": SamplingParams(16),
        "finish_reason": FinishReason.STOP,
        "arrived_at": 100.0,
        "finished_at": 101.0,
        "seed": 7,
    }
    return Turn(**(values | changes))


def reaction(turn_id: str) -> NextState:
    return NextState(turn_id, NextStateKind.USER, 110.0, (Message("user", "hm, no"),))


def said(score: float | None, *, module: str = "next_state", **changes: Any) -> Verdict:
    return Verdict(changes.pop("turn_id", "t"), module, score, judged_at=111.0, **changes)


def label(turn_id: str, reviewer: str, score: float | None, **changes: Any) -> Label:
    return Label(turn_id, reviewer, score, changes.pop("labelled_at", 200.0), **changes)
