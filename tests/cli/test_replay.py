"""`clawjax replay` on logs that are larger than what may be in memory."""

import tracemalloc
from dataclasses import replace

import pytest
from test_cli import link, turn

from clawjax.cli import main
from clawjax.errors import LogError
from clawjax.log.forgetting import forget
from clawjax.log.replay import Placed
from clawjax.records import LinkKind, Message
from clawjax.testing import temporary_log


def long_turn(number: int, characters: int):
    said = Message("user", (f"{number} " * characters)[:characters])
    each = turn(f"t{number}", session=f"s{number}", at=float(number))
    return replace(each, messages=(said,))


def test_a_log_is_placed_again_without_being_held_in_memory(tmp_path, capsys):
    log = temporary_log(tmp_path)
    for number in range(500):
        log.append(long_turn(number, 20_000), link(f"t{number}", LinkKind.NEW))
    log.close()
    tracemalloc.start()
    try:
        main(["replay", str(tmp_path)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "500 turns placed again" in capsys.readouterr().out
    assert peak < 9_000_000, "of 10 MB of texts a few pages are held"


def test_each_can_be_had_again_by_its_number_in_any_order(tmp_path):
    log = temporary_log(tmp_path)
    for number in range(11):
        log.append(long_turn(number, 10))
        if number % 3:
            log.append(link(f"t{number}"))
    placed = Placed(log, page=2, kept=1)
    numbered = list(placed)
    assert [each.turn_id for each, _ in numbered] == ["t1", "t2", "t4", "t5", "t7", "t8", "t10"]
    log.append(long_turn(11, 10), link("t11"))
    for number in (6, 0, 3, 3, 5, 1, 2, 4):
        assert placed[number] == numbered[number]
    _ = placed[0]  # of another page
    forget(log, now=1.0, response_id=numbered[3][0].response_id)
    with pytest.raises(LogError, match="try again"):
        _ = placed[3]
    log.close()
