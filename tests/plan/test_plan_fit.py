"""What does not fit is refused with the setting, its value, the limit, and a change that fits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from plan_configs import load

from clawjax.errors import ConfigError
from clawjax.plan import find_architecture, plan_run, render_plan, require_fit

ROOT = Path(__file__).parents[2]


def refused(*overrides):
    config = load(*overrides)
    with pytest.raises(ConfigError) as caught:
        require_fit(find_architecture(config.model), config)
    return str(caught.value)


def test_without_a_limit_everything_fits():
    config = load("model.path=Qwen/Qwen3-32B", "learner=full")
    assert require_fit(find_architecture(config.model), config).limit is None


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (
            ["hardware.memory_gib=8", "learner.micro_batch_tokens=16384"],
            "learner.micro_batch_tokens=16384 takes",
        ),
        (["hardware.memory_gib=6", "engine.slots=64"], "engine.slots=64 takes"),
        (["hardware.memory_gib=6", "learner=full"], "learner.method=full takes"),
    ],
)
def test_a_refusal_names_the_setting_and_a_change_that_fits(overrides, key):
    message = refused(*overrides)
    assert message.startswith(key)
    assert "hardware.memory_gib=" in message
    fix = re.search(r"set ([\w.]+=\w+)$", message)
    assert fix is not None
    config = load(*overrides, fix[1].replace("learner.method=lora", "learner=lora"))
    require_fit(find_architecture(config.model), config)


def test_the_mildest_change_is_proposed():
    overrides = ["hardware.memory_gib=8", "learner.micro_batch_tokens=16384"]
    fix = int(refused(*overrides).rsplit("learner.micro_batch_tokens=", 1)[1])
    twice = load(*overrides, f"learner.micro_batch_tokens={2 * fix}")
    with pytest.raises(ConfigError):
        require_fit(find_architecture(twice.model), twice)


def test_where_nothing_helps_the_message_says_what_would():
    message = refused("model.path=Qwen/Qwen3-32B", "hardware.memory_gib=24")
    assert "no single setting makes room: use devices with" in message


def test_devices_of_their_own_are_not_added_up():
    servers = ["engine=sglang_launch", "engine.sglang.launch.servers=1"]
    together, apart = load(*servers), load(*servers, "hardware.devices=2")
    assert plan_run(together).is_shared
    plan = plan_run(apart)
    assert not plan.is_shared
    assert plan.needed(plan.engine) == plan.engine.total < plan_run(together).needed(plan.engine)


def test_a_limit_is_the_usable_part():
    plan = plan_run(load("hardware.memory_gib=10", "hardware.usable=0.5"))
    assert plan.limit == 5 * 2**30
    assert "limit per device: 5.00 GiB" in render_plan(plan)


def run(*overrides):
    command = [sys.executable, "experiments/run.py", "run.plan=true", *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_prints_and_runs_nothing(tmp_path):
    done = run("model=tiny", f"run.dir={tmp_path / 'run'}", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "optimizer state" in done.stdout
    assert not (tmp_path / "run").exists()


def test_the_command_refuses_with_exit_code_2(tmp_path):
    done = run("hardware.memory_gib=0.5", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 2
    assert "Configuration error: " in done.stderr
    assert "hardware.memory_gib=0.5" in done.stderr
