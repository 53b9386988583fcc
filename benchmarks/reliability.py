"""Is anything lost, trained twice or refused when processes are killed, or the learner trains?

    python benchmarks/reliability.py [--quick] [--only crash|resume|availability]

Everything in the processes in which it runs for a user, on the tiny random model: a run whose
processes (gateway, engine and judges; the learner; the supervisor) are killed with `kill -9` at
random moments while people talk, and which is stopped in order at the end; a learner that is killed
on the way, beside one that is not, over the same recorded log; and 64 streams while the learner
publishes, beside an emulation of the reference's loop on the same traffic. `--only` runs a part and
writes no result; `--quick` shows that the script works.
"""

from __future__ import annotations

import argparse
import signal
import sys

from _result import write_result
from reliability.parts import FULL, NOTES, PARTS, QUICK, goals, measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    # What was started is stopped also when somebody ends this script.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    parts = (options.only,) if options.only else PARTS
    rows = [row for part in parts for row in measure(part, QUICK if options.quick else FULL)]
    if options.only:
        return
    write_result(
        "reliability_quick" if options.quick else "reliability",
        rows=rows,
        goals=goals(rows),
        command="python benchmarks/reliability.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
