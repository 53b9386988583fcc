import sys
from pathlib import Path

import _peer
import pytest
from _compare import in_turn, one_line, ratios, spread
from _peer import Peer, PeerError

PEERS = Path(_peer.__file__).parent / "peers"


def test_contestants_take_turns_and_nobody_always_goes_first() -> None:
    order: list[str] = []

    def contest(name: str) -> float:
        order.append(name)
        return float(len(order))

    measured = in_turn({"a": lambda: contest("a"), "b": lambda: contest("b")}, rounds=3)
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]  # the first two warm up
    assert measured == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


def test_a_ratio_is_taken_within_its_round() -> None:
    assert ratios([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == (3.0, 2.0, 4.0)
    assert spread([3.0]).as_row("x") == {"x": 3.0, "x_low": 3.0, "x_high": 3.0}


def test_a_row_for_a_person_has_medians_only() -> None:
    row = {"name": "x", "n": 12345} | spread([1.23456, 2.0, 0.5]).as_row("s")
    assert one_line(row) == "name x  n 12345  s 1.235"


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of peers whose environment is this one."""
    bin_dir = tmp_path / "environments" / "here" / "bin"
    bin_dir.mkdir(parents=True)
    (bin_dir / "python").symlink_to(sys.executable)
    (tmp_path / "_serve.py").write_text((PEERS / "_serve.py").read_text())
    monkeypatch.setattr(_peer, "_HERE", tmp_path)
    return tmp_path


def peer(peers: Path, body: str, *, timeout_s: float = 20.0) -> Peer:
    (peers / "some.py").write_text(f"import os, time\nfrom _serve import serve\n{body}")
    return Peer("some", "here", timeout_s=timeout_s)


def test_a_peer_answers_and_what_it_prints_is_no_answer(peers: Path) -> None:
    body = "def twice(n):\n    print('loading')\n    return {'n': 2 * n}\nserve({'twice': twice})"
    with peer(peers, body) as running:
        assert running.call("twice", n=4) == {"n": 8}
        assert running.call("twice", n=5) == {"n": 10}


def test_a_peer_that_fails_says_why_and_goes_on(peers: Path) -> None:
    body = "serve({'divide': lambda n: {'n': 1 / n}})"
    with peer(peers, body) as running:
        with pytest.raises(PeerError, match="some failed at 'divide': ZeroDivisionError"):
            running.call("divide", n=0)
        assert running.call("divide", n=2) == {"n": 0.5}


def test_a_peer_that_ends_or_hangs_is_not_waited_for(peers: Path) -> None:
    commands = "serve({'end': lambda: os._exit(3), 'hang': lambda: time.sleep(60)})"
    with peer(peers, commands) as ended:
        with pytest.raises(PeerError, match="ended during 'end'"):
            ended.call("end")
        with pytest.raises(PeerError, match=r"did not answer 'end'|ended during 'end'"):
            ended.call("end")
    with (
        peer(peers, commands.replace("60", "5"), timeout_s=0.5) as hanging,
        pytest.raises(PeerError, match=r"within 0\.5 s"),
    ):
        hanging.call("hang")


def test_a_missing_environment_names_the_command_that_makes_it(peers: Path) -> None:
    with pytest.raises(PeerError, match=r"run bash benchmarks/peers/setup\.sh torch"):
        Peer("some", "torch")


def test_our_own_half_has_this_python_and_what_it_can_import(peers: Path) -> None:
    body = "import _peer, clawjax\nserve({'where': lambda: {'file': _peer.__file__}})"
    (peers / "some.py").write_text(f"from _serve import serve\n{body}")
    with Peer("some", None, timeout_s=20.0) as running:
        assert running.call("where") == {"file": _peer.__file__}
