"""W&B for real, offline: in a process of its own, as it would otherwise outlive the test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from clawjax.metrics.jsonl import JsonlMonitor, set_aside
from clawjax.metrics.wandb import WandbMirror, _part, effective_mode, without_secrets

ROOT = Path(__file__).parents[2]
MIRROR_ONCE = """
import sys
from pathlib import Path
from clawjax.metrics.wandb import WandbMirror
run_dir = Path(sys.argv[1])
config = {"learner": {"rank": 77}, "gateway": {"api_key": "hunter2"}}
mirror = WandbMirror.start(run_dir, config, mode=sys.argv[2], name="demo")
sent = mirror.forward()
mirror.finish(summary={"turns": {"logged": 90}}, plot=run_dir / "report.png")
(run_dir / "sent.txt").write_text(f"{mirror.run_id} {sent}")
"""


def mirror_once(run_dir: Path, mode: str = "offline", **env: str) -> tuple[str, int, str]:
    """Run id, number of entries sent, and whatever was written to the console."""
    process = subprocess.run(
        [sys.executable, "-c", MIRROR_ONCE, str(run_dir), mode],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    run_id, sent = (run_dir / "sent.txt").read_text().split()
    return run_id, int(sent), process.stdout + process.stderr


def log_steps(run_dir: Path, *steps: int) -> None:
    monitor = JsonlMonitor(run_dir / "metrics.jsonl")
    for step in steps:
        values = {"train/loss": step / 10, "train/kl": float("nan")}
        monitor.log(values, step=step, texts={"train/objective": f"L = mean of {step}"})
    monitor.close()


def stored(run_dir: Path) -> bytes:
    return b"".join(path.read_bytes() for path in run_dir.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_run_goes_on_where_it_stopped_and_keeps_its_secrets(tmp_path: Path) -> None:
    log_steps(tmp_path, 1, 2, 3)
    Figure(figsize=(1, 1)).savefig(tmp_path / "report.png")
    run_id, sent, said = mirror_once(tmp_path)
    assert (sent, said) == (3, "")
    log_steps(tmp_path, 4)
    metrics = tmp_path / "metrics.jsonl"
    metrics.replace(set_aside(metrics))
    log_steps(tmp_path, 5)
    second, sent, said = mirror_once(tmp_path)
    assert (sent, said) == (2, "")
    assert second != run_id, "of two with one id, syncing keeps one"
    third, *_ = mirror_once(tmp_path)
    held = json.loads((tmp_path / "wandb.json").read_text())
    assert (held["id"], held["group"], held["mode"]) == (third, run_id, "offline")
    ids = {path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*")}
    assert ids == {run_id, second, third}
    content = stored(tmp_path)
    for expected in (b"train/loss", b"policy_version", b"rank", b"turns.logged", b"report"):
        assert expected in content
    assert b"L = mean of 4" in content
    assert b"hunter2" not in content
    assert b"NaN" not in content
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/report_*.png"))
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    log_steps(moved, 6)
    _, sent, _ = mirror_once(moved)
    assert sent == 1, "what was sent before it was moved is not sent again"


@pytest.mark.slow
def test_an_unreachable_server_means_offline_soon(tmp_path: Path) -> None:
    log_steps(tmp_path, 1)
    began = time.monotonic()
    _, sent, said = mirror_once(
        tmp_path, "online", WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_MODE="online",
    )  # fmt: skip
    assert sent == 1
    assert "W&B does not start online" in said
    assert stored(tmp_path)
    assert time.monotonic() - began < 60


def test_only_what_is_online_goes_on_in_the_same_run() -> None:
    first = _part("online", {})
    assert first == {"mode": "online", "id": None, "group": None}
    begun = first | {"id": "a"}
    assert _part("online", begun) == begun
    apart = _part("offline", begun)
    assert apart["group"] == "a"
    assert apart["id"] not in (None, "a")
    later = _part("online", apart)
    assert later["group"] == "a"
    assert later["id"] not in (None, "a", apart["id"])
    assert _part("online", later) == later
    assert _part("online", {"id": "old", "offset": 3})["id"] == "old", "of an earlier version"


def test_disabled_means_no_wandb_at_all(tmp_path: Path) -> None:
    assert WandbMirror.start(tmp_path, {}, mode="disabled") is None
    assert list(tmp_path.iterdir()) == []


def test_auto_is_online_only_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert effective_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert effective_mode("auto") == "online"
    assert effective_mode("disabled") == "disabled"


@pytest.mark.parametrize(
    ("said", "mode"),
    [("offline", "offline"), ("Disabled", "disabled"), ("dryrun", "offline"), ("", "online")],
)
def test_who_keeps_wandb_offline_by_its_own_variable_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, said: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setenv("WANDB_MODE", said)
    assert effective_mode("auto") == mode
    assert effective_mode("online") == "online", "what is configured counts"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert effective_mode("auto") == "online", "as after `wandb login`"


def test_credentials_are_left_out_and_their_namesakes_kept() -> None:
    config = {
        "a": {"api_key": "x", "api_key_env": "NAME", "max_tokens": 3, "max_requests_per_key": 5},
        "password": "x", "hf_token": "x", "client_secret": "x", "tokens_total": 4,
        "env": {"SGLANG_KEY": "x", "OMP_NUM_THREADS": "2"},
        "options": ["--api-key", "x", "--admin-api-key=x", "--dtype", "half", "--password"],
    }  # fmt: skip
    assert without_secrets(config) == {
        "a": {"api_key_env": "NAME", "max_tokens": 3, "max_requests_per_key": 5},
        "tokens_total": 4,
        "env": {"OMP_NUM_THREADS": "2"},
        "options": ["--api-key", "***", "--admin-api-key=***", "--dtype", "half", "--password"],
    }


MIRROR_THAT_IS_KILLED = """
import os, sys, time
from pathlib import Path
import psutil
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.wandb import WandbMirror
run_dir = Path(sys.argv[1])
monitor = JsonlMonitor(run_dir / "metrics.jsonl")
mirror = WandbMirror.start(run_dir, {}, mode="offline", name="demo")
state = run_dir / "wandb.json"
state.unlink(missing_ok=True)
state.mkdir()  # no note can be written
monitor.log({"train/loss": 1.0}, step=1)
sent = [mirror.forward()]
for child in psutil.Process().children(recursive=True):
    child.kill()
    child.wait(10)
for step in range(2, 200):
    monitor.log({"train/loss": 1.0}, step=step)
    sent.append(mirror.forward())
mirror.finish(summary={"turns": 1})
print("sent", sent[0], sent[-1], flush=True)
os._exit(0)  # wandb's own ending is not what is tested
"""


def test_a_dead_wandb_and_a_full_disk_are_warnings(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", MIRROR_THAT_IS_KILLED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip().endswith("sent 1 0")
    assert process.stderr.count("how far W&B has been told is not kept") == 1
    assert process.stderr.count("W&B takes no metrics any more") == 1


MIRRORING_OF_A_STUCK_ONE = """
import signal, sys, time
from pathlib import Path
import psutil
from clawjax.metrics.jsonl import JsonlMonitor
from clawjax.metrics.mirroring import Mirroring
from clawjax.metrics.wandb import WandbMirror
run_dir = Path(sys.argv[1])
monitor = JsonlMonitor(run_dir / "metrics.jsonl")
begin = lambda: WandbMirror.start(run_dir, {}, mode="offline", name="demo")
with Mirroring(begin, timeout_s=1) as mirroring:
    while not (run_dir / "wandb.json").exists():
        time.sleep(0.05)
    for child in psutil.Process().children():
        child.send_signal(signal.SIGSTOP)
    for step in range(4000):  # more than sockets hold
        monitor.log({"train/loss": 1.0}, step=step)
    mirroring.forward()
"""


def test_a_stuck_wandb_does_not_keep_a_run_from_ending(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", MIRRORING_OF_A_STUCK_ONE, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "the mirror of the metrics is stuck" in process.stderr
