"""When `make bench-check` fails; what it measures is not for tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import check
import pytest
from _kernel import Kernel
from _speed import Chunk, seconds_per_step, speeds

from clawjax.config import ModelConfig


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Compares ratios that are made up, round by round; returns what was said and the exit code."""
    baseline = tmp_path / "check_baseline.json"
    monkeypatch.setattr(check, "BASELINE", baseline)
    monkeypatch.setattr(check, "Kernel", AsItIs)

    def call(measured: dict[str, list[float]], *options: str) -> tuple[str, int]:
        values = {name: iter(each) for name, each in measured.items()}

        @contextmanager
        def made_up(model: ModelConfig) -> Iterator[dict[str, Callable[[], float]]]:
            yield {name: lambda each=each: next(each) for name, each in values.items()}

        monkeypatch.setattr(check, "speeds", made_up)
        monkeypatch.setattr(sys, "argv", ["check.py", *options])
        try:
            check.main()
        except SystemExit as stopped:
            return capsys.readouterr().out, int(stopped.code or 0)
        return capsys.readouterr().out, 0

    return call


class AsItIs(Kernel):
    """A kernel that takes a second, without a process."""

    def __enter__(self) -> AsItIs:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seconds(self) -> float:
        return 1.0


WARM_UP = [99.0]
FIVE = check.ROUNDS
FIFTEEN = check.MORE_ROUNDS


def test_a_baseline_is_the_median_of_the_rounds_and_holds(run) -> None:
    values = [*WARM_UP, 1.0, 9.0, 2.0, 3.0, 1.5]
    run({"decode": values}, "--write")
    assert json.loads(check.BASELINE.read_text())["ratios"] == {"decode": 2.0}
    said, code = run({"decode": values})
    assert code == 0
    assert "+0%" in said
    assert "once more" not in said


def test_what_is_slower_twice_fails(run) -> None:
    run({"decode": WARM_UP + [1.0] * FIVE, "step": WARM_UP + [2.0] * FIVE}, "--write")
    slow = WARM_UP + [1.3] * (FIVE + FIFTEEN)
    said, code = run({"decode": slow, "step": WARM_UP + [2.1] * FIVE})
    assert code == 1
    assert f"measured once more, in {FIFTEEN} rounds: decode\n" in said
    lines = {line.split()[0]: line for line in said.splitlines() if "baseline" in line}
    assert lines["decode"].endswith("+30%   SLOWER")
    assert lines["step"].endswith("+5%")


def test_what_was_slower_only_once_passes(run) -> None:
    run({"decode": WARM_UP + [1.0] * FIVE}, "--write")
    said, code = run({"decode": WARM_UP + [5.0] * FIVE + [1.1] * FIFTEEN})
    assert (code, "+10%" in said, "once more" in said) == (0, True, True)


def test_faster_and_new_pass_and_ask_for_a_new_baseline(run) -> None:
    run({"decode": WARM_UP + [1.0] * FIVE}, "--write")
    said, code = run({"decode": WARM_UP + [0.5] * FIVE, "new": WARM_UP + [1.0] * FIVE})
    assert code == 0
    assert "faster: python benchmarks/check.py --write" in said
    assert "not in the baseline: python benchmarks/check.py --write" in said


def test_without_a_baseline_nothing_is_measured(run) -> None:
    assert run({})[1] == 2


def test_another_processor_is_pointed_out(run) -> None:
    run({"decode": WARM_UP + [1.0] * FIVE}, "--write")
    content = json.loads(check.BASELINE.read_text())
    content["machine"]["cpu"] = "Some CPU"
    check.BASELINE.write_text(json.dumps(content))
    assert "of another processor: Some CPU" in run({"decode": WARM_UP + [1.0] * FIVE})[0]


def test_ratios_are_against_the_kernel_before_and_after() -> None:
    class Slowing(AsItIs):
        times = iter([1.0, 3.0])

        def seconds(self) -> float:
            return next(self.times)

    assert Slowing().beside(lambda: 6.0) == 3.0


def test_the_kernel_runs_in_a_process_of_its_own() -> None:
    with Kernel() as kernel:
        assert kernel.seconds() > 0
        assert kernel._process.poll() is None
    assert kernel._process.poll() == 0


def test_steps_are_counted_while_all_streams_run() -> None:
    one = [Chunk(float(second), 1) for second in range(10)]
    other = [Chunk(second + 3.5, 2) for second in range(10)]
    # Both run from 3.5 to 9: six tokens of the one, five times two of the other.
    assert seconds_per_step([one, other]) == 5.5 / (16 / 2)
    assert seconds_per_step([one]) == 1.0


@pytest.mark.slow
def test_everything_that_is_compared_can_be_measured() -> None:
    tiny = ModelConfig(name="tiny", path="random:llama", context_length=1024)
    with speeds(tiny) as contestants:
        assert all(measure() > 0 for measure in contestants.values())
        assert len(contestants) == 4
