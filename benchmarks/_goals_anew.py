"""States the goals of committed results anew, from their rows: what was measured stays as it is.

For goals that were added, dropped or put otherwise: `python benchmarks/_goals_anew.py decode`.
Commit, machine and versions remain those of the measurement.
"""

from __future__ import annotations

import argparse
import importlib
import json

from _result import RESULTS, save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="of a benchmark with `goals(rows)`"
    )
    for name in parser.parse_args().names:
        path = RESULTS / f"{name}.json"
        result = json.loads(path.read_text(encoding="utf-8"))
        goals = importlib.import_module(name).goals(result["rows"])
        save(path, result, goals)


if __name__ == "__main__":
    main()
