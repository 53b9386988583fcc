"""What the serving process watches of itself."""

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import httpx
import pytest
from turn_records import make_turn

from clawjax.config import GatewayConfig, RunConfig, RunSection
from clawjax.errors import EngineError, LogError
from clawjax.log.forgetting import forget
from clawjax.log.store import SqlTurnLog
from clawjax.models.tiny import tiny_tokenizer
from clawjax.protocols import EngineStatus
from clawjax.records import DropReason, FinishReason
from clawjax.runtime import serve
from clawjax.runtime.child import encode_config
from clawjax.runtime.keeping import LoopKeeper
from clawjax.runtime.paths import RunPaths, write_json
from clawjax.testing import FakeEngine, RecordingMonitor, free_port, temporary_log


class StoppedEngine(FakeEngine):
    def status(self) -> EngineStatus:
        return replace(super().status(), is_healthy=False)


@pytest.fixture
def log(tmp_path):
    log = temporary_log(tmp_path)
    yield log
    log.close()


def gauges(engine, log, refresh):
    config = RunConfig(run=RunSection(dir="unused"))
    status = SimpleNamespace(refresh=refresh)
    server = SimpleNamespace(should_exit=False)
    return serve._gauges(config, log, engine, status, RecordingMonitor(), server)


async def test_a_stopped_engine_ends_the_process_so_that_it_is_started_again(log):
    engine = StoppedEngine(tiny_tokenizer(), ["hi"])
    with pytest.raises(EngineError, match="has to be started again"):
        await gauges(engine, log, lambda log: log.counts())


async def test_an_engine_whose_servers_may_come_back_is_waited_for(log, monkeypatch):
    class Waiting(FakeEngine):
        def status(self) -> EngineStatus:
            looks.append(1)
            return replace(super().status(), is_healthy=False, may_recover=True)

    looks = []
    monkeypatch.setattr(serve, "_TICK_S", 0.01)
    looking = asyncio.create_task(
        gauges(Waiting(tiny_tokenizer(), ["hi"]), log, lambda log: log.counts())
    )
    async with asyncio.timeout(60):
        while len(looks) < 5:  # noqa: ASYNC110 - it looks in a thread
            await asyncio.sleep(0.01)
    assert not looking.done()
    looking.cancel()


async def test_a_log_that_fails_for_a_while_stops_no_gauge(log, monkeypatch):
    monkeypatch.setattr(serve, "_TICK_S", 0.01)
    tries = []

    def fails(*_):
        tries.append(1)
        msg = "cannot write the turn log: database or disk is full"
        raise LogError(msg)

    looking = asyncio.create_task(gauges(FakeEngine(tiny_tokenizer(), ["hi"]), log, fails))
    async with asyncio.timeout(60):
        while len(tries) < 2:  # noqa: ASYNC110 - it looks in a thread
            await asyncio.sleep(0.01)
    assert not looking.done()
    looking.cancel()


async def test_counting_a_long_log_takes_a_small_share_of_the_time(log, monkeypatch):
    monkeypatch.setattr(serve, "_TICK_S", 0.01)
    looks = []

    def slowly(log):
        looks.append(time.sleep(0.1))
        return log.counts()

    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await gauges(FakeEngine(tiny_tokenizer(), ["hi"]), log, slowly)
    assert len(looks) == 1


def test_a_learner_that_has_stopped_is_told_apart(tmp_path):
    paths = RunPaths(tmp_path)
    judges = SimpleNamespace(status=lambda: SimpleNamespace(in_flight=0))
    keeper = LoopKeeper(max_restarts=0, max_wait_s=0.0)
    status = serve.Status(FakeEngine(tiny_tokenizer(), ["hi"]), judges, keeper, paths)
    write_json(paths.learner_status, {"at": time.time(), "stopped": "step 1 is odd"})
    assert status._learner() == {"claimed": 0, "state": "stopped", "reason": "step 1 is odd"}
    write_json(paths.learner_status, {"at": time.time()})
    assert status._learner()["state"] == "waiting"
    write_json(paths.learner_status, {"at": time.time() - 3600.0, "stopped": "step 1 is odd"})
    assert status._learner() == {"claimed": 0, "state": "starting"}, "the run was started again"
    write_json(paths.processes, {"learn": {"state": "stopped", "reason": "learn has stopped"}})
    assert status._learner()["reason"] == "learn has stopped"


async def test_turns_are_kept_for_so_many_days(log, monkeypatch):
    monkeypatch.setattr(serve, "_RETENTION_TICK_S", 0.01)
    now = time.time()
    log.append(make_turn("oldest", arrived_at=0.0))
    forget(log, now=now - 31 * 86_400.0, before=2.0)
    log.append(make_turn("old", arrived_at=now - 3 * 86_400.0), make_turn("new", arrived_at=now))
    retaining = asyncio.create_task(serve._retain(log, 2.0))
    async with asyncio.timeout(60):
        while [gone for _, gone in log.forgotten(after=0)] != ["old"]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    retaining.cancel()
    assert log.get("old") is None
    assert log.get("new") is not None
    await serve._retain(log, None)
    assert log.counts().logged == 1


SERVING = """
import asyncio, sys
from pathlib import Path

from clawjax.models.tiny import tiny_tokenizer
from clawjax.runtime import serve
from clawjax.runtime.child import run_child
from clawjax.testing import FakeEngine


class Engine(FakeEngine):
    async def aclose(self):
        print("the engine is closed", flush=True)


async def open_engine(config, paths, store):
    tokenizer = tiny_tokenizer()
    return Engine(tokenizer, ["word " * 100], token_delay_s=0.1), tokenizer


serve.open_engine, serve._GRACE_S = open_engine, 1
run_child(serve.serve)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_keeps_what_was_begun_and_tidies_up(tmp_path, number):
    config = RunConfig(run=RunSection(dir=str(tmp_path)), gateway=GatewayConfig(port=free_port()))
    config.log.url = f"sqlite:///{tmp_path}/turns.db"
    config.reward.modules = ["feedback"]
    RunPaths(tmp_path).prepare()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        process.stdin.write(encode_config(config) + "\n")
        process.stdin.flush()
        url = f"http://127.0.0.1:{config.gateway.port}"
        wait_for(url)
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
        with (
            suppress(httpx.TransportError),
            httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=30) as stream,
        ):
            pieces = stream.iter_text()
            next(pieces)
            process.send_signal(number)
            list(pieces)
        assert process.wait(timeout=30) == 0
        assert "the engine is closed" in process.stdout.read()
    finally:
        process.kill()
    log = SqlTurnLog.open(config.log.url)
    (judged,) = log.turns()
    outcome = log.outcome(judged.turn.turn_id)
    log.close()
    assert judged.turn.finish_reason is FinishReason.CANCELLED
    assert outcome.drop_reason is DropReason.CANCELLED


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            httpx.get(f"{url}/healthz")
            return
        assert time.monotonic() < deadline, "it does not listen"
        time.sleep(0.05)
