"""Credit for the steps of a task: how it ended, and what each step was worth by itself.

Pure Python numbers. A *trajectory* is the turns of one episode, a *group* the trajectories of one
task. Conventions: `o_i` is the outcome of trajectory i, one for all its steps, `p_ik` the process
score of its step k, both in [-1, 1] or None where nobody said anything; `w` is the weight of the
process. A step of which nothing is known has no credit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from clawjax.learner.credit import group

__all__ = ["Step", "centred_process", "pooled", "separate", "step_bucket"]


class Step(NamedTuple):
    """One turn as a step."""

    trajectory: Hashable
    task: Hashable
    """Trajectories of one task are a group."""
    number: int
    """Its place in the trajectory, from 0."""
    outcome: float | None
    """The trajectory's; the same for all its steps."""
    process: float | None


Credits = tuple[float | None, ...]


def separate(
    steps: Sequence[Step], outcomes: Sequence[float | None], *, process_weight: float
) -> Credits:
    """`A_ik = A(o_i) + w (p_ik - mean_G(p))`: each signal is compared with its own kind.

    `mean_G(p)` is over all labelled steps of the trajectories of the same task; where a task has
    one trajectory, over those of all such tasks in the batch: a trajectory that is wrong throughout
    must not be its own measure. A label is about its own step, so no step answers for another's.
    The process parts of a group add up to 0: steps cannot be gained by making more of them.

    Args:
        steps: any order.
        outcomes: `A(o_i)` for each step, by whatever baseline; None where the trajectory has none.
        process_weight: `w`.

    References: process and outcome advantages apart, PRIME, Cui et al. 2025, arXiv:2502.01456,
    eq. 5; no division by a deviation, Liu et al. 2025, arXiv:2503.20783, section 3.2.
    """
    processes = centred_process(steps)
    return tuple(
        _sum(outcome, None if process is None else process_weight * process)
        for outcome, process in zip(outcomes, processes, strict=True)
    )


def pooled(steps: Sequence[Step], *, process_weight: float, floor: float = 1e-4) -> Credits:
    """`A_ik = z_G(o_i) + w sum_{j >= k} z_G(p_ij)`, `z_G(x) = (x - mean_G) / max(std_G, floor)`.

    Outcomes are compared over the group's trajectories, process scores over all of its steps.

    Reference: GRPO with process supervision, Shao et al. 2024, arXiv:2402.03300, section 4.1.3.
    """
    outcomes = _of_trajectories(steps, floor)
    labelled = [i for i, step in enumerate(steps) if step.process is not None]
    scores = group.grpo(
        [steps[i].process or 0.0 for i in labelled], [steps[i].task for i in labelled], floor=floor
    )
    normed = dict(zip(labelled, scores, strict=True))
    return tuple(
        _sum(
            outcomes.get(step.trajectory),
            process_weight * math.fsum(rest) if (rest := _from(step, steps, normed)) else None,
        )
        for step in steps
    )


def step_bucket(
    steps: Sequence[Step], *, process_weight: float = 1.0, epsilon: float = 1e-6
) -> Credits:
    """`r = o_i + w p_ik`, `A_ik = (r - mean_B(r)) / (std_B(r) + epsilon)` over steps of number k.

    As OpenClaw-RL computes it (`slime/ray/rollout.py`, `_post_process_step_wise_rewards`, with
    `w = 1`): B are the steps of the group with the same index, the deviation is the population's;
    the only step of a bucket keeps `r` as it is; a bucket of equal `r` has no credit, unless all
    buckets are such: then the first one has credit 0. What is not known counts as 0.

    Its weaknesses: step k of one trajectory may have nothing to do with step k of another; late
    buckets are small, and the smallest are on another scale than the rest.
    """
    rewards = [(step.outcome or 0.0) + process_weight * (step.process or 0.0) for step in steps]
    buckets: dict[Hashable, list[int]] = {}
    for place, step in enumerate(steps):
        buckets.setdefault((step.task, step.number), []).append(place)
    normed = [_bucket([rewards[i] for i in places], epsilon) for places in buckets.values()]
    if normed and all(values is None for values in normed):
        normed[0] = [0.0] * len(next(iter(buckets.values())))
    found: dict[int, float] = {}
    for places, values in zip(buckets.values(), normed, strict=True):
        if values is not None:
            found |= dict(zip(places, values, strict=True))
    return tuple(found.get(place) for place in range(len(steps)))


def centred_process(steps: Sequence[Step]) -> Credits:
    """`p_ik - mean(p)`, as `separate` compares; None where a step has no label."""
    labelled = [step for step in steps if step.process is not None]
    sizes: dict[Hashable, set[Hashable]] = {}
    for step in labelled:
        sizes.setdefault(step.task, set()).add(step.trajectory)
    keys = [(step.task if len(sizes[step.task]) > 1 else None,) for step in labelled]
    centred = iter(group.dr_grpo([step.process or 0.0 for step in labelled], keys))
    return tuple(None if step.process is None else next(centred) for step in steps)


def _of_trajectories(steps: Sequence[Step], floor: float) -> dict[Hashable, float]:
    """Normalised outcomes by trajectory, each of which counts once, however long."""
    known = {step.trajectory: step for step in steps if step.outcome is not None}
    outcomes = [step.outcome or 0.0 for step in known.values()]
    tasks = [step.task for step in known.values()]
    return dict(zip(known, group.grpo(outcomes, tasks, floor=floor), strict=True))


def _from(step: Step, steps: Sequence[Step], normed: dict[int, float]) -> list[float]:
    """The process scores of this step and of those after it."""
    return [
        normed[place]
        for place, other in enumerate(steps)
        if other.trajectory == step.trajectory and other.number >= step.number and place in normed
    ]


def _bucket(rewards: Sequence[float], epsilon: float) -> list[float] | None:
    if len(rewards) == 1:
        return list(rewards)
    mean = math.fsum(rewards) / len(rewards)
    variance = math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards)
    if variance <= 1e-12:
        return None
    return [(reward - mean) / (math.sqrt(variance) + epsilon) for reward in rewards]


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return math.fsum(known) if known else None
