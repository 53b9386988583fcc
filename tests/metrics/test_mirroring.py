"""Whoever asks a mirror for something goes on at once, whatever the mirror does."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from clawjax.metrics.mirroring import Mirroring

LIMIT_S = 20.0


class Recorded:
    """A mirror that can be held."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.may_go_on = threading.Event()
        self.is_forwarding = threading.Event()

    def forward(self) -> int:
        self.is_forwarding.set()
        assert self.may_go_on.wait(LIMIT_S)
        self.did.append("forward")
        return 1

    def finish(self, *, summary=None, plot=None, is_failed=False) -> None:
        self.did.append(f"finish {summary} {plot} {is_failed}")

    def abandon(self) -> None:
        self.did.append("abandon")
        self.may_go_on.set()


def test_nobody_waits_and_what_was_asked_while_it_was_busy_is_done_once() -> None:
    mirror = Recorded()
    with Mirroring(lambda: mirror, timeout_s=LIMIT_S) as mirroring:
        mirroring.forward()
        assert mirror.is_forwarding.wait(LIMIT_S)
        for _ in range(5):
            mirroring.forward()
        assert mirror.did == []
        mirror.may_go_on.set()
        mirroring.finish(summary={"a": 1})
        assert mirror.did == ["forward", "forward", "finish {'a': 1} None False"]
    assert len(mirror.did) == 3, "it is finished once"


def test_what_is_new_is_sent_in_time_without_being_asked_for() -> None:
    mirror = Recorded()
    mirror.may_go_on.set()
    with Mirroring(lambda: mirror, timeout_s=LIMIT_S, every_s=0.01):
        assert mirror.is_forwarding.wait(LIMIT_S)


def test_an_error_ends_it_as_failed() -> None:
    mirror = Recorded()
    with pytest.raises(ZeroDivisionError), Mirroring(lambda: mirror, timeout_s=LIMIT_S):
        raise ZeroDivisionError
    assert mirror.did == ["finish None None True"]


def test_a_stuck_one_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    mirror = Recorded()
    began = time.monotonic()
    with Mirroring(lambda: mirror, timeout_s=0.2) as mirroring:
        mirroring.forward()
        assert mirror.is_forwarding.wait(LIMIT_S)
    assert mirror.did[0] == "abandon"
    assert time.monotonic() - began < LIMIT_S
    assert "stuck" in caplog.text


def test_one_that_does_not_begin_is_told_of_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        msg = "no such entity"
        raise ValueError(msg)

    with caplog.at_level(logging.ERROR), Mirroring(fail, timeout_s=LIMIT_S) as mirroring:
        mirroring.forward()
    assert "no such entity" in caplog.text
    with Mirroring(lambda: None, timeout_s=LIMIT_S) as mirroring:
        mirroring.forward()
