"""The command that shows versions and chooses one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clawjax.weights import DirectoryWeightStore
from clawjax.weights.__main__ import main


@pytest.fixture
def store(tmp_path: Path) -> DirectoryWeightStore:
    """Versions 1 and 3 were served, 2 was refused."""
    store = DirectoryWeightStore(tmp_path / "weights", clock=lambda: 0.0)
    for version, parent, refused in ((1, 0, None), (2, 1, "KL is 0.5"), (3, 1, None)):
        store.publish(
            {"x": np.full(8, version, np.float32)},
            version=version, parent=parent, step=version, base_model="m", kind="adapter",
            config={}, refused=refused,
        )  # fmt: skip
    return store


def lines(run: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["list", str(run)]) == 0
    return capsys.readouterr().out.splitlines()


def test_lists_what_is_served_refused_and_rolled_back(
    store: DirectoryWeightStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, base, one, two, three = lines(tmp_path, capsys)
    assert head.split() == ["version", "parent", "made"]
    assert base.split() == ["0", "the", "base", "model"]
    assert one.split()[:2] == ["1", "0"]
    assert two.endswith("refused: KL is 0.5")
    assert three.split()[-1] == "served"
    store.point_to(1)
    *_, one, two, three = lines(tmp_path, capsys)
    assert one.endswith("served")
    assert two.endswith("rolled back, refused: KL is 0.5")
    assert three.endswith("rolled back")
    store.point_to(0)
    assert lines(tmp_path, capsys)[1].endswith("the base model       served")


def test_who_came_forward_again_has_not_left_behind_where_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = DirectoryWeightStore(tmp_path / "weights", clock=lambda: 0.0)
    for version in (1, 2, 3, 4):
        store.publish(
            {"x": np.full(8, version, np.float32)},
            version=version, parent=version - 1, step=version, base_model="m", kind="adapter",
            config={},
        )  # fmt: skip
    store.point_to(1)
    store.point_to(3)
    *_, one, two, three, four = lines(tmp_path, capsys)
    assert three.endswith("served")
    assert four.endswith("rolled back")
    assert not any(line.endswith("rolled back") for line in (one, two))


def test_rolls_back(
    store: DirectoryWeightStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(tmp_path), "1"]) == 0
    assert "Version 1 is served from now on, in place of 3." in capsys.readouterr().out
    assert (tmp_path / "weights" / "LATEST").read_text() == "000001\n"
    assert main(["rollback", str(tmp_path), "2", "--force"]) == 0
    latest = store.latest()
    assert latest is not None
    assert latest.version == 2


@pytest.mark.parametrize(
    ("version", "complaint"),
    [("7", "no version 7: choose one of 0, 1, 2, 3"), ("2", "refused (KL is 0.5)")],
)
def test_what_cannot_be_served_is_said_and_changes_nothing(
    store: DirectoryWeightStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    version: str,
    complaint: str,
) -> None:
    assert main(["rollback", str(tmp_path), version]) == 2
    assert complaint in capsys.readouterr().err
    assert store.rollbacks() == ()


def test_a_folder_without_weights_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", str(tmp_path)]) == 2
    assert "is no run with weights: name its folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
