"""Binary RL for tasks of several steps: turns that belong to one episode are credited together.

Owns which turns of a batch are steps of one trajectory. An episode begins with a message of the
user and goes on while tools answer; its outcome is the newest score that the batch has of it. A
batch may hold a part of an episode only, which then has the outcome of that part. `steps` has the
equations.
"""

from __future__ import annotations

from collections.abc import Sequence

from clawjax.config import ObjectiveConfig, StepScheme
from clawjax.learner.credit import group
from clawjax.learner.credit.base import AdmittedTurn, Credited, CreditState, LogRatios, per_token
from clawjax.learner.credit.binary_rl import advance, advantages
from clawjax.learner.credit.steps import Step, pooled, separate, step_bucket
from clawjax.records import Message, Turn

__all__ = ["as_steps", "stepwise"]


def stepwise(
    turns: Sequence[AdmittedTurn],
    state: CreditState,
    _log_ratios: LogRatios,
    config: ObjectiveConfig,
) -> Credited:
    """`A_t = A_ik` at every response token t of step k of trajectory i, as configured."""
    steps = as_steps(turns)
    ends = _ends(turns, steps)
    found = _credits(steps, ends, state, config)
    tilted = iter(group.tilted([c for c in found if c is not None], config.negative_weight))
    credit = per_token(turns, (None if value is None else next(tilted) for value in found))
    labelled = [step.process for step in steps if step.process is not None]
    metrics = {
        "train/trajectories": float(len({step.trajectory for step in steps})),
        "train/steps_labelled": float(len(labelled)),
    }
    if labelled:
        metrics["train/process_mean"] = sum(labelled) / len(labelled)
    scored = list(ends.values())
    return Credited(
        credit, CreditState(advance(state.ema_scores, scored, config.ema_decay)), metrics
    )


def as_steps(turns: Sequence[AdmittedTurn]) -> list[Step]:
    """Each turn as a step; parts of one episode share a trajectory."""
    by_id = {admitted.turn.turn_id: admitted.turn for admitted in turns}
    roots = [_root(admitted.turn, by_id) for admitted in turns]
    outcomes: dict[str, float] = {}
    for admitted, root in sorted(
        zip(turns, roots, strict=True), key=lambda p: p[0].turn.arrived_at
    ):
        if admitted.score is not None:
            outcomes[root] = admitted.score
    return [
        Step(
            trajectory=root,
            task=(admitted.turn.scope, _opening(admitted.turn)),
            number=sum(m.role == "assistant" for m in _since(admitted.turn)),
            outcome=outcomes.get(root),
            process=admitted.process,
        )
        for admitted, root in zip(turns, roots, strict=True)
    ]


def _credits(
    steps: Sequence[Step],
    ends: dict[object, AdmittedTurn],
    state: CreditState,
    config: ObjectiveConfig,
) -> tuple[float | None, ...]:
    weight = config.steps.process_weight
    match config.steps.scheme:
        case StepScheme.step_bucket:
            return step_bucket(steps, process_weight=weight)
        case StepScheme.pooled:
            return pooled(steps, process_weight=weight, floor=config.deviation_floor)
        case StepScheme.separate | StepScheme.none:
            tasks = {step.trajectory: step.task for step in steps}
            groups = [tasks[trajectory] for trajectory in ends]
            found = advantages(list(ends.values()), state, config, groups=groups)
            by_trajectory = dict(zip(ends, found, strict=True))
            outcomes = [by_trajectory.get(step.trajectory) for step in steps]
            return separate(steps, outcomes, process_weight=weight)


def _ends(turns: Sequence[AdmittedTurn], steps: Sequence[Step]) -> dict[object, AdmittedTurn]:
    """One turn with its outcome for each trajectory that has one: what a baseline compares."""
    return {
        step.trajectory: admitted._replace(score=step.outcome)
        for admitted, step in zip(turns, steps, strict=True)
        if step.outcome is not None
    }


def _root(turn: Turn, by_id: dict[str, Turn]) -> str:
    """The first turn in the batch of the same episode."""
    while _is_continued(turn) and turn.parent_turn_id in by_id:
        turn = by_id[turn.parent_turn_id]
    return turn.turn_id


def _is_continued(turn: Turn) -> bool:
    return bool(turn.messages) and turn.messages[-1].role == "tool"


def _opening(turn: Turn) -> tuple[Message, ...]:
    return turn.messages[: len(turn.messages) - len(_since(turn))]


def _since(turn: Turn) -> tuple[Message, ...]:
    """What came after the user's last message."""
    began = max((i for i, m in enumerate(turn.messages) if m.role == "user"), default=-1) + 1
    return turn.messages[began:]
