"""One episode: agent and environment in turns until it is over.

Invariant: whatever happens, there is one `Trajectory` whose outcome says why it ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from clawjax.evals.harness.failures import AgentFailure, ContextLimitReached, EnvironmentFailure
from clawjax.evals.harness.outcome import Outcome
from clawjax.evals.harness.process import EnvironmentPool, EnvironmentProcess
from clawjax.evals.harness.protocols import Agent, FormatError, InvalidAction, Parsed, Suite
from clawjax.evals.harness.tasks import ANSWER, Action, Brief, Limits, Task
from clawjax.evals.harness.trajectory import (
    AgentTurn,
    Executed,
    Parse,
    Step,
    StepResult,
    Trajectory,
    messages_of,
    rounds,
)

__all__ = ["play", "shorten"]

logger = logging.getLogger(__name__)

_TRACE_CHARACTERS = 2000


@dataclass(slots=True)
class _Episode:
    """What is known of an episode under way."""

    task: Task
    brief: Brief
    seed: int
    first: str = ""
    steps: list[Step] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    """All that were handed to the environment, also one that it did not survive."""
    before: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    evidence: dict = field(default_factory=dict)
    answer: str | None = None
    outcome: Outcome = Outcome.TASK_LIMIT
    detail: str = ""
    clock: Callable[[], float] = time.time
    asked_at: float | None = None
    """Since when the agent owes a reply, by the monotonic clock; None: it does not."""


async def play(
    suite: Suite,
    task: Task,
    agent: Agent,
    pool: EnvironmentPool,
    *,
    folder: Path,
    trial: int,
    attempt: int = 0,
    seed: int = 0,
    session: str = "",
    keep: Callable[[Trajectory], None] = lambda trajectory: None,
) -> Trajectory:
    """Play one task once.

    Args:
        suite: whose task it is.
        task: what is to be done.
        agent: who does it.
        pool: gives an environment.
        folder: where the environment puts files of this episode, absolute; need not be there.
        trial: number of this repetition.
        attempt: how often this repetition was begun before.
        seed: of environment and agent.
        session: put before the episode's name, so that sessions of two runs are told apart.
        keep: is called with the trajectory, also where the episode is cancelled.
    """
    name = "/".join(filter(None, (session, suite.name, task.task_id, f"{trial}.{attempt}")))
    brief = task.brief(name, trial=trial, text_rules=suite.text_rules)
    episode = _Episode(task, brief, seed)
    began = time.monotonic()
    try:
        async with pool.environment() as environment:
            await _guarded(suite, agent, environment, episode)
            if not environment.is_broken:
                await _look_back(suite, environment, episode, folder)
    except EnvironmentFailure as failure:
        is_its_doing = not failure.is_outside and await _breaks_again(
            suite, episode, pool, folder / "again"
        )
        episode.outcome = Outcome.BROKE_ENVIRONMENT if is_its_doing else Outcome.ENVIRONMENT_ERROR
        episode.detail = str(failure)
    except asyncio.CancelledError:
        episode.outcome, episode.detail = Outcome.CANCELLED, "the run was stopped"
        keep(_record(suite, episode, agent.name, trial, attempt, time.monotonic() - began))
        raise
    trajectory = _record(suite, episode, agent.name, trial, attempt, time.monotonic() - began)
    keep(trajectory)
    return trajectory


async def _look_back(
    suite: Suite, environment: EnvironmentProcess, episode: _Episode, folder: Path
) -> None:
    """Keep what the scorer needs to know of the final state."""
    episode.after = dict(await environment.snapshot())
    request = suite.inspection(episode.task)
    if request:
        known = {"answer": episode.answer, "folder": str(folder)}
        episode.evidence = dict(await environment.inspect({**known, **request}))


async def _breaks_again(
    suite: Suite, episode: _Episode, pool: EnvironmentPool, folder: Path
) -> bool:
    """Whether the actions that an environment did not survive break another one.

    Then it is the agent's doing, and no way to become unscored. An environment that cannot even
    be reset was not broken by it. In a live world nothing is done twice, so that it is not known.
    """
    if not episode.actions or suite.launch.is_live:
        return False
    again = _Episode(episode.task, episode.brief, episode.seed, answer=episode.answer)
    is_reset = False
    try:
        async with pool.environment() as environment:
            await environment.reset(episode.task.setup(episode.seed))
            is_reset = True
            for action in episode.actions:
                await environment.step(action)
            await _look_back(suite, environment, again, folder)
    except EnvironmentFailure as failure:
        return is_reset and not failure.is_outside
    return False


async def _guarded(
    suite: Suite, agent: Agent, environment: EnvironmentProcess, episode: _Episode
) -> None:
    """Play, and turn what ended the episode into its outcome."""
    limits = episode.task.limits
    clock = asyncio.timeout(limits.wall_s)
    try:
        episode.first = shorten(
            await environment.reset(episode.task.setup(episode.seed)), limits.observation_chars
        )
        episode.before = dict(await environment.snapshot())
        async with clock:
            episode.outcome, episode.detail = await _turns(suite, agent, environment, episode)
    except ContextLimitReached as reached:
        episode.outcome, episode.detail = Outcome.CONTEXT_LIMIT, str(reached)
    except AgentFailure as failure:
        episode.outcome, episode.detail = Outcome.AGENT_ERROR, str(failure)
    except TimeoutError:
        if not clock.expired():
            raise  # not this limit's: a mistake in the harness
        episode.outcome, episode.detail = _out_of_time(agent, episode)


def _out_of_time(agent: Agent, episode: _Episode) -> tuple[Outcome, str]:
    """Slowness is the agent's; an endpoint that does not answer at all is not."""
    wall = f"wall time: {episode.task.limits.wall_s:g} s"
    if episode.asked_at is None:
        return Outcome.TASK_LIMIT, wall
    waited = time.monotonic() - episode.asked_at
    if episode.steps and waited < getattr(agent, "timeout_s", math.inf):
        return Outcome.TASK_LIMIT, wall
    return Outcome.AGENT_ERROR, f"the endpoint did not answer in {waited:.1f} s ({wall})"


async def _turns(
    suite: Suite, agent: Agent, environment: EnvironmentProcess, episode: _Episode
) -> tuple[Outcome, str]:
    limits = episode.task.limits
    for _ in range(limits.turns):
        started = episode.clock()
        turn = await _reply(agent, episode)
        step, is_done = await _carry_out(suite, turn, environment, episode)
        step = dataclasses.replace(step, started_at=started, ended_at=episode.clock())
        episode.steps.append(step)
        if is_done:
            return Outcome.COMPLETED, ""
        ended = _limit_hit(episode.steps, limits)
        if ended is not None:
            return ended
    return Outcome.TASK_LIMIT, f"turns: {limits.turns}"


async def _reply(agent: Agent, episode: _Episode) -> AgentTurn:
    history = messages_of(episode.task.instruction, episode.first, episode.steps)
    episode.asked_at = time.monotonic()
    try:
        turn = await agent.act(episode.brief, history, seed=episode.seed)
    except (ContextLimitReached, AgentFailure):
        raise
    except Exception as error:  # the boundary: a broken agent is an agent error of this episode
        logger.exception("the agent %s broke down", agent.name)
        trace = traceback.format_exc()[-_TRACE_CHARACTERS:]
        raise AgentFailure(f"{type(error).__name__}: {error}\n{trace}") from error
    episode.asked_at = None
    return turn


async def _carry_out(
    suite: Suite, turn: AgentTurn, environment: EnvironmentProcess, episode: _Episode
) -> tuple[Step, bool]:
    """What comes of a reply, and whether that ends it; nothing is done beyond a limit."""
    limits = episode.task.limits
    match _read(suite, turn, episode.brief):
        case FormatError(problem):
            return Step(turn, Parse.FORMAT_ERROR, problem), False
        case InvalidAction(problem):
            return Step(turn, Parse.INVALID_ACTION, problem), False
        case Parsed(actions):
            step = Step(turn, Parse.PARSED)
            for action in actions:
                if action.name == ANSWER:
                    episode.answer = str(action.arguments.get("text", ""))
                episode.actions.append(action)
                result = await _step(environment, action, limits)
                step = dataclasses.replace(
                    step, executed=(*step.executed, Executed(action, result))
                )
                if result.is_done or action.name == ANSWER:
                    return step, True
                if _reached([*episode.steps, step], limits):
                    break
            return step, False


def _read(suite: Suite, turn: AgentTurn, brief: Brief) -> Parsed | FormatError | InvalidAction:
    try:
        return suite.parser(turn, brief)
    except Exception as error:  # the boundary: no reply ends more than its own turn
        logger.exception("%s cannot read a reply", suite.name)
        return FormatError(f"Your reply could not be read ({type(error).__name__}).")


async def _step(environment: EnvironmentProcess, action: Action, limits: Limits) -> StepResult:
    result = await environment.step(action)
    text = shorten(result.observation, limits.observation_chars)
    return dataclasses.replace(result, observation=text)


def _limit_hit(steps: list[Step], limits: Limits) -> tuple[Outcome, str] | None:
    spent = sum(step.turn.usage.completion_tokens or 0 for step in steps)
    if limits.tokens is not None and spent >= limits.tokens:
        return Outcome.TASK_LIMIT, f"tokens: {spent} of {limits.tokens}"
    return _reached(steps, limits)


def _reached(steps: list[Step], limits: Limits) -> tuple[Outcome, str] | None:
    """The limit of errors in a row or of actions, also in the middle of a reply."""
    if _in_a_row(steps, _is_malformed) >= limits.format_errors:
        return Outcome.INVALID_FORMAT, f"{limits.format_errors} replies in a row"
    if _in_a_row(steps, _is_refused) >= limits.action_errors:
        return Outcome.INVALID_ACTION, f"{limits.action_errors} replies in a row"
    if limits.counts_actions and rounds(steps) >= limits.turns:
        return Outcome.TASK_LIMIT, f"turns: {limits.turns}"
    return None


def _in_a_row(steps: list[Step], is_so: Callable[[Step], bool]) -> int:
    count = 0
    for step in reversed(steps):
        if not is_so(step):
            break
        count += 1
    return count


def _is_malformed(step: Step) -> bool:
    return step.parse is Parse.FORMAT_ERROR


def _is_refused(step: Step) -> bool:
    if step.parse is Parse.INVALID_ACTION:
        return True
    return not all(each.result.is_valid for each in step.executed)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, and how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit} more characters are not shown]"


def _record(
    suite: Suite, episode: _Episode, agent: str, trial: int, attempt: int, wall_s: float
) -> Trajectory:
    task = episode.task
    return Trajectory(
        suite=suite.name,
        suite_version=suite.version,
        data_version=task.data_version,
        task_id=task.task_id,
        split=task.split,
        trial=trial,
        attempt=attempt,
        seed=episode.seed,
        agent=agent,
        instruction=task.instruction,
        first_observation=episode.first,
        steps=tuple(episode.steps),
        outcome=episode.outcome,
        detail=episode.detail,
        answer=episode.answer,
        before=episode.before,
        after=episode.after,
        evidence=episode.evidence,
        metadata=task.metadata,
        wall_s=wall_s,
    )
