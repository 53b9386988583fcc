"""Binary RL for tasks of several steps: turns that belong to one episode are credited together.

Owns which turns of a batch are steps of one trajectory. An episode begins with a message of the
user and goes on while tools answer; its outcome is the newest score that the batch has of it. Where
a step was asked for again (a retry, a branch, several choices), the answer that the newest turn
descends from goes on with the trajectory, and each other one begins one of its own: what was said
of one is never another's outcome. A batch may hold a part of an episode only, which then has the
outcome of that part. `steps` has the equations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clawjax.config import ObjectiveConfig, StepScheme
from clawjax.learner.credit import group
from clawjax.learner.credit.base import AdmittedTurn, Credited, CreditState, LogRatios, per_token
from clawjax.learner.credit.binary_rl import advance, advantages
from clawjax.learner.credit.steps import Step, pooled, separate, step_bucket
from clawjax.records import Message, Turn
from clawjax.review.episodes import begin_of, is_continued

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
    roots = _roots([admitted.turn for admitted in turns])
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
            number=_number(admitted.turn),
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


def _roots(turns: Sequence[Turn]) -> list[str]:
    """The first turn of each one's trajectory in the batch."""
    by_id = {turn.turn_id: turn for turn in turns}
    heirs: dict[str, str] = {}
    """Which of a step's successors goes on with its trajectory."""
    for leaf in sorted(turns, key=lambda turn: turn.arrived_at, reverse=True):
        turn, parent = leaf, _step_before(leaf, by_id)
        while parent is not None and parent.turn_id not in heirs:
            heirs[parent.turn_id] = turn.turn_id
            turn, parent = parent, _step_before(parent, by_id)
    roots = []
    for step in turns:
        turn, parent = step, _step_before(step, by_id)
        while parent is not None and heirs[parent.turn_id] == turn.turn_id:
            turn, parent = parent, _step_before(parent, by_id)
        roots.append(turn.turn_id)
    return roots


def _step_before(turn: Turn, by_id: Mapping[str, Turn]) -> Turn | None:
    """Of the same episode, where the batch has it."""
    return by_id.get(turn.parent_turn_id or "") if is_continued(turn) else None


def _opening(turn: Turn) -> tuple[Message, ...]:
    return turn.messages[: begin_of(turn.messages)]


def _number(turn: Turn) -> int:
    """Its place in the episode, from 0."""
    return sum(m.role == "assistant" for m in turn.messages[begin_of(turn.messages) :])
