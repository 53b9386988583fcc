"""When OpenClaw-RL would have served what it learnt, had it had our traffic.

An emulation of its asynchronous trainer from the times of requests and reactions alone, read from
Gen-Verse/OpenClaw-RL at commit 0d034dd (`slime/train_async.py`, `openclaw-rl/openclaw_rollout.py`,
`openclaw-rl/openclaw_api_server.py`). Pure. The loop:

1. `generate(0)` collects a batch of samples. Iteration r starts `generate(r + 1)`, trains on batch
   r, and waits until batch r + 1 is complete; only then do the weights trained on batch r go out.
2. A batch is complete with its last sample. From then until the weights are out every chat request
   is answered with 503.
3. What becomes ready meanwhile is queued. The next `generate` takes the whole queue, keeps one
   batch of it, and forgets the rest.

In the reference's favour: judges and polls take no time, weights go out in no time unless
`update_s` says otherwise, and who is refused loses nothing but the refused request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from clawjax.evals.latency import Wait, feedback_arrival
from clawjax.records import JudgedTurn, NextStateKind, TurnKind

__all__ = ["Emulation", "Reaction", "emulate", "reactions_of", "waits"]


class Reaction(NamedTuple):
    """What somebody said about a reply, and when the loop has a sample of it."""

    turn_id: str
    arrived_at: float
    ready_at: float


class Emulation(NamedTuple):
    """What the loop would have done."""

    served_at: dict[str, float]
    """When weights trained on a turn went out, by its id; turns that no such weights came of are
    missing."""
    paused: list[tuple[float, float]]
    """When requests were refused."""
    lost: int
    """Samples forgotten, as more than a batch was waiting."""

    def refused(self, arrivals: Iterable[float]) -> int:
        """Requests that would have been answered with 503."""
        return sum(start <= at < stop for at in arrivals for start, stop in self.paused)


def reactions_of(turns: Sequence[JudgedTurn], *, takes_feedback: bool) -> list[Reaction]:
    """The samples there would have been, in the order in which they become ready.

    The reference looks at the previous reply's reaction once the reply to the message that carries
    it is complete. It has no endpoint for feedback, and the last turn of a conversation is kept
    for ever.

    Args:
        turns: everything that was said.
        takes_feedback: whether to suppose that feedback outside the conversation were a sample as
            soon as it arrives.
    """
    answers = {
        judged.turn.parent_turn_id: judged.turn
        for judged in turns
        if judged.turn.kind is TurnKind.MAIN and judged.turn.parent_turn_id is not None
    }
    found = []
    for judged in turns:
        turn_id, arrived = judged.turn.turn_id, feedback_arrival(judged)
        if judged.turn.kind is not TurnKind.MAIN or arrived is None:
            continue
        is_said = any(
            state.kind in (NextStateKind.USER, NextStateKind.TOOL) for state in judged.next_states
        )
        if is_said and turn_id in answers:
            found.append(Reaction(turn_id, arrived, answers[turn_id].finished_at))
        elif takes_feedback:
            found.append(Reaction(turn_id, arrived, arrived))
    return sorted(found, key=lambda reaction: reaction.ready_at)


def emulate(
    reactions: Sequence[Reaction],
    *,
    begins_at: float,
    batch_turns: int,
    step_s: float,
    update_s: float = 0.0,
) -> Emulation:
    """Run the loop over samples in the order of `ready_at`.

    Args:
        reactions: from `reactions_of`.
        begins_at: when the loop starts to collect.
        batch_turns: samples per batch.
        step_s: how long training on a batch takes.
        update_s: how long it takes to send weights to the sampler.
    """
    run = Emulation({}, [], 0)
    queue = list(reactions)
    batch, lost = _collect(queue, begins_at, batch_turns)
    start = max(begins_at, batch[-1].ready_at) if batch else begins_at
    while batch:
        following, forgotten = _collect(queue, start, batch_turns)
        lost += forgotten
        if not following:
            break
        complete_at = max(start, following[-1].ready_at)
        out_at = max(start + step_s, complete_at) + update_s
        run.served_at.update((reaction.turn_id, out_at) for reaction in batch)
        if out_at > complete_at:
            run.paused.append((complete_at, out_at))
        batch, start = following, out_at
    return run._replace(lost=lost)


def _collect(queue: list[Reaction], at: float, size: int) -> tuple[list[Reaction], int]:
    """Take a batch out of the queue, beginning at a time: the batch, and how many are forgotten.

    The batch is empty where the traffic ends before it is complete.
    """
    waiting = sum(reaction.ready_at <= at for reaction in queue)
    taken, forgotten = queue[:size], max(0, waiting - size)
    del queue[: max(size, waiting)]
    return (taken, forgotten) if len(taken) == size else ([], forgotten)


def waits(
    run: Emulation, reactions: Sequence[Reaction], arrivals: Sequence[float]
) -> dict[str, Wait | None]:
    """What `clawjax.evals.latency.served_waits` says of real loops, for the emulated one.

    Args:
        run: of `reactions`.
        reactions: the samples.
        arrivals: of all main requests, ascending.
    """
    return {reaction.turn_id: _wait(run, reaction, arrivals) for reaction in reactions}


def _wait(run: Emulation, reaction: Reaction, arrivals: Sequence[float]) -> Wait | None:
    out_at = run.served_at.get(reaction.turn_id)
    if out_at is None or (served := bisect_left(arrivals, out_at)) == len(arrivals):
        return None
    begin = bisect_left(arrivals, reaction.arrived_at)
    return Wait(served - begin, arrivals[served] - reaction.arrived_at)
