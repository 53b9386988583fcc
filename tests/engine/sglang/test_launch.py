"""Server processes: started, waited for, started again, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sampled_replies import collect, config, engine_of, request, until

from clawjax.config import LaunchConfig
from clawjax.engine.sglang.launch import Launched, command_line
from clawjax.errors import ConfigError
from clawjax.testing import free_port

SERVER = [sys.executable, str(Path(__file__).parent / "scripted_server.py")]


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def launching(*command: str, **launch: object):
    quick = {"port": free_port(), "stop_timeout_s": 5.0, "start_timeout_s": 60.0}
    launched = LaunchConfig(servers=1, command=list(command), **(quick | launch))
    return config(launch=launched, wait_for_server_s=30.0)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


async def test_a_server_is_started_found_again_after_a_kill_and_stopped(tmp_path):
    engine_config = launching(*SERVER)
    async with engine_of(engine=engine_config, logs=tmp_path) as engine:
        assert (await collect(engine, request())).finish_reason
        (launched,) = engine._launched
        first = launched._process.pid
        os.kill(first, signal.SIGKILL)
        reply = await collect(engine, request())
        assert len(reply.token_ids) == 12
        assert set(reply.versions) == {0}
        second = launched._process.pid
        assert second != first
    assert not is_alive(second)
    assert (tmp_path / "server0.log").stat().st_size > 0


@pytest.mark.parametrize(("own", "words"), [(None, ["--revision", "v2"]), ("models/tiny", [])])
async def test_a_launched_server_loads_the_revision_that_is_trained(tmp_path, own, words):
    engine_config = launching(*SERVER, model=own)
    async with engine_of(engine=engine_config, logs=tmp_path, revision="v2") as engine:
        command = engine._launched[0]._command
        at = command.index("--model-path") + 2
        assert command[at : at + 2] == (words or ["--served-model-name", "tiny"])


async def test_a_server_that_does_not_start_is_given_up_with_its_last_words(tmp_path):
    words = "raise SystemExit('no CUDA device')"
    engine_config = launching(sys.executable, "-c", words, max_restarts=0)
    with pytest.raises(ConfigError, match="no CUDA device"):
        async with asyncio.timeout(30), engine_of(engine=engine_config, logs=tmp_path):
            pass


async def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no-such-program"):
        async with engine_of(engine=launching("no-such-program"), logs=tmp_path):
            pass


async def test_a_port_that_somebody_has_is_not_launched_at(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = launching(*SERVER, port=other.getsockname()[1])
        with pytest.raises(ConfigError, match=r"set engine\.sglang\.launch\.port"):
            async with engine_of(engine=taken, logs=tmp_path):
                pass


async def test_of_two_runs_that_launch_at_one_port_the_second_is_refused(tmp_path):
    """Before either server listens, as while it loads its model."""
    port = free_port()

    def launched(stop_timeout_s: float) -> Launched:
        launch = LaunchConfig(
            servers=1, command=["sh", "-c", "sleep 60"], port=port, stop_timeout_s=stop_timeout_s
        )
        return launched_by(launch, tmp_path)

    first, second = launched(5.0), launched(0.5)
    await first.start()
    with pytest.raises(ConfigError, match=r"another process .* set engine\.sglang\.launch\.port"):
        await second.start()
    assert second._process is None
    await first.aclose()
    await second.start()
    await second.aclose()


async def test_a_server_that_is_still_ending_is_waited_for(tmp_path):
    """Of a serving process that was killed and is started again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        launch = LaunchConfig(
            servers=1, command=["sh", "-c", "sleep 60"], port=other.getsockname()[1]
        )
        launched = launched_by(launch, tmp_path)
        starting = asyncio.create_task(launched.start())
        await asyncio.sleep(0.5)
        assert not starting.done()
        other.close()
        await asyncio.wait_for(starting, 20)
    assert launched._process is not None
    await launched.aclose()


async def test_what_a_server_has_started_ends_with_it(tmp_path):
    told = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {told}; exit 1"
    async with launched_until_it_ends(script, tmp_path):
        await until(lambda: not is_running(int(told.read_text())))


async def test_a_server_is_not_told_the_key_that_the_gateways_callers_show(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAWJAX_API_KEY", "of-the-gateway")
    told = tmp_path / "told"
    script = f'echo "key:$CLAWJAX_API_KEY" "$OTHER" > {told}'
    async with launched_until_it_ends(script, tmp_path, env={"OTHER": "its own"}):
        assert told.read_text() == "key: its own\n"


@asynccontextmanager
async def launched_until_it_ends(script: str, logs: Path, **launch: object):
    """A shell script in a server's place, once it has ended and is not started again."""
    command = ["sh", "-c", script]
    launched = launched_by(
        LaunchConfig(servers=1, command=command, port=free_port(), max_restarts=0, **launch), logs
    )
    await launched.start()
    async with asyncio.timeout(60):
        await launched._keeper
    yield
    await launched.aclose()


def launched_by(config: LaunchConfig, logs: Path) -> Launched:
    return Launched(
        config,
        0,
        model="m",
        revision=None,
        served_name="m",
        context_length=8,
        log=logs / "server.log",
        on_exit=lambda why: None,
        pause_s=0.01,
    )


def is_running(pid: int) -> bool:
    """Whether it is more than an entry that nobody has collected."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def test_a_key_reaches_servers_by_a_file_of_their_owner_and_stands_in_no_list(
    tmp_path, caplog
):
    with caplog.at_level("INFO"):
        async with engine_of(engine=launching(*SERVER), logs=tmp_path) as engine:
            (launched,) = engine._launched
            told = arguments_of(launched._process.pid)
            file = told[told.index("--config") + 1]
            assert os.stat(file).st_mode & 0o777 == 0o600
            async with httpx.AsyncClient(base_url=launched.url, timeout=30) as client:
                assert (await client.get("/get_model_info")).status_code == 401
            assert len((await collect(engine, request())).token_ids) == 12
    assert not is_there(file)
    assert "secret" not in " ".join(told)
    assert "starting http" in caplog.text
    assert "secret" not in caplog.text


async def test_a_program_without_config_files_is_given_its_key_by_argument(tmp_path):
    refusing = ["import argparse", "argparse.ArgumentParser(allow_abbrev=False).parse_args()"]
    old = launching(sys.executable, "-c", "\n".join(refusing), max_restarts=0)
    with pytest.raises(ConfigError, match=r"set engine\.sglang\.launch\.key_by=argument"):
        async with asyncio.timeout(30), engine_of(engine=old, logs=tmp_path):
            pass
    told = launching(*SERVER, key_by="argument")
    async with engine_of(engine=told, logs=tmp_path) as engine:
        words = arguments_of(engine._launched[0]._process.pid)
        assert words[words.index("--api-key") + 1] == "secret"
    with pytest.raises(ConfigError, match=r"engine\.sglang\.launch\.key_by"):
        LaunchConfig(key_by="post")
    twice = launching(*SERVER, options=["--config", "own.yaml"])
    with pytest.raises(ConfigError, match="takes one file only"):
        async with engine_of(engine=twice, logs=tmp_path):
            pass


def test_keys_are_asked_for_by_the_variable_alone():
    with pytest.raises(ConfigError, match=r"engine\.sglang\.api_key_env"):
        LaunchConfig(servers=1, options=["--api-key", "hunter2"])


async def test_servers_that_others_reach_need_a_key(tmp_path):
    opened = launching(*SERVER, host="0.0.0.0")
    with pytest.raises(ConfigError, match=r"launch\.host=0\.0\.0\.0 opens the servers to others"):
        async with engine_of(engine=opened, logs=tmp_path, api_key=None):
            pass


def is_there(file: str) -> bool:
    return Path(file).exists()


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def test_a_program_that_is_gone_for_a_while_is_one_more_death(tmp_path):
    program, deaths = tmp_path / "server", []

    def install():
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)

    def on_exit(why):
        deaths.append(why)
        {1: program.unlink, 2: install}.get(len(deaths), lambda: None)()

    install()
    launched = Launched(
        LaunchConfig(servers=1, command=[str(program)], max_restarts=3),
        0,
        model="m",
        revision=None,
        served_name="m",
        context_length=8,
        log=tmp_path / "server.log",
        on_exit=on_exit,
        pause_s=0.01,
    )
    await launched.start()
    async with asyncio.timeout(60):
        await launched._keeper
    await launched.aclose()
    assert launched.has_given_up
    signs = ("ended with code 3", "no program", "ended with code 3", "after 3 restarts")
    assert all(sign in why for sign, why in zip(signs, deaths, strict=True))


_LEAVES = """
import os, subprocess, sys
from clawjax.engine.sglang.launch import tethered

way, *command = sys.argv[1:]
stand_by = f"from clawjax.engine.sglang import tether; tether.stand_by({os.getpid()}, {command})"
ways = {"become": tethered(command), "stand by": [sys.executable, "-c", stand_by]}
process = subprocess.Popen(ways[way], stdout=subprocess.PIPE, text=True)
print(process.stdout.readline(), flush=True)
os._exit(1)
"""
_SERVES = """
import os, sys
from clawjax.engine.server.__main__ import main

print(os.getpid(), flush=True)
sys.exit(main(sys.argv[1:]))
"""
_SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("way", "program"),
    [
        pytest.param(
            "become",
            [_SERVES, "--model-path=random:llama", "--skip-server-warmup", "--port=0"],
            marks=pytest.mark.skipif(sys.platform != "linux", reason="the kernel's doing"),
        ),
        ("stand by", [_SLEEPS]),
    ],
    ids=["an engine server", "any program, without the kernel's help"],
)
async def test_a_server_does_not_outlive_a_process_that_dies(way, program):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LEAVES, way, sys.executable, "-c", *program),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(300):
        pid = int(await process.stdout.readline())
        await process.wait()
        while is_alive(pid):  # noqa: ASYNC110 - it is not ours to wait for
            await asyncio.sleep(0.05)


def test_the_command_line_has_what_both_servers_take():
    launch = LaunchConfig(
        servers=2,
        port=9000,
        tp=4,
        memory_fraction=0.8,
        reasoning_parser="qwen3",
        lora_rank=16,
        lora_targets=["q_proj", "v_proj"],
        options=["--enable-metrics"],
    )
    words = command_line(
        launch, 1, model="a/m", revision="v2", served_name="tiny", context_length=64
    )
    assert " ".join(words) == (
        "python -m sglang.launch_server --model-path a/m --revision v2 --served-model-name tiny "
        "--context-length 64 --host 127.0.0.1 --port 9001 --tp-size 4 --mem-fraction-static 0.8 "
        "--reasoning-parser qwen3 --enable-lora --max-lora-rank 16 "
        "--lora-target-modules q_proj v_proj --enable-metrics"
    )
