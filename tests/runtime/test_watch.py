"""What people at the terminal are told of serving."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from clawjax.config import RunConfig, RunSection
from clawjax.config.hosts import spare_loopback
from clawjax.runtime.paths import RunPaths
from clawjax.runtime.watch import Watch

HEALTH = {"version": 1, "engine": {"trouble": None}}


async def test_what_is_wrong_with_serving_is_told_once_and_so_is_its_end(tmp_path, capsys):
    paths = RunPaths(tmp_path)
    paths.prepare()
    config = RunConfig(run=RunSection(dir=str(tmp_path)))
    config.monitor.live = False
    watch = Watch(config, paths, SimpleNamespace(), SimpleNamespace())
    answers = [
        httpx.Response(200, json={"version": 0, "engine": {"trouble": "a is out: no such path"}}),
        httpx.Response(200, json={"version": 0, "engine": {"trouble": "a is out: no such path"}}),
        httpx.Response(503, json={"version": 0, "engine": {"trouble": "nobody is left"}}),
        httpx.Response(502, text="a proxy's own words"),
        httpx.Response(503, json=["not ours"]),
        httpx.Response(200, json={"version": 1, "engine": {"trouble": None}}),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    async with httpx.AsyncClient(transport=transport) as client:
        while answers:
            await watch._look(client)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Serving")]
    assert told == [
        "Serving: a is out: no such path",
        "Serving: nobody is left",
        "Serving: all is well again",
    ]
    assert watch._health["version"] == 1


@pytest.mark.parametrize(
    ("answer", "who"),
    [
        (httpx.Response(200, json={"engine": "V8", "version": 3}), "another program"),
        (httpx.Response(200, json={"engine": {}}), "another program"),
        (httpx.Response(200, json=["ok"]), "another program"),
        (httpx.Response(404, text="Not Found"), "another program"),
        (httpx.Response(200, json=HEALTH | {"run": "mine"}), "the run 'mine'"),
    ],
)
async def test_who_else_has_the_port_is_named_and_not_believed(tmp_path, capsys, answer, who):
    paths = RunPaths(tmp_path)
    paths.prepare()
    config = RunConfig(run=RunSection(dir=str(tmp_path), name="serve"))
    config.monitor.live = False
    watch = Watch(config, paths, SimpleNamespace(), SimpleNamespace())
    answers = [answer, httpx.Response(200, json=HEALTH | {"run": "serve"})]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    async with httpx.AsyncClient(transport=transport) as client:
        await watch._look(client)
        assert watch._health == {}
        url = "http://127.0.0.1:30000/healthz"
        assert f"Serving: {who} answers {url}: stop it, or set gateway.port" in told(capsys)
        await watch._look(client)
    assert watch._health["run"] == "serve"
    assert "Serving: all is well again" in told(capsys)


@pytest.fixture
def health() -> Iterator[int]:
    """The port at which a run's health is answered."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(HEALTH).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


async def test_no_proxy_is_asked_for_the_runs_own_health(tmp_path, health, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody is
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    paths = RunPaths(tmp_path)
    paths.prepare()
    config = RunConfig(run=RunSection(dir=str(tmp_path)))
    config.monitor.live, config.gateway.port = False, health
    supervisor = SimpleNamespace(poll=lambda: None, notices=[], rss_bytes=0, peak_rss_bytes=0)
    watch = Watch(config, paths, supervisor, SimpleNamespace(forward=lambda: None))
    looking = asyncio.create_task(watch.run())
    try:
        await asyncio.wait_for(watch.serving(), 20)
    finally:
        looking.cancel()


@pytest.mark.parametrize(
    ("given", "spared"),
    [
        ({}, None),
        ({"no_proxy": "intra"}, "intra"),
        ({"HTTP_PROXY": "http://proxy"}, "localhost,127.0.0.1,::1"),
        ({"all_proxy": "http://proxy", "NO_PROXY": "a, ::1"}, "a,::1,localhost,127.0.0.1"),
        ({"http_proxy": "http://proxy", "no_proxy": "*"}, "*"),
    ],
)
def test_where_a_proxy_is_named_it_is_none_for_this_machine(given, spared):
    spare_loopback(environment := dict(given))
    assert environment.get("no_proxy", environment.get("NO_PROXY")) == spared
    if spared not in (None, *given.values()):
        assert environment["NO_PROXY"] == spared


@pytest.mark.parametrize(
    "begin",
    [
        "import _entry; _entry.start(lambda: None)",
        "from clawjax.cli import main; main(['doctor', '/no/such/run'])",
        "from clawjax.evals.__main__ import main; main(['rescore', '/no/such/record'])",
    ],
)
def test_clients_of_this_machine_reach_it_past_a_proxy(health, begin):
    program = (
        "import sys; sys.path.insert(0, 'experiments')\n"
        f"import httpx; {begin}\n"
        f"print(httpx.get('http://127.0.0.1:{health}').status_code)"
    )
    clean = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=clean | {"http_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "200\n", done.stderr


def told(capsys) -> str:
    """What was said, without the breaks of the terminal's lines."""
    return " ".join(capsys.readouterr().out.split())
