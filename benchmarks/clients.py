"""Do real clients work, unpatched, and does the turn log have what they did?

    python benchmarks/clients.py [--quick] [--only NAME]

Installs each client from its registry, talks to a live gateway with it (three things are said, two
of which need a tool, and one of which is answered 503 at first) and compares the turn log with what
was said. About 15 minutes with the installations. `--quick` runs those that are done in seconds;
`--only` runs one and writes no result.
"""

from __future__ import annotations

import argparse
import logging

from _compare import one_line
from _result import Goal, write_result
from clients.recipes import all_recipes
from clients.runner import run

_LEAST = 12

NOTES = {
    "turns": "of the conversation, as logged; sides: requests that are the client's own business",
    "linked_right": "turns whose parent and whose next state are those of the script",
    "side_right": "what is the client's own business was logged as side, and nothing else",
    "retries_doubled": "turns that were logged more than once",
    "links, keys": "how turns were placed, and where the session's name was read",
    "ok": "the client ended well and showed every answer, all of the above is right, each "
    "conversation is a session, and the ids that were logged are those that the engine was given "
    "and drew",
}


def main() -> None:
    logging.getLogger("clawjax").setLevel(logging.CRITICAL)  # one request is refused on purpose
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", metavar="NAME")
    options = parser.parse_args()
    recipes = all_recipes()
    if options.only is not None:
        if options.only not in recipes:
            parser.error(f"no client {options.only!r}: there are {', '.join(recipes)}")
        print(one_line(run(recipes[options.only])))
        return
    rows = []
    for recipe in recipes.values():
        if recipe.is_quick or not options.quick:
            rows.append(run(recipe))
            print(one_line(rows[-1]), flush=True)
    good = [row for row in rows if row["ok"]]
    least = len(rows) if options.quick else _LEAST
    write_result(
        "clients_quick" if options.quick else "clients",
        rows,
        [
            Goal("clients that work", ">=", least, len(good), "clients"),
            Goal("retries doubled", "==", 0, sum(row["retries_doubled"] for row in rows), "turns"),
        ],
        command="python benchmarks/clients.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


if __name__ == "__main__":
    main()
