"""A simulated user, in a process of its own, talking to the endpoint like anybody else.

`python -m clawjax.envs.simulated_user --config FILE.json` holds conversations: asks, reads the
streamed reply, thinks, reacts in plain words according to a persona, asks on. It knows the server
by its address alone and keeps its mood to itself. Invariant: what it has done is on disk after
each turn, so that running it again goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import openai

from clawjax.envs.client import Answer, ChatClient
from clawjax.envs.persona import Persona, Question, Reaction, join_message, load_persona
from clawjax.envs.style import count_words
from clawjax.envs.user_settings import UserSettings, UserState, read_settings
from clawjax.errors import ClawError, ConfigError, EngineError
from clawjax.metrics.jsonl import JsonlAppender, JsonlMonitor
from clawjax.tasks import task_group

__all__ = ["SimulatedUser", "main"]

logger = logging.getLogger(__name__)

_THUMBS_RATE = 0.25
"""Last replies that get thumbs instead of words."""
_MOST_REFUSALS = 5
"""Requests refused one after the other before the user gives up."""
_LONGEST_PAUSE = 4.0
"""In units of the mean pause."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What one conversation will be, drawn from seed and session number alone."""

    index: int
    questions: tuple[tuple[int, Question], ...]
    """With their position among the persona's training questions."""
    sends_id: bool
    leaves: bool


def plan_session(persona: Persona, seed: int, index: int, *, leave_rate: float) -> SessionPlan:
    """Draw session `index`: two or three questions, each asked once before any is asked again."""
    rng = random.Random(f"plan:{seed}:{index}")
    planned = [_question(persona, seed, 3 * index + offset) for offset in range(3)]
    return SessionPlan(
        index=index,
        questions=tuple(planned[: rng.choice((2, 3))]),
        sends_id=index % 2 == 0,
        leaves=rng.random() < leave_rate,
    )


def _question(persona: Persona, seed: int, position: int) -> tuple[int, Question]:
    epoch, offset = divmod(position, len(persona.train))
    order = list(range(len(persona.train)))
    random.Random(f"order:{seed}:{epoch}").shuffle(order)
    return order[offset], persona.train[order[offset]]


def _reply_seed(seed: int, session: int, turn: int) -> int:
    """What a reply is sampled with: the same weights answer the same conversation alike."""
    return random.Random(f"reply:{seed}:{session}:{turn}").randrange(2**31)


class SimulatedUser:
    """Holds `concurrency` conversations at once until a stop condition is met."""

    def __init__(
        self,
        settings: UserSettings,
        persona: Persona,
        client: ChatClient,
    ) -> None:
        """Go on from the state file, if there is one."""
        self._settings = settings
        self._persona = persona
        self._client = client
        self._state = UserState.load(settings)
        self._turns_begun = self._state.turns
        self._refusals = 0
        self._is_stopping = False
        self._started = time.monotonic()
        self._elapsed_before = self._state.elapsed_s
        self._record = JsonlAppender(Path(settings.run_dir) / "user.jsonl")
        self._monitor = JsonlMonitor(Path(settings.run_dir) / "metrics.jsonl", source="user")

    async def run(self) -> UserState:
        """Talk until a stop condition is met; returns what was done in all runs together.

        Raises:
            EngineError: the endpoint was unreachable for longer than `retry_s`, refuses one
                request after the other, or whoever started the user is gone.
        """
        try:
            async with self._watching(), task_group() as group:
                for _ in range(self._settings.concurrency):
                    group.create_task(self._converse())
        finally:
            self._save()
            self._record.close()
            self._monitor.close()
        return self._state

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        async with task_group() as group:
            watcher = group.create_task(self._watch())
            try:
                yield
            finally:
                watcher.cancel()

    async def _watch(self) -> None:
        while not self._is_stopping:
            if self._settings.parent_pid not in (None, os.getppid()):
                msg = f"the process {self._settings.parent_pid} that started this user is gone"
                raise EngineError(msg)
            version = await self._client.version()
            reached = version is not None and version >= self._settings.updates
            self._is_stopping = reached or self._elapsed() >= self._settings.max_seconds
            await asyncio.sleep(self._settings.poll_s)

    async def _converse(self) -> None:
        while self._may_ask():
            plan = plan_session(
                self._persona,
                self._settings.seed,
                self._state.next_session,
                leave_rate=self._settings.leave_rate,
            )
            self._state.next_session += 1
            self._save()
            try:
                await self._hold(plan)
            except openai.APIStatusError as error:
                logger.error("session %d ended by status %d", plan.index, error.status_code)
                self._refusals += 1
                if self._refusals >= _MOST_REFUSALS:
                    msg = f"{self._refusals} requests in a row were refused, the last: {error}"
                    raise EngineError(msg) from error
                await asyncio.sleep(self._settings.poll_s)

    def _may_ask(self) -> bool:
        return not self._is_stopping and self._turns_begun < self._settings.max_turns

    async def _hold(self, plan: SessionPlan) -> None:
        """One conversation: every reply but the last is reacted to in the next message."""
        rng = random.Random(f"talk:{self._settings.seed}:{plan.index}")
        session = f"{self._persona.name}-{self._settings.seed}-{plan.index}"
        messages: list[dict[str, str]] = []
        text = plan.questions[0][1].text
        for turn, (number, question) in enumerate(plan.questions):
            messages.append({"role": "user", "content": text})
            seed = _reply_seed(self._settings.seed, plan.index, turn)
            answer = await self._ask(messages, session if plan.sends_id else None, seed)
            messages.append({"role": "assistant", "content": answer.text})
            await self._think(rng)
            is_last = turn + 1 == len(plan.questions) or not self._may_ask()
            reaction = None
            if not (is_last and plan.leaves):
                reaction = self._persona.react(answer.text, question, rng)
            channel = None if reaction is None else "message"
            if is_last and reaction is not None:
                channel = await self._give_feedback(answer, reaction, rng)
            self._remember(plan, turn, number, answer, reaction, channel)
            if is_last or reaction is None:
                return
            connector = rng.choice(self._persona.connectors)
            text = join_message(connector, reaction.text, plan.questions[turn + 1][1].text)

    async def _ask(self, messages: list[dict[str, str]], session: str | None, seed: int) -> Answer:
        self._turns_begun += 1
        try:
            return await self._client.ask(messages, session=session, seed=seed)
        except BaseException:
            self._turns_begun -= 1
            raise

    async def _think(self, rng: random.Random) -> None:
        mean = self._settings.think_s
        if mean > 0:
            await asyncio.sleep(min(rng.expovariate(1 / mean), _LONGEST_PAUSE * mean))

    async def _give_feedback(self, answer: Answer, reaction: Reaction, rng: random.Random) -> str:
        thumbs = {"praise": "up", "complaint": "down"}.get(reaction.mood)
        if thumbs is not None and rng.random() < _THUMBS_RATE:
            await self._client.give_thumbs(answer.response_id, thumbs)
            return "thumbs"
        await self._client.give_words(answer.response_id, reaction.text)
        return "words"

    def _remember(
        self,
        plan: SessionPlan,
        turn: int,
        number: int,
        answer: Answer,
        reaction: Reaction | None,
        channel: str | None,
    ) -> None:
        seen = {
            "words": count_words(answer.text),
            "style": self._persona.score(answer.text, plan.questions[turn][1].text),
            "latency_s": round(answer.latency_s, 4),
            "first_token_s": round(answer.first_token_s, 4),
        }
        identity = {
            "t": answer.finished_at,
            "session": plan.index,
            "turn": turn,
            "response_id": answer.response_id,
            "question_index": number,
        }
        said = {
            "mood": None if reaction is None else reaction.mood,
            "reaction": None if reaction is None else reaction.text,
            "channel": channel,
        }
        self._record.append(identity | seen | said)
        self._monitor.log({f"user/{name}": value for name, value in seen.items()})
        self._refusals = 0
        self._state.turns += 1
        self._save()

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._started

    def _save(self) -> None:
        self._state.elapsed_s = self._elapsed()
        self._state.add_errors(self._client.take_errors())
        self._state.save(self._settings)


async def _run(settings: UserSettings) -> UserState:
    persona = load_persona(settings.persona)
    async with ChatClient.connect(settings) as client:
        return await SimulatedUser(settings, persona, client).run()


def main(argv: list[str] | None = None) -> int:
    """Run to a stop condition; returns the exit code: 2 for bad settings, 1 for no answer."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(_run(read_settings(argv)))
    except (ClawError, openai.APIError) as error:
        logger.error("%s", error)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
