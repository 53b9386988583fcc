"""What does the gateway add to a reply, how many requests does one core take, do streams stall?

    python benchmarks/gateway.py [--quick]

The engine answers at once, so every millisecond is the gateway's, or the client's and the
loopback's: HTTP, validation, sessions, the prompt, and the turn log on the disk. It runs in a
process of its own on one core. About two minutes on two quiet cores. `--quick` does less of each.
"""

from __future__ import annotations

import argparse

from _compare import one_line
from _gateway_load import FULL, NOTES, QUICK, goals, measure
from _result import write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = measure(QUICK if options.quick else FULL)
    for row in rows:
        print(one_line(row))
    write_result(
        "gateway_quick" if options.quick else "gateway",
        rows,
        goals(rows),
        command="python benchmarks/gateway.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
