"""Real child processes: started, watched, started again, stopped."""

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from clawjax.config import GatewayConfig, RunConfig, RunSection
from clawjax.errors import ClawError, ConfigError, LearnerError, LogError, StoreError
from clawjax.metrics.jsonl import set_aside
from clawjax.metrics.mirroring import Mirroring
from clawjax.runtime import child
from clawjax.runtime.child import EXIT_CONFIG, EXIT_DISTRUST, EXIT_STORAGE
from clawjax.runtime.paths import RunPaths, note_json, read_json, write_json
from clawjax.runtime.supervisor import Supervisor
from clawjax.runtime.watch import Watch


@pytest.fixture
def paths(tmp_path, monkeypatch) -> RunPaths:
    for name, code in {
        "sleeper": "import time; time.sleep(60)",
        "echo": "import sys; print('got', sys.stdin.read().strip(), flush=True)",
        "stubborn": (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('deaf', flush=True); time.sleep(60)"
        ),
        "misconfigured": (
            "import sys; sys.stderr.write('Configuration error: no such thing'); sys.exit(2)"
        ),
        "broken": "import sys; sys.stderr.write('boom'); sys.exit(1)",
        "full": "import sys; print('disk is full'); sys.exit(4)",
        "distrustful": "import sys; sys.stderr.write('step 3 is odd'); sys.exit(3)",
        "chatty": (
            "import itertools, time\n"
            "for number in itertools.count():\n"
            "    print('line', number, flush=True)\n"
            "    time.sleep(0.002)"
        ),
        "parent": "import os; print(os.environ['CLAWJAX_PARENT_PID'], os.getppid())",
    }.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    paths = RunPaths(tmp_path / "run")
    paths.prepare()
    return paths


@pytest.fixture
def supervisor(paths):
    supervisor = Supervisor(paths, max_restarts=2, max_restart_wait_s=0.0)
    yield supervisor
    supervisor.stop_all()


def eventually(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def test_a_killed_process_is_started_again(supervisor):
    supervisor.start("worker", "sleeper", stdin="")
    first = supervisor.pid("worker")
    os.kill(first, signal.SIGKILL)

    def is_replaced() -> bool:
        supervisor.poll()
        return supervisor.pid("worker") != first

    eventually(is_replaced)


def test_a_log_that_is_too_large_is_set_aside_and_the_process_goes_on_writing(paths):
    supervisor = Supervisor(paths, max_restarts=0, max_log_bytes=2000)
    log = paths.process_log("worker")
    supervisor.start("worker", "chatty", stdin="")
    try:
        for _ in range(2):
            eventually(lambda: log.stat().st_size >= 2000)
            said = log.read_text().splitlines()
            supervisor.poll()
            assert set_aside(log).read_text().splitlines()[: len(said) - 1] == said[:-1]
            assert log.stat().st_size < 2000
            eventually(lambda: log.stat().st_size > 100)
        assert {file.name for file in log.parent.iterdir()} == {"worker.log", "worker.1.log"}
        assert supervisor.tail("worker", 1).startswith("line ")
        os.truncate(log, 0)
        before = set_aside(log).read_text().splitlines()[-1]
        assert before in supervisor.tail("worker", 100_000).splitlines()
    finally:
        supervisor.stop_all()


def test_configuration_reaches_a_child_on_standard_input(supervisor, paths):
    supervisor.start("worker", "echo", stdin='{"a": 1}', is_restarted=False)
    assert supervisor.wait("worker") == 0
    assert supervisor.tail("worker") == 'got {"a": 1}'


def test_a_process_that_is_done_is_not_started_again(supervisor):
    supervisor.start("worker", "echo", stdin="", may_end=True)
    supervisor.start("other", "broken", stdin="", may_end=True)
    supervisor.wait("worker")
    supervisor.wait("other")
    supervisor.poll()
    assert supervisor.has_ended("worker")
    assert not supervisor.has_ended("other"), "one that failed is started again"


def test_a_process_that_keeps_dying_ends_the_run_with_its_last_words(supervisor):
    supervisor.start("worker", "broken", stdin="")
    with pytest.raises(ClawError, match=r"(?s)died 3 times.*boom"):
        eventually(lambda: supervisor.poll() is not None)


class Clockwork:
    """A supervisor whose time a test moves, and its only child."""

    def __init__(self, paths: RunPaths, module: str, **options) -> None:
        self.now = 0.0
        self.supervisor = Supervisor(
            paths, max_restarts=2, max_restart_wait_s=3.0, clock=lambda: self.now
        )
        self.supervisor.start("learn", module, stdin="", **options)

    def lives_again_after(self, wait_s: float) -> None:
        """Let the child die; it is started again after so long and not before."""
        dead = self.supervisor.pid("learn")
        self.supervisor.wait("learn")
        self.supervisor.poll()
        if wait_s:
            self.now += wait_s - 0.01
            self.supervisor.poll()
            assert self.supervisor.pid("learn") == dead
            self.now += 0.02
            self.supervisor.poll()
        assert self.supervisor.pid("learn") != dead


def test_a_process_that_dies_now_and_then_is_always_started_again(paths):
    run = Clockwork(paths, "broken")
    for _ in range(4):
        run.now += 601
        run.lives_again_after(0)
    run.lives_again_after(1)
    run.supervisor.wait("learn")
    with pytest.raises(ClawError, match="died 3 times"):
        run.supervisor.poll()
    run.supervisor.stop_all()


def test_a_process_that_others_can_do_without_is_left_stopped_after_growing_pauses(paths):
    run = Clockwork(paths, "broken", is_needed=False)
    run.lives_again_after(0)
    run.lives_again_after(1)
    assert read_json(paths.processes)["learn"]["state"] == "running"
    run.supervisor.wait("learn")
    run.supervisor.poll()
    assert run.supervisor.has_ended("learn")
    (notice,) = run.supervisor.notices
    assert notice == run.supervisor.left_stopped("learn")
    assert notice.startswith("learn died 3 times (last exit code 1; run.max_restarts=2), the rest ")
    assert "the rest goes on: boomboomboom (" in notice
    assert read_json(paths.processes) == {
        "learn": {"state": "stopped", "restarts": 2, "reason": notice}
    }
    run.supervisor.poll()
    run.supervisor.stop_all()


def test_what_the_configuration_did_not_rule_out_before_leaves_serving_alone(paths, tmp_path):
    run = Clockwork(paths, "broken", is_needed=False)
    run.supervisor.wait("learn")
    (tmp_path / "broken.py").write_text((tmp_path / "misconfigured.py").read_text())
    run.lives_again_after(0)
    run.supervisor.wait("learn")
    run.supervisor.poll()
    assert "no such thing" in run.supervisor.left_stopped("learn")
    run.supervisor.stop_all()


def test_a_disk_that_is_full_is_waited_for(paths):
    run = Clockwork(paths, "full")
    for wait_s in (0, 1, 2, 3, 3):
        run.lives_again_after(wait_s)
    run.supervisor.wait("learn")
    run.supervisor.poll()
    told = read_json(paths.processes)["learn"]
    assert told == {"state": "restarting", "restarts": 0, "reason": "disk is full"}
    assert run.supervisor.notices[-1] == "learn begins again in 3 s: disk is full"
    run.supervisor.stop_all()


@pytest.mark.parametrize(
    ("error", "code", "last_words"),
    [
        (LogError("disk is full"), EXIT_STORAGE, "disk is full"),
        (StoreError("disk is full"), EXIT_STORAGE, "disk is full"),
        (LearnerError("step 3 is odd"), EXIT_DISTRUST, "step 3 is odd"),
        (ConfigError("no such thing"), EXIT_CONFIG, "Configuration error: no such thing"),
        (ClawError("odd"), 1, "ClawError: odd"),
        (ValueError("what somebody said"), 1, "ended by an unexpected ValueError"),
    ],
)
def test_a_process_says_at_its_end_what_would_help(error, code, last_words, monkeypatch, capsys):
    monkeypatch.setattr(child, "configure_logging", lambda: None)
    monkeypatch.setattr(child, "log_what_nobody_catches", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"run": {"dir": "unused"}}'))

    def fail(*_) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        child.run_child(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines()[-1] == last_words


def test_bad_configuration_is_not_tried_again(supervisor):
    supervisor.start("worker", "misconfigured", stdin="")
    with pytest.raises(ConfigError, match=r"^no such thing$"):
        eventually(lambda: supervisor.poll() is not None)


def test_a_learner_that_distrusts_its_step_is_left_stopped(supervisor):
    supervisor.start("worker", "sleeper", stdin="")
    supervisor.start("learn", "distrustful", stdin="")
    eventually(lambda: supervisor.poll() is None and bool(supervisor.notices))
    supervisor.poll()
    assert supervisor.notices == ["learn has stopped, the rest goes on: step 3 is odd"]
    os.kill(supervisor.pid("worker"), 0)


def test_a_child_knows_its_parent_however_early_that_dies(supervisor):
    supervisor.start("worker", "parent", stdin="", is_restarted=False)
    assert supervisor.wait("worker") == 0
    assert supervisor.tail("worker") == f"{os.getpid()} {os.getpid()}"


def test_a_process_that_cannot_be_killed_keeps_no_other_alive(supervisor, caplog):
    supervisor.start("learn", "stubborn", stdin="")
    supervisor.start("worker", "sleeper", stdin="")
    eventually(lambda: "deaf" in supervisor.tail("learn"))
    held, other = (supervisor._children[name].process for name in ("learn", "worker"))
    kill, held.kill = held.kill, lambda: None
    supervisor.stop("learn", "worker", timeout_s=0.2)
    kill()
    assert held.wait(10) == -9
    assert other.wait(10) == -15
    assert f"learn (process {held.pid}) is killed and does not end" in caplog.text


def test_a_process_that_will_not_stop_is_killed(supervisor, paths):
    supervisor.start("worker", "stubborn", stdin="")
    eventually(lambda: "deaf" in supervisor.tail("worker"))
    pid = supervisor.pid("worker")
    supervisor.stop("worker", timeout_s=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_no_address_and_no_answer_ends_the_looking(paths, supervisor):
    asked = []

    def answer(request):
        asked.append(request.url.host)
        return httpx.Response(200, text="another program's page")

    transport = httpx.MockTransport(answer)
    for host in ("::1", "[::1]"):  # the second is no address
        config = RunConfig(run=RunSection(dir=str(paths.root)), gateway=GatewayConfig(host=host))
        watch = Watch(config, paths, supervisor, Mirroring(lambda: None))
        async with httpx.AsyncClient(transport=transport) as client:
            await watch._look(client)
    assert asked == ["::1"]


def test_memory_of_all_processes_is_summed(supervisor):
    supervisor.poll()
    alone = supervisor.rss_bytes
    supervisor.start("worker", "sleeper", stdin="")
    eventually(lambda: supervisor.poll() is None and supervisor.rss_bytes > alone + 1_000_000)
    assert supervisor.peak_rss_bytes >= supervisor.rss_bytes


def test_a_process_that_is_stopped_while_others_are_looked_at_stays_stopped(
    supervisor, monkeypatch
):
    for name in ("first", "second"):
        supervisor.start(name, "sleeper", stdin="")
    first, second = (supervisor._children[name].process for name in ("first", "second"))

    def look() -> None:  # as if in another thread, in the middle of `poll`
        supervisor.stop("second")

    monkeypatch.setattr(first, "poll", look)
    supervisor.poll()
    assert second.poll() is not None
    assert supervisor.notices == []
    monkeypatch.undo()
    supervisor.poll()
    assert list(supervisor._children) == ["first"]


def test_a_run_has_one_owner(paths):
    with (
        paths.locked(),
        pytest.raises(ConfigError, match="in use by another process"),
        paths.locked(),
    ):
        pass
    with paths.locked():
        pass


def test_a_lock_can_be_waited_for(paths):
    with ThreadPoolExecutor(1) as pool, paths.locked("learner.lock"):
        waiting = pool.submit(_hold, paths)
        assert not waiting.done()
    assert waiting.result() == "held"


def _hold(paths: RunPaths) -> str:
    with paths.locked("learner.lock", wait_s=20.0):
        return "held"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.dir=.*file/run cannot be written"):
        RunPaths(tmp_path / "file" / "run").prepare()


def test_a_new_run_is_entered_by_its_owner_alone_and_an_old_one_keeps_its_mode(tmp_path):
    paths = RunPaths(tmp_path / "run")
    paths.prepare()
    assert paths.root.stat().st_mode & 0o077 == 0
    paths.root.chmod(0o750)
    paths.prepare()
    assert paths.root.stat().st_mode & 0o777 == 0o750


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    note_json(tmp_path / "file" / "status.json", {"at": 1.0})
    assert "is out of date" in caplog.text


def test_status_files_are_replaced_whole(tmp_path):
    assert read_json(tmp_path / "status.json") == {}
    write_json(tmp_path / "status.json", {"at": 1.0})
    assert read_json(tmp_path / "status.json") == {"at": 1.0}
    (tmp_path / "status.json").write_text("")  # as a power cut may leave it
    assert read_json(tmp_path / "status.json") == {}
