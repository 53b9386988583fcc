"""Lines survive crashes, several writers and numbers that are none."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.metrics.jsonl import (
    JsonlAppender,
    JsonlMonitor,
    JsonlTail,
    newest_with,
    read_jsonl,
    set_aside,
    tail_jsonl,
)
from clawjax.protocols import Monitor


def test_a_line_has_time_step_source_numbers_and_texts(tmp_path: Path) -> None:
    monitor = JsonlMonitor(tmp_path / "run" / "metrics.jsonl", source="learner", clock=lambda: 7.5)
    assert isinstance(monitor, Monitor)
    monitor.log({"train/loss": 1}, step=3)
    monitor.log({"engine/running": 2.0})
    monitor.log({"train/loss": 2}, step=4, texts={"train/objective": "L = 0"})
    monitor.close()
    monitor.close()
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl") == [
        {"t": 7.5, "step": 3, "source": "learner", "train/loss": 1.0},
        {"t": 7.5, "step": None, "source": "learner", "engine/running": 2.0},
        {
            "t": 7.5,
            "step": 4,
            "source": "learner",
            "train/loss": 2.0,
            "train/objective": "L = 0",
        },
    ]


def test_what_is_not_finite_is_named_and_stays_json(tmp_path: Path) -> None:
    monitor = JsonlMonitor(tmp_path / "m.jsonl")
    monitor.log({"train/loss": float("nan"), "train/kl": 0.5})
    monitor.close()
    entry = json.loads((tmp_path / "m.jsonl").read_text(), parse_constant=pytest.fail)
    assert (entry["train/loss"], entry["train/kl"]) == (None, 0.5)
    assert entry["non_finite"] == ["train/loss"]


def test_an_unknown_key_is_recorded_and_warned_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monitor = JsonlMonitor(tmp_path / "m.jsonl")
    for _ in range(2):
        monitor.log({"train/lozz": 1.0, "train/loss": 1.0}, texts={"train/objektive": "L"})
    monitor.close()
    assert [entry["train/lozz"] for entry in read_jsonl(tmp_path / "m.jsonl")] == [1.0, 1.0]
    assert caplog.text.count("train/lozz") == caplog.text.count("train/objektive") == 1
    assert "train/loss" not in caplog.text


def test_opening_again_appends(tmp_path: Path) -> None:
    for number in range(3):
        appender = JsonlAppender(tmp_path / "m.jsonl")
        appender.append({"n": number})
        appender.close()
    assert [entry["n"] for entry in read_jsonl(tmp_path / "m.jsonl")] == [0, 1, 2]


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"n": 0}\n{"n": 1, "text": "torn he')
    assert [entry["n"] for entry in read_jsonl(path)] == [0]
    appender = JsonlAppender(path)
    appender.append({"n": 2})
    appender.close()
    assert [entry["n"] for entry in read_jsonl(path)] == [0, 2]


def test_tailing_sees_each_whole_line_once(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    assert list(tail_jsonl(path, 0)) == []
    path.write_bytes(b'{"n": 0}\n{"n": 1}')
    found = list(tail_jsonl(path, 0))
    assert [entry["n"] for entry, _ in found] == [0]
    with path.open("ab") as file:
        file.write(b'\n\n{"n": 2}\n')
    later = list(tail_jsonl(path, found[-1][1]))
    assert [entry["n"] for entry, _ in later] == [1, 2]
    assert list(tail_jsonl(path, later[-1][1])) == []


def test_a_closed_file_takes_nothing(tmp_path: Path) -> None:
    appender = JsonlAppender(tmp_path / "m.jsonl")
    appender.close()
    with pytest.raises(ValueError, match="closed"):
        appender.append({})


def test_nobody_waits_for_who_sets_a_file_aside(tmp_path: Path) -> None:
    """It may be stopped; the line is written to the file as it is."""
    path = tmp_path / "m.jsonl"
    appender = JsonlAppender(path, max_bytes=1)
    appender.append({"n": 0})
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        appender.append({"n": 1})
    assert [line["n"] for line in read_jsonl(path)] == [0, 1]
    appender.append({"n": 2})
    assert set_aside(path).exists()
    assert [line["n"] for line in read_jsonl(path)] == [0, 1, 2]
    appender.close()


def write_many(path: str, writer: int, max_bytes: int | None = None) -> None:
    appender = JsonlAppender(Path(path), max_bytes=max_bytes)
    for number in range(200):
        appender.append({"writer": writer, "n": number, "padding": "x" * 500})
    appender.close()


def test_several_processes_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(path), w)) for w in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
        assert writer.exitcode == 0
    entries = read_jsonl(path)
    for writer in range(3):
        assert [e["n"] for e in entries if e["writer"] == writer] == list(range(200))


def test_several_processes_lose_no_line_when_the_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    context = multiprocessing.get_context("spawn")
    limits = (200_000, 200_000, None)
    writers = [
        context.Process(target=write_many, args=(str(path), w, limit))
        for w, limit in enumerate(limits)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
        assert writer.exitcode == 0
    assert set_aside(path).stat().st_size >= 200_000  # how much more is up to who has no limit
    entries = read_jsonl(path)
    for writer in range(3):
        assert sorted(e["n"] for e in entries if e["writer"] == writer) == list(range(200))


def test_a_file_with_a_limit_never_takes_more_than_twice_that(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    appender = JsonlAppender(path, max_bytes=100)
    follower = JsonlAppender(path)
    for number in range(0, 100, 2):
        appender.append({"n": number})
        follower.append({"n": number + 1})
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2 * (100 + 2 * 12)
    left = [entry["n"] for entry in read_jsonl(path)]
    assert left == list(range(left[0], 100))
    assert len(left) >= 8


def test_a_tail_goes_on_in_the_new_file_and_remembers_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    appender = JsonlAppender(path, max_bytes=45)
    tail, found = JsonlTail(path), []
    for number in range(12):
        appender.append({"n": number})
        if number % 3 == 2:
            found += [entry["n"] for entry in tail.read()]
            tail = JsonlTail.at(path, json.loads(json.dumps(tail.mark())))
    assert found == list(range(12))
    assert list(tail.read()) == []
    assert [entry["n"] for entry in JsonlTail(path).read()] == [
        entry["n"] for entry in read_jsonl(path)
    ]


TEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3)


@settings(max_examples=40)
@given(st.lists(TEXTS, max_size=5), st.integers(0, 200))
def test_cutting_the_file_anywhere_keeps_all_lines_before(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "m.jsonl"
    appender = JsonlAppender(path)
    for entry in entries:
        appender.append(entry)
    appender.close()
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    assert read_jsonl(path) == entries[: content.count(b"\n")]


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_a_tail_goes_on_where_it_was_in_a_file_that_was_moved(tmp_path, is_set_aside):
    path = tmp_path / "metrics.jsonl"
    append_all(path, {"n": 1}, {"n": 2})
    tail = JsonlTail(path)
    assert len(list(tail.read())) == 2
    mark = json.loads(json.dumps(tail.mark()))
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))
    append_all(moved / path.name, {"n": 3})
    if is_set_aside:
        (moved / path.name).replace(set_aside(moved / path.name))
        append_all(moved / path.name, {"n": 4})
    found = [entry["n"] for entry in JsonlTail.at(moved / path.name, mark).read()]
    assert found == ([3, 4] if is_set_aside else [3])
    path.unlink()
    append_all(path, {"n": 5}, {"n": 6}, {"n": 7})
    assert [entry["n"] for entry in JsonlTail.at(path, mark).read()] == [5, 6, 7], "another file"


def append_all(path: Path, *entries: dict[str, int]) -> None:
    appender = JsonlAppender(path)
    for entry in entries:
        appender.append(entry)
    appender.close()


def test_a_disk_that_is_full_lets_a_torn_file_be_opened(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"n": 0}\n{"n": 1, "torn')
    real, refused = os.write, []

    def full(fd: int, data: bytes) -> int:
        if len(refused) < 2:
            refused.append(data)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(os, "write", full)
    appender = JsonlAppender(path)
    with pytest.raises(OSError, match="No space"):
        appender.append({"n": 2})
    appender.append({"n": 3})
    appender.close()
    assert [entry["n"] for entry in read_jsonl(path)] == [0, 3]


def test_a_line_that_is_cut_by_its_last_byte_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "m.jsonl"
    appender = JsonlAppender(path)
    real = os.write
    for number in (0, 1):  # the second begins behind a torn line
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:-1]))
        with pytest.raises(OSError, match="No space"):
            appender.append({"n": number})
    monkeypatch.setattr(os, "write", real)
    appender.append({"n": 2})
    appender.close()
    assert [entry["n"] for entry in read_jsonl(path)] == [0, 1, 2]


def test_a_full_disk_costs_metrics_and_one_warning(tmp_path, caplog):
    monitor = JsonlMonitor(Path("/dev/full"))
    for step in range(3):
        monitor.log({"train/loss": 0.5}, step=step)
    monitor.close()
    assert caplog.text.count("metrics are lost until they can be written again") == 1


def test_the_newest_entry_with_a_key_is_found_in_what_was_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert newest_with(path, "train/kl") is None
    kept = ['{"train/kl": 0.1}', '{"train/kl": 0.2}', '{"words": "\\"train/kl\\""}', '{"a": 1}']
    path.write_text("\n".join(kept) + '\n{"train/kl": 0.3')  # still being written
    assert newest_with(path, "train/kl") == {"train/kl": 0.2}
    assert newest_with(path, "train/kl", "a") == {"a": 1}
    path.rename(set_aside(path))
    path.write_text('{"a": 2}\n')
    assert newest_with(path, "train/kl") == {"train/kl": 0.2}
    assert newest_with(path, "a") == {"a": 2}
