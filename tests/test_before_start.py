"""What is said, and what is kept, before any process of a run starts."""

import os
import signal
import subprocess
import sys

import pytest
from started_runs import ROOT, finish, start


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.path=/nowhere/model.gguf"], "/nowhere/model.gguf"),
        (["user.persona=nobody"], "nobody"),
        (["learner.min_turns=99"], "learner.min_turns=99"),
        (["learner.drift.max_kl=0"], "learner.drift.max_kl=0.0 refuses every version"),
        (["gateway.host=0.0.0.0"], "CLAWJAX_API_KEY"),
        (["log.url=sqlite:////proc/nowhere/turns.db"], "turn log"),
        (["log.url=nonsense"], "log.url is no database URL"),
        (["reward.modules=[no_such_judge]"], "no_such_judge"),
        (["run.dry=true", "reward.modules=[no_such_judge]"], "no_such_judge"),
        (["run.dry=true", "model.path=/nowhere/model.gguf"], "/nowhere/model.gguf"),
        (["learner.bach_turns=1"], "Key 'bach_turns' not in 'LearnerConfig'"),
        (["learner=qlora"], "Could not find 'learner/qlora'"),
        (["hydra.run.dir=/proc/nowhere"], "set CLAWJAX_RUNS"),
    ],
)
def test_what_cannot_run_says_why_and_starts_nothing(tmp_path, overrides, message):
    run = start(tmp_path, *overrides)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("mode", "setting", "said"),
    [
        ("run.dry=true", "log.url=postgresql://me:{}@127.0.0.1:1/db", "CLAWJAX_LOG_URL"),
        ("--multirun", "log.url=postgresql://127.0.0.1:1/db?password={}", "CLAWJAX_LOG_URL"),
        ("run.dry=true", "reward.llm_judge.base_url=http://me:{}@127.0.0.1:1/v1", "api_key_env"),
        ("--multirun", "engine.sglang.urls=[http://{}@127.0.0.1:1]", "api_key_env"),
    ],
)
def test_a_password_in_a_url_is_refused_and_in_no_file(tmp_path, mode, setting, said):
    key, _, url = setting.format("hunter2-7531").partition("=")
    run = start(tmp_path, f"{key}={url}" if url[0] == "[" else f"{key}='{url}'", mode)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert said in output
    assert key in output
    assert "hunter2" not in output
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


def test_who_stops_a_job_of_a_multirun_stops_them_all(tmp_path):
    run = start(tmp_path, "user=none", "run.name=jobs", "run.seed=0,1", "--multirun")
    assert run.stdout is not None
    while "Loading and compiling" not in (line := run.stdout.readline()):
        assert line, "it has ended"
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 130, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    assert (tmp_path / "jobs" / "0").is_dir()
    assert not (tmp_path / "jobs" / "1").exists()


def test_what_the_system_refuses_to_a_job_is_told_as_that(tmp_path):
    program = tmp_path / "job.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'experiments')!r})\n"
        "import hydra, _entry\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(config): _entry.guarded(lambda: open('/no/such/file'))\n"
        "_entry.start(main)\n"
    )
    command = [sys.executable, str(program), "-m", "+n=1,2", f"hydra.sweep.dir={tmp_path}/jobs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "/no/such/file" in done.stderr
    assert "CLAWJAX_RUNS" not in done.stderr


def test_a_secret_among_what_a_multirun_chooses_is_in_no_file(tmp_path):
    chosen = "reward.own.mine.options={api_key: hunter2},{words: []}"
    run = start(tmp_path, "reward.modules=[mine]", "+reward.own.mine.path=a:b", f"+{chosen}", "-m")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert "reward.own.mine.options.api_key would be saved" in output
    assert "hunter2" not in output
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


def test_a_password_in_a_jobs_own_file_is_saved_nowhere(tmp_path):
    searched = tmp_path / "searched" / "log"
    searched.mkdir(parents=True)
    url = "postgresql://me:hunter2-7531@127.0.0.1:1/db"  # made-up-secret
    (searched / "mine.yaml").write_text(f"url: {url}\n")
    runs = tmp_path / "runs"
    where = f"hydra.searchpath=[file://{searched.parent}]"
    run = start(runs, where, "log=mine,sqlite", "run.dry=true", "--multirun")
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 2, output
    assert "log.url" in output
    kept = [file for file in runs.rglob("*") if file.is_file()]
    assert not any(b"hunter2" in file.read_bytes() for file in kept), kept


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        (["evaluate.py", "suite=quick", "run.dry=true"], 0, "nothing was started"),
        (["evaluate.py", "suite=personal", "run.dry=true"], 0, "Objective combined"),
        (["evaluate.py", "suite=tau", "suite.options.domian=x", "run.dry=true"], 2, "domian"),
        (["evaluate.py", "suite=tau", "suite.tasks=[nope]", "run.dry=true"], 2, "'nope'"),
        (["evaluate.py", "suite=tau", "agent.run=/nowhere", "run.dry=true"], 2, "no weights"),
        (["evaluate.py", "suite=personal", "suite.personas=[x]", "run.dry=true"], 2, "'x'"),
        (["evaluate.py", "objective=opd", "run.dry=true"], 2, "suite.methods=[opd]"),
        (["evaluate.py", "run.seed=7", "run.dry=true"], 2, "suite.seeds=[7]"),
        (["evaluate.py", "suite=judge", "suite.options.atacks=1", "run.dry=true"], 2, "atacks"),
        (["train_offline.py", "offline.files=[/no.jsonl]", "run.dry=true"], 1, "/no.jsonl"),
        (["evaluate.py", "suite=judge", "run.dry=true"], 0, "nothing was started"),
        (["learn.py", "run.dry=true"], 0, "Objective binary_rl"),
        (["train_offline.py", "objective=dpo", "run.plan=true"], 0, "optimizer state"),
        (["synthesize.py", "run.dry=true"], 0, "nothing was started"),
        (["synthesize.py", "synthesis.personas=[nobody]", "run.dry=true"], 2, "nobody"),
        (["synthesize.py", "run.plan=true"], 2, "use run.dry=true"),
    ],
)
def test_a_dry_run_starts_nothing_whichever_program_it_is(tmp_path, program, status, said):
    script, *overrides = program
    if script == "synthesize.py":
        overrides += ["synthesis.base_url=http://127.0.0.1:9/v1", "synthesis.model=nobody"]
    done = subprocess.run(
        [sys.executable, f"experiments/{script}", *overrides],
        cwd=ROOT,
        env={**os.environ, "CLAWJAX_RUNS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    output = done.stdout + done.stderr
    assert (done.returncode, said in output) == (status, True), output
    assert not any(file.suffix in {".db", ".jsonl"} for file in tmp_path.rglob("*"))


def test_a_dry_run_prints_the_effective_objective(tmp_path):
    run = start(tmp_path, "run.dry=true", "objective.kl_coef=0")
    output = finish(run, 60)
    assert "-min(tr(r) A, clip(r, 0.8, 1.28) A)" in output
    assert "KL to the base" not in output
