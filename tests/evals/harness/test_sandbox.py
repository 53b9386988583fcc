"""A sandboxed program reaches its folder and nothing else."""

import os
import time
from pathlib import Path

import pytest

import clawjax
from clawjax.evals.harness.bounds import bounded, unbound
from clawjax.evals.harness.sandbox import Sandbox, sandbox_problem

pytestmark = pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem()))


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path, timeout_s=20.0)


def test_it_computes_and_keeps_files(sandbox, tmp_path):
    assert sandbox.run_python("open('a', 'w').write('7'); print(2**10)").output == "1024\n"
    assert (tmp_path / "a").read_text() == "7"
    assert sandbox.run_python("print(open('/work/a').read())").output == "7\n"


def test_it_sees_nothing_of_the_project(sandbox):
    package = Path(clawjax.__file__).parent
    code = f"import os; print(os.listdir({str(package)!r}))"
    found = sandbox.run_python(code)
    assert "FileNotFoundError" in found.output or found.output.strip() == "[]"
    assert "No module named" in sandbox.run_python("import clawjax").output


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('127.0.0.1', 30000), 1)",
        "import socket; socket.create_connection(('1.1.1.1', 53), 1)",
        "open('/usr/x', 'w')",
        "open('/etc/shadow').read()",
        "import os; os.chroot('/work')",
        "import os; os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
        "import os; os.open('/proc/sys/vm/swappiness', os.O_WRONLY)",
        "import os; os.chmod('/dev/null', 0o666)",
        "bytearray(3 * 2**30)",
    ],
)
def test_what_it_may_not_do_fails(sandbox, code):
    found = sandbox.run_python(code)
    assert found.exit_code != 0
    assert "Error" in found.output


def test_it_sees_no_other_process(sandbox):
    code = "import os; print(sorted(each for each in os.listdir('/proc') if each.isdigit()))"
    assert sandbox.run_python(code).output == "['1']\n"


def test_it_is_stopped_with_all_that_it_started(tmp_path):
    sandbox = Sandbox(tmp_path, timeout_s=3.0)
    code = """
import os, time
if os.fork() == 0:
    while True:
        open('t', 'w').write(str(time.time()))
        time.sleep(0.1)
time.sleep(60)
"""
    assert sandbox.run_python(code).timed_out
    before = (tmp_path / "t").read_text()
    time.sleep(0.5)
    assert (tmp_path / "t").read_text() == before


def test_the_environment_holds_no_secrets(sandbox, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "s3cret")
    assert "s3cret" not in sandbox.run_python("import os; print(os.environ)").output


def test_processes_are_bounded_together(tmp_path):
    groups = bounded(64, 8)
    unbound(groups)
    if os.getuid() == 0 and not groups:
        pytest.skip("no control groups can be made here")
    code = """
import os, time
for number in range(60):
    try:
        child = os.fork()
    except BlockingIOError:
        print("refused after", number < 30)
        break
    if child == 0:
        time.sleep(5)
        os._exit(0)
"""
    assert Sandbox(tmp_path, processes=30).run_python(code).output == "refused after True\n"


def test_the_folder_is_bounded_in_total(tmp_path):
    (tmp_path / "given").write_text("1")
    (tmp_path / "gone").write_text("2")
    sandbox = Sandbox(tmp_path, disk_mib=8)
    code = """
import os
os.remove("gone")
for number in range(20):
    os.truncate(os.open(f"hole{number}", os.O_CREAT | os.O_WRONLY), 30 << 20)
    with open(f"full{number}", "wb") as file:
        file.write(bytes([1]) * 2**20)
"""
    found = sandbox.run_python(code)
    assert "No space left on device" in found.output
    assert (tmp_path / "given").read_text() == "1"
    assert not (tmp_path / "gone").exists()
    kept = list(tmp_path.iterdir())
    assert len(kept) > 4
    assert sum(each.stat().st_blocks * 512 for each in kept) <= 9 << 20


def test_files_are_bounded_in_number(sandbox):
    code = "for number in range(40_000): open(f'/work/{number}', 'w').close()"
    assert "No space left on device" in sandbox.run_python(code).output


def test_how_it_ended_is_told(sandbox):
    assert sandbox.run_python("raise SystemExit(7)").exit_code == 7
