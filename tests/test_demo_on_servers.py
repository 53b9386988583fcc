"""The demo on engine servers, as the usage page says: two processes besides the run's own."""

from __future__ import annotations

import sys

import pytest
from started_runs import check_books, finish, start

from clawjax.log.store import SqlTurnLog
from clawjax.testing import free_port


@pytest.mark.slow
@pytest.mark.thorough  # shorter: tests/engine/sglang/test_publishing_under_load.py
def test_the_demo_learns_from_replies_of_engine_servers(tmp_path):
    port = free_port()
    launch = {
        "servers": 2,
        "port": port,
        "command": f"[{sys.executable},-m,clawjax.engine.server]",
        "options": f'["--skip-server-warmup","--compilation-cache={tmp_path / "programs"}"]',
    }
    run = start(
        tmp_path,
        "engine=sglang_launch",
        "engine.max_response_tokens=32",
        "user.updates=3",
        "user.max_turns=300",
        "user.max_seconds=600",
        "user.think_s=0.3",
        *(f"engine.sglang.launch.{name}={value}" for name, value in launch.items()),
    )
    try:
        finish(run, timeout_s=900)
    finally:
        run.kill()
    folder = tmp_path / "tiny_demo"
    report = check_books(folder)
    newest = report["policy_version"]
    assert report["non_2xx"] == 0
    assert newest >= 3
    assert report["after"]["version"] == newest
    said = (folder / "logs" / "serve.log").read_text()
    for url in (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"):
        assert f"{url} has weights {newest}" in said
    log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
    sampled = {run.version for judged in log.turns() for run in judged.turn.token_versions}
    log.close()
    assert {0, newest} <= sampled <= set(range(newest + 1))
