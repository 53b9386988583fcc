"""A file is replaced whole, or not at all."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from clawjax.files import replace_file


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
