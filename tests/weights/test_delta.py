"""Deltas: exact, verified, and used only where they arrive sooner."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawjax.errors import StoreError
from clawjax.weights import delta as module
from clawjax.weights.delta import Speeds, apply_delta, has_zstd, main, make_delta, pays

needs_zstd = pytest.mark.skipif(not has_zstd(), reason="pip install -e '.[delta]'")


@pytest.fixture
def files(tmp_path):
    base, target = tmp_path / "base", tmp_path / "target"
    weights = np.random.default_rng(0).normal(size=2_100_001).astype(np.float32)  # three chunks
    base.write_bytes(weights.tobytes())
    weights[::50] *= 1.001
    target.write_bytes(weights.tobytes())
    return base, target, tmp_path / "delta", tmp_path / "made"


@needs_zstd
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), max_size=40),
    st.sampled_from([1, 2, 4]),
)
def test_any_two_files_of_one_size_are_told_apart_exactly(tmp_path_factory, both, planes):
    folder = tmp_path_factory.mktemp("delta")
    base, target, delta, made = (folder / name for name in ("base", "target", "delta", "made"))
    base.write_bytes(bytes(old for old, _ in both))
    target.write_bytes(bytes(new for _, new in both))
    assert make_delta(base, target, delta, planes=planes) == delta.stat().st_size
    apply_delta(base, delta, made)
    assert made.read_bytes() == target.read_bytes()


@needs_zstd
def test_few_changes_take_few_bytes(files):
    base, target, delta, made = files
    assert make_delta(base, target, delta) < 0.1 * target.stat().st_size
    apply_delta(base, delta, made)
    assert made.read_bytes() == target.read_bytes()


@needs_zstd
def test_a_delta_is_applied_to_the_file_it_was_made_from_only(files):
    base, target, delta, made = files
    make_delta(base, target, delta)
    with pytest.raises(StoreError, match=r"was not made from .*target: fetch the whole file"):
        apply_delta(target, delta, made)
    assert not made.exists()


@needs_zstd
@settings(deadline=None, max_examples=40)
@given(where=st.floats(0, 1, exclude_max=True), cut=st.booleans())
def test_a_damaged_delta_gives_nothing(tmp_path_factory, where, cut):
    folder = tmp_path_factory.mktemp("delta")
    base, target, delta, made = (folder / name for name in ("base", "target", "delta", "made"))
    base.write_bytes(bytes(range(200)))
    target.write_bytes(bytes(reversed(range(200))))
    make_delta(base, target, delta)
    content = bytearray(delta.read_bytes())
    at = int(where * len(content))
    content[at] ^= 0x11
    delta.write_bytes(content[:at] if cut else content)
    try:
        apply_delta(base, delta, made)
    except StoreError:
        assert sorted(path.name for path in folder.iterdir()) == ["base", "delta", "target"]
    else:  # a bit that says nothing, as a checksum's in a frame without one
        assert made.read_bytes() == target.read_bytes()


@needs_zstd
def test_files_of_two_models_have_no_delta(files):
    base, target, delta, _ = files
    base.write_bytes(b"short")
    with pytest.raises(StoreError, match=r"base has 5 bytes and .*: send the whole file"):
        make_delta(base, target, delta)


@needs_zstd
def test_by_hand(files, capsys):
    base, target, delta, made = (str(path) for path in files)
    assert main(["make", base, target, delta]) == 0
    assert "% of the file" in capsys.readouterr().out
    assert main(["apply", base, delta, made]) == 0
    assert main(["apply", target, delta, made]) == 2
    assert "was not made from" in capsys.readouterr().err


@needs_zstd
def test_a_delta_that_the_disk_has_no_room_for_leaves_the_old_one_and_nothing_besides(files):
    base, target, delta, _ = files
    delta.write_bytes(b"the old one")
    limited = 'ulimit -f 8; exec "$@"'  # KiB of a file
    # Without -B, what Python compiles would be cut at the limit as well, and kept for others.
    command = [sys.executable, "-B", "-m", "clawjax.weights.delta", "make", base, target, delta]
    done = subprocess.run(
        ["bash", "-c", limited, "bash", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, delta.read_bytes()) == (2, b"the old one"), done.stderr
    assert f"{delta}: File too large" in done.stderr
    assert sorted(path.name for path in delta.parent.iterdir()) == ["base", "delta", "target"]


@pytest.mark.parametrize("planes", [0, 3, 8])
def test_a_number_has_one_two_or_four_bytes(files, planes):
    base, target, delta, _ = files
    with pytest.raises(StoreError, match=f"planes={planes} is no size"):
        make_delta(base, target, delta, planes=planes)


def test_without_zstd_it_says_what_to_install(files, monkeypatch):
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it could not be found
    base, target, delta, _ = files
    assert not has_zstd()
    with pytest.raises(StoreError, match=r"pip install -e '\.\[delta\]'"):
        make_delta(base, target, delta)


@given(st.lists(st.integers(0, 255), max_size=30), st.sampled_from([1, 2, 4]))
def test_bytes_put_apart_come_together_again(content, planes):
    chunk = np.asarray(content, np.uint8)
    np.testing.assert_array_equal(module._together(module._apart(chunk, planes), planes), chunk)


GIGABYTE = 1e9


@pytest.mark.parametrize(
    ("ratio", "network", "expected"),
    [
        (0.02, 0.1 * GIGABYTE, True),  # few changes over a narrow way
        (0.02, 10 * GIGABYTE, False),  # over a wide one, making it takes longer
        (0.95, 0.1 * GIGABYTE, False),  # nearly everything has changed
    ],
)
def test_a_delta_pays_where_it_arrives_sooner(ratio, network, expected):
    assert pays(ratio, Speeds(network, make=0.5 * GIGABYTE, apply=0.5 * GIGABYTE)) is expected
