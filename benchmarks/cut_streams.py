"""Does a reply that dies in the middle become one turn, once its client has asked again?

    python benchmarks/cut_streams.py [--quick] [--only NAME]

Real clients stream from a live gateway whose engine breaks off the second answer of a conversation
after eight tokens. The client has to notice (no stream may end as if it were whole), and the turn
log has to have the answer once. About four minutes with what `clients.py` has installed. `--quick`
runs those that are done in seconds; `--only` runs one and writes no result.
"""

from __future__ import annotations

import argparse
import logging

from _compare import one_line
from _result import Goal, write_result
from clients.runner import run
from clients.script import Fault
from clients.streaming import streaming_recipes

_LEAST = 6

NOTES = {
    "turns, linked_right, side_right, retries_doubled": "as in clients.json, of whole answers",
    "cut": "answers that were logged as cancelled; each conversation has one",
    "half_replies": "replies in a later request's history that are the beginning of a whole one",
    "trainable": "turns of the answers that broke off which have not been dropped: one for each",
    "ok": "the client showed every answer, one cut turn of each conversation was dropped and one "
    "whole turn was not, it goes on from the right turn, and no history has half a reply",
}


def main() -> None:
    for loud in ("clawjax", "uvicorn.error"):  # streams break off on purpose
        logging.getLogger(loud).setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", metavar="NAME")
    options = parser.parse_args()
    recipes = streaming_recipes()
    if options.only is not None:
        if options.only not in recipes:
            parser.error(f"no client {options.only!r}: there are {', '.join(recipes)}")
        print(one_line(run(recipes[options.only], Fault.CUT)))
        return
    rows = []
    for recipe in recipes.values():
        if recipe.is_quick or not options.quick:
            rows.append(run(recipe, Fault.CUT))
            print(one_line(rows[-1]), flush=True)
    good = [row for row in rows if row["ok"]]
    least = len(rows) if options.quick else _LEAST
    doubled = sum(row["retries_doubled"] for row in rows)
    half = sum(row.get("half_replies", 0) for row in rows)
    write_result(
        "cut_streams_quick" if options.quick else "cut_streams",
        rows,
        [
            Goal("clients that get over it", ">=", least, len(good), "clients"),
            Goal("turns doubled", "==", 0, doubled, "turns"),
            Goal("halves taken for whole replies", "==", 0, half, "replies"),
        ],
        command="python benchmarks/cut_streams.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
