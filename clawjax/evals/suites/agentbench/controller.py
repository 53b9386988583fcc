"""A client of AgentBench's task controller, so that its own workers can be driven.

Protocol of branch v0.2 (`src/server/task_controller.py`, `src/client/task.py`): `start_sample`,
`interact` until the status is no longer `running`, `cancel` on every way out that is none of the
task's. History items are `{role: user | agent, content}`. Results go to `runs.jsonl`, those without
one to `error.jsonl`, in upstream's form, so that its analysis reads them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict

from clawjax.errors import EvalError
from clawjax.evals.harness.failures import ContextLimitReached
from clawjax.evals.harness.protocols import Agent
from clawjax.evals.harness.tasks import Brief, Limits
from clawjax.evals.harness.trajectory import Message
from clawjax.metrics.jsonl import JsonlAppender, read_jsonl

__all__ = ["ControllerClient", "SampleOutcome", "TaskOutput", "agent_reply", "run_indices"]

logger = logging.getLogger(__name__)

SampleIndex = int | str
ReplyFunction = Callable[[Sequence[Mapping[str, str]]], Awaitable[str]]
"""History to reply; raises `ContextLimitReached` where it does not fit."""

_NOT_AVAILABLE = 406
_OK = 200
_ROLES = {"user": "user", "agent": "assistant"}


class HistoryItem(BaseModel):
    """One message."""

    role: Literal["user", "agent"]
    content: str


class TaskOutput(BaseModel):
    """What the controller says of a sample."""

    model_config = ConfigDict(extra="forbid")

    index: SampleIndex | None = None
    status: str = "running"
    result: Any = None
    history: list[HistoryItem] | None = None


class SampleOutcome(BaseModel):
    """What came of a sample: an output, or an error by upstream's name."""

    error: str | None = None
    info: str | None = None
    output: TaskOutput | None = None


class ControllerClient:
    """One task of one controller."""

    def __init__(self, name: str, http: httpx.AsyncClient) -> None:
        """Nothing is asked yet.

        Args:
            name: of the task, e.g. `dbbench-std`.
            http: with the controller as base URL (`http://HOST:5000/api`) and a time-out longer
                than its own, 240 s for a step.
        """
        self.name = name
        self._http = http

    async def indices(self) -> list[SampleIndex]:
        """All samples.

        Raises:
            EvalError: the controller is out of reach, or has no such task. So for the others.
        """
        return await self._ask("GET", "get_indices", params={"name": self.name})

    async def free_places(self) -> int:
        """Samples that may be started now: capacity of living workers less what they run."""
        tasks = await self._ask("GET", "list_workers")
        workers = tasks.get(self.name, {}).get("workers", {}).values()
        return sum(each["capacity"] - each["current"] for each in workers if each["status"] == 0)

    async def calculate_overall(self, results: Sequence[TaskOutput]) -> dict[str, Any]:
        """The worker's own metrics of finished samples."""
        sent = [each.model_dump() for each in results]
        body = {"name": self.name, "results": sent}
        return await self._ask("POST", "calculate_overall", json=body)

    async def run_sample(self, index: SampleIndex, reply: ReplyFunction) -> SampleOutcome:
        """Play one sample; what fails is a `SampleOutcome` with upstream's error name.

        NOT_AVAILABLE (no worker is free) is to be tried again.
        """
        try:
            started = await self._post("start_sample", {"name": self.name, "index": index})
        except httpx.TransportError as error:
            return SampleOutcome(error="NETWORK_ERROR", info=str(error))
        if started.status_code != _OK:
            is_busy = started.status_code == _NOT_AVAILABLE
            return SampleOutcome(
                error="NOT_AVAILABLE" if is_busy else "START_FAILED", info=started.text
            )
        session = int(started.json()["session_id"])
        output = TaskOutput.model_validate(started.json()["output"])
        is_over = False
        try:
            found = await self._interact(session, output, reply)
            is_over = found.error is None
            return found
        finally:
            if not is_over:
                await self._cancel(session)

    async def _interact(
        self, session: int, output: TaskOutput, reply: ReplyFunction
    ) -> SampleOutcome:
        while output.status == "running":
            try:
                response = await _response(output, reply)
            except Exception as error:  # the boundary: the agent's failure is a record
                logger.warning("%s failed in %s", type(error).__name__, self.name, exc_info=True)
                return SampleOutcome(error="AGENT_FAILED", info=str(error), output=output)
            body = {"session_id": session, "agent_response": response}
            try:
                told = await self._post("interact", body)
            except httpx.TransportError as error:
                return SampleOutcome(error="NETWORK_ERROR", info=str(error), output=output)
            if told.status_code != _OK:
                return SampleOutcome(error="INTERACT_FAILED", info=told.text, output=output)
            output = TaskOutput.model_validate(told.json()["output"])
        return SampleOutcome(output=output)

    async def _cancel(self, session: int) -> None:
        """Best effort: a controller that does not answer forgets the session by itself."""
        try:
            told = await self._post("cancel", {"session_id": session})
        except httpx.TransportError as error:
            logger.warning("session %d was not cancelled: %s", session, error)
            return
        if told.status_code != _OK:
            logger.warning("session %d was not cancelled: %s", session, told.text)

    async def _post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        return await self._http.post(path, json=body)

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            told = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            msg = f"the controller at {self._http.base_url} does not answer {path}: {error!r}"
            raise EvalError(msg) from error
        if told.status_code != _OK:
            msg = f"{path} of {self.name}: status {told.status_code}, {told.text[:200]}"
            raise EvalError(msg)
        return told.json()


def agent_reply(agent: Agent, task: str, index: SampleIndex, *, seed: int = 0) -> ReplyFunction:
    """An agent of ours as the one who replies. It gets text only, without tools."""
    brief = Brief(
        episode_id=f"{task}/{index}",
        suite=task,
        task_id=str(index),
        trial=0,
        instruction="",
        system="",
        tools=(),
        text_rules="",
        limits=Limits(),
    )

    async def reply(history: Sequence[Mapping[str, str]]) -> str:
        messages = [Message(_ROLES[each["role"]], each["content"]) for each in history]
        return (await agent.act(brief, messages, seed=seed)).text

    return reply


async def run_indices(
    client: ControllerClient,
    reply_for: Callable[[SampleIndex], ReplyFunction],
    folder: Path,
    *,
    concurrency: int = 1,
    retry_s: float = 10.0,
    attempts: int = 60,
) -> list[TaskOutput]:
    """Play all samples that `folder/runs.jsonl` does not hold; all that it holds then.

    Args:
        client: of the task.
        reply_for: gives the replies of one sample.
        folder: of upstream's files.
        concurrency: samples at once.
        retry_s: wait before a sample is tried again for which no worker was free.
        attempts: at starting one sample.
    """
    runs = folder / "runs.jsonl"
    done = {entry["index"] for entry in read_jsonl(runs)}
    gate = asyncio.Semaphore(concurrency)

    async def one(index: SampleIndex) -> None:
        async with gate:
            found = SampleOutcome(error="NOT_AVAILABLE")
            for _ in range(attempts):
                found = await client.run_sample(index, reply_for(index))
                if found.error != "NOT_AVAILABLE":
                    break
                await asyncio.sleep(retry_s)
            _append(runs if found.error is None else folder / "error.jsonl", index, found)

    async with asyncio.TaskGroup() as group:
        for index in await client.indices():
            if index not in done:
                group.create_task(one(index))
    return [
        TaskOutput.model_validate(entry["output"] | {"index": entry["index"]})
        for entry in read_jsonl(runs)
    ]


async def _response(output: TaskOutput, reply: ReplyFunction) -> dict[str, Any]:
    history = [each.model_dump() for each in output.history or ()]
    try:
        return {"status": "normal", "content": await reply(history)}
    except ContextLimitReached:
        return {"status": "agent context limit", "content": None}


def _append(path: Path, index: SampleIndex, found: SampleOutcome) -> None:
    now = time.time()
    stamp = {
        "timestamp": int(now * 1000),
        "str": f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S}",
    }
    appender = JsonlAppender(path)
    try:
        appender.append({"index": index, **json.loads(found.model_dump_json()), "time": stamp})
    finally:
        appender.close()
