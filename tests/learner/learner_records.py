"""Records for the learner's tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from turn_records import make_turn

from clawjax.records import (
    JudgedTurn,
    Message,
    NextState,
    NextStateKind,
    Sample,
    Turn,
    Verdict,
)


def no_log_ratios(_turns: Sequence[Turn]) -> Sequence[float]:
    """For credit that is made of scores alone."""
    msg = "two forward passes for nothing"
    raise AssertionError(msg)


def verdict(score: float | None, *, module: str = "next_state", turn_id: str = "t1") -> Verdict:
    return Verdict(turn_id, module, score, judged_at=103.0)


def next_state(
    kind: NextStateKind = NextStateKind.USER,
    *,
    turn_id: str = "t1",
    score: float | None = None,
    arrived_at: float = 102.0,
) -> NextState:
    return NextState(turn_id, kind, arrived_at, (Message("user", "thanks"),), score)


def judged(
    turn: Turn | None = None,
    next_states: Sequence[NextState] = (),
    verdicts: Sequence[Verdict] = (),
    *,
    unjudged: Sequence[NextState] = (),
) -> JudgedTurn:
    return JudgedTurn(1, turn or make_turn(), tuple(next_states), tuple(verdicts), tuple(unjudged))


def make_sample(
    turn_id: str = "t1",
    prompt: int = 3,
    response: int = 2,
    *,
    credit: float = 1.0,
    version: int = 0,
    temperature: float = 1.0,
    seed: int = 0,
    vocab: int = 50,
) -> Sample:
    """A sample of random tokens with the given lengths."""
    ids = tuple((seed * 7919 + 31 * i) % vocab for i in range(prompt + response))
    return Sample(
        turn_id=turn_id,
        prompt_ids=ids[:prompt],
        response_ids=ids[prompt:],
        sampler_logprobs=tuple(-0.1 * (i + 1) for i in range(response)),
        token_versions=(version,) * response,
        temperature=temperature,
        credit=(credit,) * response,
    )


def conversation(*, vocab: int = 50) -> list[Sample]:
    """Three turns, each prompt holding all before it; and one that forks off after the first."""
    whole = make_sample("t", 24, 8, seed=1, vocab=vocab)
    ids = whole.prompt_ids + whole.response_ids
    turns = [
        dataclasses.replace(
            make_sample(turn_id, start, stop - start, credit=credit),
            prompt_ids=ids[:start],
            response_ids=ids[start:stop],
        )
        for turn_id, start, stop, credit in (
            ("first", 3, 8, 1.0),
            ("second", 12, 18, -1.0),
            ("third", 24, 32, 0.5),
        )
    ]
    return [*turns, dataclasses.replace(turns[1], turn_id="fork", response_ids=(vocab - 1,) * 6)]
