"""A file is replaced whole, or not at all."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from clawjax.files import replace_file, sweep
from clawjax.runtime.paths import RunPaths


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "note.json"
    replace_file(file, "one é\n")
    replace_file(file, b"two\n", durably=False)
    assert file.read_bytes() == b"two\n"
    assert os.listdir(tmp_path) == ["note.json"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    file = tmp_path / "note.json"
    replace_file(file, "one\n")
    with pytest.raises(UnicodeEncodeError):
        replace_file(file, "\ud800")
    assert file.read_text() == "one\n"
    assert os.listdir(tmp_path) == ["note.json"]


def test_a_secret_is_never_readable_by_others(tmp_path):
    file = tmp_path / "keys.json"
    file.write_text("old")
    file.chmod(0o644)
    replace_file(file, "secret", mode=0o600)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_writers_at_once_leave_the_whole_file_of_one(tmp_path):
    file = tmp_path / "note.json"
    contents = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda content: replace_file(file, content, durably=False), contents))
    assert file.read_text() in contents
    assert os.listdir(tmp_path) == ["note.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from clawjax import files
files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.replace_file(Path(sys.argv[1]), "new")
"""


def test_what_a_killed_writer_left_is_swept_once_it_is_old(tmp_path):
    file, other = tmp_path / "note.json", tmp_path / "my.notes.aside"
    file.write_text("old")
    other.write_text("not ours")
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], timeout=120).returncode == -9
    (left,) = tmp_path.glob("note.json.*.aside")
    assert sweep(tmp_path) == []  # it might be under way
    for each in (left, other):
        os.utime(each, (1.0, 1.0))
    assert sweep(tmp_path) == [left]
    assert sorted(os.listdir(tmp_path)) == ["my.notes.aside", "note.json"]


def test_a_run_that_starts_sweeps_its_folder(tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    for left in (tmp_path / "clock.json.7.aside", weights / "LATEST.7.aside"):
        left.write_text("")
        os.utime(left, (1.0, 1.0))
    RunPaths(tmp_path).prepare()
    assert not [*tmp_path.rglob("*.aside")]
