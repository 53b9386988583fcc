"""Who descends from whom, and how far apart two versions are."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clawjax.protocols import Removed, WeightVersion
from clawjax.weights import Lineage


def made(version: int, parent: int | None, refused: str | None = None) -> WeightVersion:
    return WeightVersion(version, Path(), parent, version, "m", "adapter", refused)


# 1 - 2 - 3 - 4x      4 was refused; 5 goes on from 3; 6 was rolled back to 1, 7 goes on from there
#  \       \- 5 - 6
#   \- 7
TREE = Lineage.of(
    [made(1, 0), made(2, 1), made(3, 2), made(4, 3, "too far"), made(5, 3), made(6, 5), made(7, 1)]
)


def test_distance_is_counted_along_the_tree() -> None:
    assert TREE.distance(3, 3) == 0
    assert TREE.distance(5, 3) == 1, "a refused version in between counts for nothing"
    assert TREE.distance(7, 1) == 1
    assert TREE.distance(7, 6) == 5, "up to version 1 and down again"
    assert TREE.distance(0, 6) == 5


def test_descent() -> None:
    assert TREE.descends(6, 3)
    assert TREE.descends(6, 6)
    assert not TREE.descends(6, 4)
    assert not TREE.descends(7, 2)
    assert not TREE.descends(2, 3)
    assert all(TREE.descends(version, 0) for version in range(8))


def test_what_is_not_known_descends_from_the_number_before() -> None:
    assert Lineage().parent(9) == 8
    assert Lineage().distance(9, 4) == 5
    for odd in (None, 5, 9):
        assert Lineage.of([made(5, odd)]).parent(5) == 4


def test_whom_removed_versions_descended_from_is_told_by_what_was_kept() -> None:
    tree = Lineage.of([made(6, 5), made(7, 6)], {4: Removed(2), 5: Removed(9)})
    assert [tree.parent(version) for version in (7, 6, 5, 4, 3)] == [6, 5, 4, 2, 2]
    assert tree.grown(made(8, 4)).parent(4) == 2


def test_newest_and_refused() -> None:
    assert (Lineage().newest, Lineage().refused) == (0, {})
    assert TREE.newest == 7
    assert TREE.refused == {4: "too far"}
    grown = TREE.grown(made(8, 7, "again"))
    assert (grown.newest, grown.refused) == (8, {4: "too far", 8: "again"})
    assert TREE.newest == 7


def test_refusals_count_where_the_versions_are_gone() -> None:
    gone = {2: Removed(1, "too far"), 3: Removed(1), 4: Removed(3, "too far")}
    tree = Lineage.of([made(4, 3, "too far"), made(5, 3), made(6, 5, "too far")], gone)
    assert list(tree.refused) == [2, 4, 6]
    assert list(tree.grown(made(7, 5, "too far")).refused) == [2, 4, 6, 7]


@given(st.data())
def test_distance_is_a_metric(data: st.DataObject) -> None:
    tree = Lineage.of(made(n, data.draw(st.integers(0, n - 1))) for n in range(1, 10))
    a, b, c = (data.draw(st.integers(0, 9)) for _ in range(3))
    assert tree.distance(a, b) == tree.distance(b, a)
    assert (tree.distance(a, b) == 0) == (a == b)
    assert tree.distance(a, c) <= tree.distance(a, b) + tree.distance(b, c)
    if tree.descends(a, b):
        assert tree.distance(a, 0) == tree.distance(a, b) + tree.distance(b, 0)
