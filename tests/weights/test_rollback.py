"""What is served: refusals, rollbacks, and what a crash in between leaves."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clawjax.errors import StoreError
from clawjax.files import write_synced
from clawjax.protocols import Removed, WeightVersion
from clawjax.testing import MemoryWeightStore
from clawjax.weights import DirectoryWeightStore
from clawjax.weights.manifest import verify
from clawjax.weights.pointer import Pointer, Rollback, is_left_behind


@pytest.fixture
def store(tmp_path: Path) -> DirectoryWeightStore:
    return DirectoryWeightStore(tmp_path / "weights", clock=lambda: 1000.0)


def publish(
    store: DirectoryWeightStore | MemoryWeightStore,
    version: int,
    *,
    parent: int | None = None,
    refused: str | None = None,
) -> WeightVersion:
    return store.publish(
        {"x": np.full(8, version, np.float32)},
        version=version,
        parent=version - 1 if parent is None else parent,
        step=version,
        base_model="m",
        kind="adapter",
        config={"r": 1},
        refused=refused,
    )


def served(store: DirectoryWeightStore) -> int | None:
    latest = DirectoryWeightStore(store.root).latest()  # as another process sees it
    return None if latest is None else latest.version


def pointed(store: DirectoryWeightStore) -> str:
    return (store.root / "LATEST").read_text().strip()


def test_a_refused_version_is_kept_and_marked_and_not_served(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    refused = publish(store, 2, refused="KL 0.5 over 0.3")
    assert refused.refused == "KL 0.5 over 0.3"
    assert served(store) == 1
    found, tensors = store.load(2)
    assert found == refused
    np.testing.assert_array_equal(tensors["x"], np.full(8, 2))
    assert json.loads((found.path / "manifest.json").read_text())["refused"] == refused.refused
    assert publish(store, 3, parent=1).refused is None
    assert served(store) == 3
    assert [(v.version, v.parent, v.refused is None) for v in store.versions()] == [
        (1, 0, True), (2, 1, False), (3, 1, True),
    ]  # fmt: skip
    assert [v.version for v in store.versions(after=2)] == [3]
    assert store.versions()[0].created_at == 1000.0


def test_the_first_version_refused_leaves_the_base_model_in_use(
    store: DirectoryWeightStore,
) -> None:
    publish(store, 1, refused="too far")
    assert served(store) == 0
    publish(store, 2, parent=0)
    assert served(store) == 2


@pytest.mark.parametrize("damage", [None, b"", b"garbage", b"000009\n"])
def test_a_refused_version_is_not_served_where_the_pointer_is_damaged(
    store: DirectoryWeightStore, damage: bytes | None
) -> None:
    publish(store, 1)
    publish(store, 2, refused="too far")
    if damage is None:
        (store.root / "LATEST").unlink()
    else:
        (store.root / "LATEST").write_bytes(damage)
    assert served(store) == 1


def test_publishing_a_refused_version_again_changes_nothing(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    publish(store, 2, refused="too far")
    assert publish(store, 2).refused == "too far"
    assert served(store) == 1


@pytest.mark.parametrize("version", [0, 1, 2])
def test_rolls_back_to_any_version(store: DirectoryWeightStore, version: int) -> None:
    for number in (1, 2, 3):
        publish(store, number)
    assert store.point_to(version).version == version
    assert served(store) == version
    assert pointed(store) == f"{version:06d}"
    assert store.rollbacks() == (Rollback(1000.0, 3, version, 3),)
    store.point_to(3)
    assert served(store) == 3


def test_only_so_many_versions_are_kept_and_always_the_one_served(tmp_path: Path) -> None:
    store = DirectoryWeightStore(tmp_path / "weights", keep=2)
    for version in (1, 2, 3):
        publish(store, version)
    assert [found.version for found in store.versions()] == [2, 3]
    store.point_to(2)
    for version in (4, 5, 6):
        publish(store, version, parent=3)
    assert [found.version for found in store.versions()] == [2, 5, 6]
    assert served(store) == 2
    publish(store, 7, parent=2)
    assert served(store) == 7
    assert [found.version for found in store.versions()] == [6, 7]
    with pytest.raises(StoreError, match="holds no version 2: choose one of 0, 6, 7"):
        store.point_to(2)
    names = {path.name for path in store.root.iterdir()}
    assert names == {"000006", "000007", "LATEST", "PARENTS", "ROLLBACKS", ".lock", ".writer"}
    late = "version 2 was put in place of 3 while this one was made"
    assert store.removed() == {4: Removed(3, late), 5: Removed(3, late)}


def test_version_0_is_the_base_model_without_tensors(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    store.point_to(0)
    latest = store.latest()
    assert latest is not None
    assert (latest.version, latest.kind) == (0, "base")
    assert store.load(0) == (latest, {})
    publish(store, 2, parent=0)
    assert served(store) == 2


def test_an_empty_store_is_pointed_to_the_base_model(store: DirectoryWeightStore) -> None:
    store.root.mkdir()
    assert store.point_to(0).version == 0
    assert store.rollbacks() == (Rollback(1000.0, 0, 0, 0),)


def test_a_step_does_not_undo_a_rollback_that_came_meanwhile(store: DirectoryWeightStore) -> None:
    for number in (1, 2, 3):
        publish(store, number)
    store.point_to(1)
    late = publish(store, 4, parent=3)
    assert late.refused == "version 1 was put in place of 3 while this one was made"
    assert served(store) == 1
    assert publish(store, 5, parent=1).refused is None
    assert served(store) == 5


def test_what_a_crash_left_unpointed_is_pointed_to_when_it_is_published_again(
    store: DirectoryWeightStore,
) -> None:
    publish(store, 1)
    publish(store, 2)
    Pointer(store.root).move(1)  # as if the process had died before
    assert served(store) == 1
    publish(store, 2)
    assert served(store) == 2


@pytest.mark.parametrize("target", [0, 1])
def test_what_a_crash_left_unpointed_stays_so_once_somebody_has_gone_back(
    store: DirectoryWeightStore, target: int
) -> None:
    publish(store, 1)
    publish(store, 2)
    Pointer(store.root).move(1)
    store.point_to(target)
    assert publish(store, 2).refused is None
    assert served(store) == target
    publish(store, 3, parent=target)
    assert served(store) == 3


def test_a_crash_between_the_record_and_the_pointer_changes_nothing(
    store: DirectoryWeightStore,
) -> None:
    publish(store, 1)
    publish(store, 2)
    Pointer(store.root).record(Rollback(1.0, 2, 1, 2))
    assert served(store) == 2
    publish(store, 3)
    assert served(store) == 3


def test_a_rollback_is_remembered_where_the_pointer_is_damaged(
    store: DirectoryWeightStore,
) -> None:
    for number in (1, 2, 3):
        publish(store, number)
    store.point_to(1)
    (store.root / "LATEST").write_text("?")
    assert served(store) == 1
    publish(store, 4, parent=1)
    (store.root / "LATEST").write_text("?")
    assert served(store) == 4
    store.point_to(0)
    (store.root / "LATEST").write_text("?")
    assert served(store) == 0


@pytest.mark.parametrize("parent", [4, 5])
def test_damage_to_the_version_served_does_not_pass_for_a_rollback(
    store: DirectoryWeightStore, parent: int
) -> None:
    """Whether the trainer still holds version 5, or has gone on from what stands in for it."""
    for number in (1, 2, 3, 4, 5):
        publish(store, number)
    (store.load(5)[0].path / "adapter_config.json").unlink()
    assert served(store) == 4
    assert publish(store, 6, parent=parent).refused is None
    assert served(store) == 6


def test_a_version_that_cannot_be_served_is_refused_by_name(store: DirectoryWeightStore) -> None:
    with pytest.raises(StoreError, match=r"weights does not exist: nothing was ever published"):
        store.point_to(0)
    publish(store, 1)
    publish(store, 2, refused="too far")
    file = publish(store, 3, parent=1).path / "adapter_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=r"no version 9: choose one of 0, 1, 2, 3"):
        store.point_to(9)
    with pytest.raises(StoreError, match="no version -1"):
        store.point_to(-1)
    with pytest.raises(StoreError, match=r"version 2 was refused \(too far\)"):
        store.point_to(2)
    with pytest.raises(StoreError, match="does not match its checksum"):
        store.point_to(3)
    assert served(store) == 3
    assert store.rollbacks() == ()


def test_a_refused_version_is_served_when_somebody_insists(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    publish(store, 2, refused="too far")
    assert store.point_to(2, is_forced=True).refused == "too far"
    assert served(store) == 2
    assert publish(store, 3).refused is None
    assert served(store) == 3


def test_a_damaged_record_of_rollbacks_is_named(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    (store.root / "ROLLBACKS").write_text('{"at": 1.0}\n')
    with pytest.raises(StoreError, match="ROLLBACKS is no record of rollbacks"):
        store.point_to(1)


def test_left_behind_until_somebody_comes_back() -> None:
    back, forth = Rollback(1.0, 5, 3, 5), Rollback(2.0, 3, 5, 6)
    assert [is_left_behind(version, [back]) for version in (3, 4, 5, 6)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not is_left_behind(5, [back, forth])
    assert is_left_behind(6, [back, forth])


def test_another_process_waits_until_a_version_is_written(store: DirectoryWeightStore) -> None:
    publish(store, 1)
    pointer = Pointer(store.root)
    with (
        pointer.locked(),
        pytest.raises(StoreError, match="another process has been writing for 0 s"),
        Pointer(store.root).locked(wait_s=0.1),
    ):
        pass
    with Pointer(store.root).locked(wait_s=0.1):
        pass


def test_nobody_waits_until_a_large_version_is_written(
    store: DirectoryWeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        publish(store, number)

    def write(file: Path, content: bytes) -> None:
        if file.suffix == ".safetensors":
            DirectoryWeightStore(store.root).point_to(1)
        write_synced(file, content)

    monkeypatch.setattr(Pointer.locked, "__kwdefaults__", {"wait_s": 0.1})
    monkeypatch.setattr("clawjax.weights.store.write_synced", write)
    late = publish(store, 4)
    assert late.refused == "version 1 was put in place of 3 while this one was made"
    assert (served(store), store.rollbacks()[0].newest) == (1, 3)


def test_nobody_waits_until_a_large_version_is_verified(
    store: DirectoryWeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, 1)
    publish(store, 2)

    def read(path: Path, manifest: Mapping[str, Any]) -> None:
        if not (store.root / "000003").exists():
            publish(DirectoryWeightStore(store.root), 3)
        verify(path, manifest)

    monkeypatch.setattr(Pointer.locked, "__kwdefaults__", {"wait_s": 0.1})
    monkeypatch.setattr("clawjax.weights.store.verify", read)
    store.point_to(1)
    assert served(store) == 1
    assert store.rollbacks() == (Rollback(1000.0, 3, 1, 3),)


def test_what_went_while_it_was_verified_is_not_pointed_to(
    store: DirectoryWeightStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        publish(store, number)

    def read(path: Path, manifest: Mapping[str, Any]) -> None:
        verify(path, manifest)
        if path.name == "000001":
            publish(DirectoryWeightStore(store.root, keep=2), 3)

    monkeypatch.setattr("clawjax.weights.store.verify", read)
    with pytest.raises(StoreError, match="000001 was removed or replaced meanwhile"):
        store.point_to(1)
    assert served(store) == 3
    assert store.rollbacks() == ()


def test_many_who_point_and_one_who_publishes_do_not_lose_each_other(
    store: DirectoryWeightStore,
) -> None:
    publish(store, 1)
    context = multiprocessing.get_context("spawn")
    pointing = context.Process(target=_keep_pointing, args=(store.root, 40))
    pointing.start()
    number, parent = 1, 1
    while pointing.is_alive():
        number += 1
        publish(store, number, parent=parent)
        parent = served(store) or 0
    pointing.join(60)
    assert pointing.exitcode == 0
    assert len(store.rollbacks()) == 40
    made = {version.version: version for version in store.versions()}
    assert set(made) == set(range(1, number + 1))
    assert served(store) in (0, 1, number)


def _keep_pointing(root: Path, times: int) -> None:
    store = DirectoryWeightStore(root)
    for turn in range(times):
        store.point_to(turn % 2)


def test_the_fake_keeps_the_same_rules() -> None:
    store = MemoryWeightStore()
    assert store.latest() is None
    publish(store, 1)
    publish(store, 2, refused="too far")
    store.served = 0
    assert publish(store, 3, parent=1).refused is not None
    assert publish(store, 4, parent=0).refused is None
    latest = store.latest()
    assert latest is not None
    assert latest.version == 4
    assert [version.version for version in store.versions(after=1)] == [2, 3, 4]
