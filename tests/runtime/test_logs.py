"""What the processes write to their logs: never, above DEBUG, what somebody said."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.errors import LogError, WireError
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.models.tiny import tiny_tokenizer
from clawjax.runtime.child import configure_logging
from clawjax.runtime.logs import JsonLines, message_of, outline
from clawjax.runtime.loopback import serving
from clawjax.testing import FakeEngine, temporary_log

MARK = "xylophone-7531"
PATHS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": MARK}]},
    "/v1/responses": {"input": MARK},
    "/v1/messages": {"messages": [{"role": "user", "content": MARK}], "max_tokens": 9},
    "/v1/completions": {"prompt": MARK},
}


class Trips(FakeEngine):
    """Says the word, and now and then trips over it."""

    fails = False

    async def generate(self, request):
        if self.fails:
            raise ValueError(MARK)
        async for chunk in super().generate(request):
            yield chunk


class Refuses:
    """A log whose database quotes what it could not write."""

    def __init__(self, log):
        self._log = log
        self.fails = False

    def append(self, *records):
        if self.fails:
            raise LogError("cannot write the turn log: disk is full") from ValueError(MARK)
        self._log.append(*records)

    def __getattr__(self, name):
        return getattr(self._log, name)


@pytest.fixture
def written(tmp_path, monkeypatch, request) -> Iterator:
    """Logging as the processes set it up, into a file whose text this gives."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setenv("CLAWJAX_LOG_FORMAT", request.param)
    configure_logging(tmp_path / "log")
    yield (tmp_path / "log").read_text
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def endpoint(tmp_path) -> tuple[Starlette, Trips, Refuses]:
    tokenizer = tiny_tokenizer()
    engine, log = Trips(tokenizer, [f"you said {MARK}"]), Refuses(temporary_log(tmp_path))
    deps = GatewayDeps(
        engine=engine,
        tokenizer=tokenizer,
        log=log,
        config=GatewayConfig(max_body_bytes=4000),
        sampling_defaults=EngineConfig(max_response_tokens=64),
        model_name="tiny",
    )
    return create_app(deps), engine, log


@pytest.mark.parametrize("written", ["plain", "json"], indirect=True)
async def test_no_word_of_a_conversation_is_in_the_log(tmp_path, written, request):
    app, engine, log = endpoint(tmp_path)
    statuses = []
    async with serving(app) as url, httpx.AsyncClient(trust_env=False) as client:

        async def post(path, body, **more):
            statuses.append((await client.post(url[:-3] + path, json=body, **more)).status_code)

        for path, body in PATHS.items():
            await post(path, body)
            await post(path, body | {"temperature": MARK})
            await post(path, body | {"model": MARK})
            await post(path, {MARK: MARK * 1000})
        await post("/v1/chat/completions", PATHS["/v1/chat/completions"] | {"tools": [MARK]})
        await post("/v1/feedback", {"response_id": MARK, "text": MARK})
        for broken in (engine, log):
            broken.fails = True
            for path, body in PATHS.items():
                await post(path, body)
            broken.fails = False
    assert set(statuses) == {200, 400, 404, 413, 500}
    text = written()
    assert "ValueError" in text, "what went wrong is told"
    assert "cannot write the turn log: disk is full" in text
    assert MARK not in text
    if request.node.callspec.params["written"] == "json":
        entries = [json.loads(line) for line in text.splitlines()]
        assert all({"time", "level", "logger", "message"} <= set(entry) for entry in entries)
        assert any("in generate" in entry.get("exception", "") for entry in entries)


ENDS = f"""
import asyncio, threading
from clawjax.errors import ClawError, LogError, WireError
from clawjax.runtime.child import run_child

class Dropped:
    def __del__(self):
        raise ValueError("{MARK}")

async def forgets_a_task():
    async def fails():
        raise ValueError("{MARK}")
    asyncio.get_running_loop().create_task(fails())
    await asyncio.sleep(0.05)

def fails(*_):
    raise ValueError("{MARK}")

def body(config, paths):
    if config.run.name == "unexpected":
        fails()
    if config.run.name == "refused":
        raise WireError("{MARK}") from LogError("disk is full")
    if config.run.name == "own":
        raise ClawError("step 3 is odd") from ValueError("{MARK}")
    if config.run.name == "exits":
        raise BaseException("{MARK}")
    thread = threading.Thread(target=fails)
    thread.start()
    thread.join()
    Dropped()
    asyncio.run(forgets_a_task())

run_child(body)
"""


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize(
    ("name", "code", "last_words"),
    [
        ("unexpected", 1, "ended by an unexpected ValueError"),
        ("refused", 1, "ended by an unexpected WireError"),
        ("own", 1, "ClawError: step 3 is odd"),
        ("exits", 1, None),
        ("goes on", 0, None),
    ],
)
def test_no_word_of_a_conversation_is_in_what_a_process_writes(
    tmp_path, form, name, code, last_words
):
    ended = subprocess.run(
        [sys.executable, "-c", ENDS],
        input=json.dumps({"run": {"name": name, "dir": str(tmp_path)}}),
        env={**os.environ, "CLAWJAX_LOG_FORMAT": form},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    written = ended.stdout + ended.stderr
    assert MARK not in written
    if name != "own":
        assert "in fails" in written or "in body" in written, "where it was raised is told"
    lines = ended.stderr.splitlines()
    if form == "json":
        assert all({"time", "level", "message"} <= set(json.loads(line)) for line in lines)
    if last_words is not None:
        assert message_of(lines[-1]) == last_words


def test_the_message_of_a_line_is_found_whatever_its_form():
    record = logging.LogRecord("n", logging.ERROR, __file__, 1, "disk is full", None, None)
    assert message_of(JsonLines().format(record)) == "disk is full"
    for line in ("disk is full", "[1]", '{"message": 3}', ""):
        assert message_of(line) == line


def test_an_outline_tells_kinds_and_places_and_only_messages_that_quote_nobody():
    def fails() -> None:
        try:
            raise ValueError(MARK)
        except ValueError as error:
            raise ExceptionGroup(MARK, [LogError("disk is full"), WireError(MARK)]) from error

    with pytest.raises(ExceptionGroup) as caught:
        fails()
    told = outline(caught.value)
    assert MARK not in told
    assert "ValueError\nwhich led to" in told
    assert "LogError: disk is full" in told
    assert "in fails" in told
