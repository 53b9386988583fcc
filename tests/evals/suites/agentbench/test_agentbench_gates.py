"""All tasks of AgentBench's suites, not only the few that every suite is held to."""

from pathlib import Path

import pytest

from clawjax.errors import UnavailableError
from clawjax.evals.gates import gates
from clawjax.evals.suites import build_suite

DEV = Path(__file__).parents[3] / "data" / "agentbench" / "dbbench_dev.jsonl"


@pytest.mark.parametrize(
    ("name", "options", "others"),
    [
        ("dbbench", {"edition": "fc"}, None),
        ("dbbench", {"path": str(DEV)}, None),
        ("household", {}, None),
        ("os", {}, 2),  # some wait for the check, others for their machine's end
    ],
)
async def test_the_gates_hold_for_all_tasks(name, options, others, tmp_path):
    try:
        suite = build_suite(name, options)
    except UnavailableError as missing:
        pytest.skip(f"{name}: {missing}")
    found = [gate async for gate in gates(suite, tmp_path, others=others)]
    assert [gate for gate in found if not gate.holds] == []
    assert found[0].episodes == len(suite.tasks)
