"""Which engine serves, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from clawjax.config import (
    EngineConfig,
    LaunchConfig,
    ModelConfig,
    RunConfig,
    RunSection,
    SglangConfig,
    to_run_config,
)
from clawjax.errors import ConfigError, EngineError
from clawjax.runtime.child import encode_config
from clawjax.runtime.engines import open_engine
from clawjax.runtime.lockstep import Lockstep
from clawjax.runtime.paths import RunPaths
from clawjax.weights import DirectoryWeightStore

ROOT = Path(__file__).parents[2]


def attached(url: str) -> RunConfig:
    sglang = SglangConfig(urls=[url], wait_for_server_s=0.1, connect_timeout_s=0.2)
    return RunConfig(
        run=RunSection(dir="unused"),
        model=ModelConfig(name="tiny", path="random:llama"),
        engine=EngineConfig(kind="sglang", sglang=sglang),
    )


def test_the_serving_process_of_other_engines_loads_no_jax():
    code = "import clawjax.runtime.serve, sys; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


async def test_servers_that_are_not_there_are_named(tmp_path):
    paths = RunPaths(tmp_path)
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9"):
        await open_engine(
            attached("http://127.0.0.1:9"), paths, DirectoryWeightStore(paths.weights)
        )


async def test_measuring_in_lockstep_needs_the_engine_at_hand(tmp_path):
    with pytest.raises(ConfigError, match="engine=embedded"):
        async with Lockstep.open(attached("http://a:1"), RunPaths(tmp_path), None):
            pass


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EngineConfig(kind="sglang"), r"engine\.sglang\.urls=\[http"),
        (lambda: EngineConfig(kind="vllm"), "use engine=embedded or engine=sglang"),
        (lambda: SglangConfig(urls=["10.0.0.1:3000"]), "write http://HOST:PORT"),
        (lambda: SglangConfig(urls=["http://a", "http://a/"]), "names a server twice"),
        (lambda: SglangConfig(urls=["http://a"], launch=LaunchConfig(1)), "use one of them"),
        (lambda: SglangConfig(failures_to_leave=0), "the minimum is 1"),
        (lambda: LaunchConfig(command=[]), "name the program"),
        (lambda: LaunchConfig(port=65535, servers=2), r"use 1 to 65534"),
        (lambda: LaunchConfig(lora_rank=8), "name the modules"),
        (lambda: LaunchConfig(2, devices=["0"]), "give one for each"),
        (lambda: LaunchConfig(memory_fraction=2.0), r"out of range: use 0\.05 to 1\.0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(make, says):
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_configuration_travels_to_the_serving_process():
    config = replace(attached("http://a:1"), run=RunSection(dir="/tmp/run"))
    assert to_run_config(json.loads(encode_config(config))).engine == config.engine
