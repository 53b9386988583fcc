"""Do the scorers agree with what was published?

    python benchmarks/scorer_parity.py [--quick] [--only dbbench,verified,tau_retail]

Each check recomputes published numbers by our scorers: hashes and labels of AgentBench's database
tasks, the overall scores of its table, the official verdicts on GAIA's answers, WebArena's on all
of its tasks, pass^k of a run of tau-bench, and the states in which reference runs of tau2's airline
and retail tasks end; and whether WebArena-Verified's own
scorer pays right answers and no others, run by the interpreter that CLAWJAX_VERIFIED_PYTHON names
(docs/web.md). Data that is not on this machine is a gap. Takes a minute, tau2 most of it, so
`--quick` does the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from _result import write_result
from _scorer_parity import CHECKS, goal_of, row_of


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(CHECKS))
    options = parser.parse_args(arguments)
    found = [(name, CHECKS[name]()) for name in options.only.split(",")]
    write_result(
        "scorer_parity_quick" if options.quick else "scorer_parity",
        [row_of(name, parity) for name, parity in found],
        [goal_of(name, parity) for name, parity in found if parity.gap is None],
        command="python benchmarks/scorer_parity.py" + (" --quick" if options.quick else ""),
        notes={
            "agreeing": "items whose published number our scorer reproduces, of all in the data",
            "largest": "largest absolute difference, where the number is one; the table is rounded",
        },
    )


if __name__ == "__main__":
    main()
