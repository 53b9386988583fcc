"""What people at the terminal are told of serving."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest

from clawjax.config import RunConfig, RunSection
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


def told(capsys) -> str:
    """What was said, without the breaks of the terminal's lines."""
    return " ".join(capsys.readouterr().out.split())
