"""A reward module of one's own, as docs/rewards.md has it, from its file to its verdict."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from omegaconf import OmegaConf

from clawjax.log.store import SqlTurnLog

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rewards.md").read_text()
MODULE, COMMANDS = re.findall(
    r"```(?:python|bash)\n(.*?)```", PAGE.partition("## A module of your own")[2], re.DOTALL
)[:2]
_, PLAIN, WITH_OPTIONS = (shlex.split(line, comments=True) for line in COMMANDS.splitlines())


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "judges.py").write_text(MODULE)
    program, *given = arguments
    assert program == "experiments/run.py"
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, str(ROOT / program), *given],
        cwd=folder,
        env={**os.environ, "CLAWJAX_RUNS": str(folder / "runs"), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(run: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = run.communicate(timeout=120)
    return run.returncode, output


def test_the_example_runs_as_it_is_written(tmp_path):
    code, output = said(start(tmp_path, *PLAIN[1:], "run.dry=true"))
    assert code == 0, output
    assert "s in [-1, 1]: explicit feedback where there is any, else polite" in output
    code, output = said(start(tmp_path, *WITH_OPTIONS[1:], "run.dry=true"))
    assert code == 0, output
    assert "- polite: judges:Polite(words=['thanks', 'great'])" in output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "wrds=1",
            "judges:Polite has no such option; did you mean words?",
        ),
        ("words=[]", "ValueError: words is empty: name at least one"),
        ("api_key=hunter2", "reward.own.polite.options.api_key would be saved with the run"),
    ],
)
def test_a_mistake_ends_the_start_and_no_secret_is_kept(tmp_path, override, message):
    code, output = said(start(tmp_path, *WITH_OPTIONS[1:], f"reward.own.polite.options.{override}"))
    assert code == 2, output
    assert message in output
    kept = [path.read_text() for path in tmp_path.rglob("*.yaml")]
    assert not [text for text in (output, *kept) if "hunter2" in text]


def eventually(holds, run, timeout_s=240.0):
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert run.poll() is None, run.communicate(timeout=60)[0]
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)
    return found


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_its_verdicts_are_kept_by_a_run_that_shows_its_options(tmp_path):
    """The real processes: the endpoint answers, the user thanks, the module says what that is."""
    tiny = ("model=tiny", "engine=tiny", "learner=tiny", "gateway.port=0", "learner.min_turns=4")
    run = start(tmp_path, *WITH_OPTIONS[1:], *tiny, "reward.own.polite.options.score=0.5")
    folder = tmp_path / "runs" / "serve"
    try:
        eventually((folder / "config.yaml").is_file, run)
        kept = OmegaConf.load(folder / "config.yaml")
        base = f"http://127.0.0.1:{kept.gateway.port}"
        eventually(lambda: answers(f"{base}/healthz"), run)
        messages = [{"role": "user", "content": "Hello"}]
        with httpx.Client(base_url=f"{base}/v1", timeout=120) as client:
            for text in ("That was great!", "bye"):
                body = {"model": "tiny", "messages": messages, "max_tokens": 4}
                reply = client.post("chat/completions", json=body).raise_for_status().json()
                messages += [reply["choices"][0]["message"], {"role": "user", "content": text}]
        log = SqlTurnLog.open(f"sqlite:///{folder}/turns.db")
        verdicts = eventually(
            lambda: [each for turn in log.turns(after=0, limit=9) for each in turn.verdicts], run
        )
        log.close()
        assert [(each.module, each.score) for each in verdicts] == [("polite", 0.5)]
        assert kept.reward.own == {
            "polite": {
                "path": "judges:Polite",
                "options": {"words": ["thanks", "great"], "score": 0.5},
            }
        }
        run.send_signal(signal.SIGINT)
        code, output = said(run)
        assert code == 0, output
    finally:
        run.kill()
