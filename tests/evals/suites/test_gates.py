"""Every suite: the oracle solves it; nothing, chance and cheating do not."""

import pytest

from clawjax.errors import ConfigError
from clawjax.evals.gates import Gate, gates
from clawjax.evals.suites import SUITES, build_suite

APART = {"os"}
"""All of their tasks are held to the gates, beside the other suites of AgentBench."""


@pytest.mark.parametrize("name", [name for name in SUITES if name not in APART])
async def test_the_gates_of_every_suite_hold(tmp_path, name):
    try:
        suite = build_suite(name)
    except ConfigError as missing:
        pytest.skip(f"{name}: {missing}")
    assert suite.exploits
    # A sample: benchmarks/suite_gates.py plays all tasks.
    others = 2 if suite.chance < 0.1 else 4  # where chance solves some, two say little of it
    found = [gate async for gate in gates(suite, tmp_path, limit=4, others=others)]
    assert [gate for gate in found if not gate.holds] == []


def test_a_gate_that_was_not_measured_is_closed():
    assert not Gate("s", "oracle", None, 1.0, 4).holds
    assert not Gate("s", "noop", None, 0.0, 4).holds
    assert not Gate("s", "oracle", 0.9, 1.0, 4).holds
    assert Gate("s", "noop", 0.0, 0.0, 4).holds
