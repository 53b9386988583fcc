"""Waiting for what a sweep, or a trial of one, does."""

import time


def wait_for(condition, process):
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until, "it took over five minutes"
        time.sleep(0.02)
