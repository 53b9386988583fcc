"""What the processes write to their logs: never, above DEBUG, what somebody said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette

from clawjax.config import EngineConfig, GatewayConfig
from clawjax.errors import LogError, WireError
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.models.tiny import tiny_tokenizer
from clawjax.runtime.child import configure_logging
from clawjax.runtime.logs import outline
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
