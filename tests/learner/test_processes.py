"""Two processes that are one learner, with collectives over loopback."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import finished, start_program

from clawjax.config import DistributedConfig
from clawjax.errors import ConfigError
from clawjax.models.processes import agree, any_of, come_together, is_leader, led, led_call
from clawjax.testing import free_port, temporary_log
from clawjax.weights import DirectoryWeightStore

COMPARED = (
    *(f"train/{name}" for name in ("loss", "kl", "grad_norm", "turns", "reward_mean")),
    *(f"drift/{name}" for name in ("kl", "step_reply_kl", "step_share")),
)


def trained(folder: Path, processes: int) -> list[dict[str, Any]]:
    """What each process says, by number."""
    folder.mkdir()
    port = str(free_port())
    started = [
        start_program(
            "process_runs.py",
            *(str(number), str(processes), port, str(folder)),
            devices=4 // processes,
        )
        for number in range(processes)
    ]
    return [finished(process) for process in started]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    (one,) = trained(tmp_path / "one", 1)
    leader, other = trained(tmp_path / "two", 2)
    assert (leader["devices"], other["devices"], one["devices"]) == ([2, 4], [2, 4], [4, 4])
    assert leader["version"] == other["version"] == one["version"] == 2
    # All have the same weights, and all could go on from the checkpoint.
    assert leader["norm"] == other["norm"] == pytest.approx(one["norm"], rel=1e-6)
    assert leader["checked"]
    assert other["checked"]
    # Only the first talks to the monitor, the log and the store.
    assert other["metrics"] == []
    assert len(leader["metrics"]) == len(one["metrics"])
    for ours, theirs in zip(leader["metrics"], one["metrics"], strict=True):
        for key in COMPARED:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4, abs=1e-5), key
        assert 0 < ours["drift/step_share"] < 1
    assert temporary_log(tmp_path / "two").counts() == temporary_log(tmp_path / "one").counts()
    _, found = DirectoryWeightStore(tmp_path / "two" / "weights").load(2)
    _, wanted = DirectoryWeightStore(tmp_path / "one" / "weights").load(2)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_allclose(found[name], tensor, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_what_the_leader_does_is_known_to_all_and_those_apart_stop() -> None:
    port = str(free_port())
    started = [
        start_program("process_agreement.py", str(number), "2", port, devices=1)
        for number in range(2)
    ]
    leader, other = (finished(process) for process in started)
    assert leader["taken"] == other["taken"] == "leader's from the leader"
    assert leader["long"] == other["long"] == 100_000
    assert (leader["touched"], other["touched"]) == (1, 0)
    assert (leader["label"], other["label"]) == ("mine", "also mine")
    assert leader["failure"] == other["failure"] == "StoreError: the shelf is empty: fill it"
    assert leader["odd"] == "ValueError: held by"
    assert other["odd"] == "LearnerError: shelf.fail_oddly failed in process 0: ValueError: held by"
    assert leader["agreed"] == other["agreed"] == [True, False]
    assert leader["any"] == other["any"] == [False, True]
    assert "process 0 is at shelf.take, process 0 at shelf.take" in leader["apart"]
    assert "process 1 is at shelf.fail, process 0 at shelf.take" in other["apart"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "how", "silence_s", "limit_s"),
    [
        pytest.param(1, signal.SIGKILL, 600, 30, id="another is killed"),
        pytest.param(0, signal.SIGKILL, 600, 30, id="the leader is killed"),
        pytest.param(1, signal.SIGSTOP, 10, 60, id="another falls silent"),
    ],
)
def test_no_process_outlives_another_one(
    lost: int, how: signal.Signals, silence_s: int, limit_s: float
) -> None:
    port = str(free_port())
    started = [
        start_program("process_loss.py", str(number), "2", port, str(silence_s), devices=1)
        for number in range(2)
    ]
    left = started[1 - lost]
    try:
        for process in started:
            assert process.stdout is not None
            assert any("together" in line for line in process.stdout)
        os.kill(started[lost].pid, how)
        _, said = left.communicate(timeout=limit_s)
    finally:
        for process in started:
            process.kill()
            process.communicate(timeout=10)
    if left.returncode == 1:
        assert f"process {1 - lost} of 2 ends (" in said.splitlines()[-1]
        assert "all end and go on from the checkpoint" in said.splitlines()[-1]
    else:  # jax was sooner, as where no connection breaks, or the one who leads is gone
        assert left.returncode == -signal.SIGABRT
        assert "another task died" in said


def test_a_process_that_is_alone_leads_and_is_asked_for_nothing(tmp_path: Path) -> None:
    come_together(DistributedConfig())
    log = temporary_log(tmp_path)
    assert is_leader()
    assert led(log, "log") is log
    assert led_call(free_port, "port") is free_port
    assert agree(True)
    assert not agree(False)
    assert any_of(True, "stop")
    assert not any_of(False, "stop")


def test_groups_that_cannot_come_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"process_id=2 is out of range: .*processes=2"):
        DistributedConfig(coordinator="a:1", processes=2, process_id=2)
    with pytest.raises(ConfigError, match=r"processes=None and .*: give all three, or none"):
        DistributedConfig(coordinator="a:1")
