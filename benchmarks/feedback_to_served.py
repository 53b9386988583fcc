"""How soon is a reaction felt: turns and seconds until a version that has learnt from it replies?

    python benchmarks/feedback_to_served.py [--quick]

A simulated user talks to the real loops, in two processes: many turns to the tiny random model,
some to the default model. Beside them the loop of OpenClaw-RL (arXiv:2603.10165), emulated on the
same traffic (`_reference_loop.py`). About eight minutes on two CPU cores; `--quick` talks to the
tiny model only, and less: it shows that the script works.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from _compare import load, one_line
from _config import composed
from _loops import Loops, User, served_version
from _reference_loop import emulate, reactions_of, waits
from _result import Goal, largest, smallest, write_result

from clawjax.evals.latency import Wait, served_waits
from clawjax.log.replay import replay
from clawjax.metrics.jsonl import read_jsonl
from clawjax.records import TurnKind
from clawjax.weights import DirectoryWeightStore, Lineage

LEAVE_RATE = 0.05
WARM_UP_TURNS = 24
"""Said before anything is counted: the first step compiles."""
FIRST_STEP_TIMEOUT_S = 600.0
OURS, REFERENCE, LENIENT = "clawjax", "reference", "reference, taking feedback"


class Traffic(NamedTuple):
    """Who talks to what."""

    name: str
    turns: int
    overrides: tuple[str, ...]


TINY = Traffic(
    "tiny model",
    480,
    (
        "experiment=tiny_demo",
        "user.think_s=1",
        "user.max_tokens=32",
        "learner.batch_turns=16",
        "learner.min_turns=12",
        "learner.max_wait_s=20",
        "learner.idle_s=30",
    ),
)
REAL = Traffic("default model", 112, ("experiment=personal_demo", "gateway.port=0"))
ONE_LENGTH = ("learner.max_tokens=1024", "learner.length_buckets=[1024]")
"""So that nothing is compiled while it is measured."""
NOTES = {
    "turns": "main turns whose request arrived at or after the reaction did, up to and without the "
    "first one answered by a version trained on it; over the turns that clawjax trained on",
    "seconds": "from the reaction's arrival to the arrival of the request so answered",
    "unserved": "of those turns, how many no such version has answered before the talk ended",
    "refused": "requests answered otherwise than with 2xx",
    "lost": "samples that were ready and never trained on",
    "batches": "median turns over learner.batch_turns",
    REFERENCE: "emulated on the same requests and reactions, with our median step time: a batch's "
    "weights go out when the next batch is complete; a reaction is looked at once the reply to the "
    "message that carries it is complete; feedback outside the conversation cannot be given; what "
    "is refused while it waits for weights is counted and costs nothing else",
    LENIENT: "the same, supposing that it took feedback outside the conversation at once",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    is_quick = parser.parse_args().quick
    traffics = [TINY._replace(turns=160)] if is_quick else [TINY, REAL]
    rows = [row for traffic in traffics for row in measure(traffic)]
    for row in rows:
        print(one_line(row))
    write_result(
        "feedback_to_served_quick" if is_quick else "feedback_to_served",
        rows=rows,
        goals=goals(rows),
        command="python benchmarks/feedback_to_served.py" + (" --quick" if is_quick else ""),
        notes=NOTES,
    )


def goals(rows: Iterable[Mapping[str, Any]]) -> list[Goal]:
    """On the worst traffic."""
    batches = {
        loop: [row["batches"] for row in rows if row["loop"] == loop] for loop in (OURS, REFERENCE)
    }
    return [
        Goal("median wait for feedback to be felt", "<=", 1.0, largest(batches[OURS]), "batches"),
        Goal("the reference's, emulated", ">=", 2.0, smallest(batches[REFERENCE]), "batches"),
    ]


def measure(traffic: Traffic) -> list[dict[str, Any]]:
    """Talk; a row for each loop."""
    with TemporaryDirectory(prefix="feedback_to_served_") as folder:
        config = composed(Path(folder), *traffic.overrides, *ONE_LENGTH)
        with Loops.running(config) as loops:
            began = asyncio.run(converse(loops, traffic.turns))
            rows = compare(loops, began)
    common = {"traffic": traffic.name, "load": load(), "batch_turns": config.learner.batch_turns}
    return [common | row for row in rows]


async def converse(loops: Loops, turns: int) -> float:
    """Let the user talk; returns when it begins to count, in Unix seconds."""
    folder = loops.paths.root / "user"
    async with User.connected(loops.config, loops.base_url, folder, leave_rate=LEAVE_RATE) as user:
        await user.talk(WARM_UP_TURNS)
        await asyncio.to_thread(
            loops.until, lambda: bool(served_version(loops.base_url)), FIRST_STEP_TIMEOUT_S
        )
        began = time.time()
        await user.talk(WARM_UP_TURNS + turns)
    return began


def compare(loops: Loops, began: float) -> list[dict[str, Any]]:
    """What the loops have done since `began`, and what the reference's would have done."""
    turns = [judged for judged in replay(loops.log) if judged.turn.arrived_at >= began]
    store = DirectoryWeightStore(loops.paths.weights)
    lineage = Lineage.of_store(store)
    ours = served_waits(turns, loops.log.outcomes(), lineage)
    arrivals = sorted(
        judged.turn.arrived_at for judged in turns if judged.turn.kind is TurnKind.MAIN
    )
    steps = [entry for entry in read_jsonl(loops.paths.metrics) if "train/seconds" in entry]
    step_s = median(entry["train/seconds"] for entry in steps if entry["t"] >= began)
    size = loops.config.learner.batch_turns
    refused = loops.log.counters().get("non_2xx", 0)
    rows = [{"loop": OURS, "refused": refused, "lost": 0} | summary(ours.values(), size)]
    for loop in (REFERENCE, LENIENT):
        reactions = reactions_of(turns, takes_feedback=loop == LENIENT)
        run = emulate(reactions, begins_at=began, batch_turns=size, step_s=step_s)
        theirs = waits(run, reactions, arrivals)
        same = summary((theirs.get(turn_id) for turn_id in ours), size)
        rows.append({"loop": loop, "refused": run.refused(arrivals), "lost": run.lost} | same)
    return [row | {"said": len(arrivals), "step_s": step_s} for row in rows]


def summary(waits: Iterable[Wait | None], batch_turns: int) -> dict[str, Any]:
    """Medians and maxima over what was served; None where nothing was."""
    found = list(waits)
    served = [wait for wait in found if wait is not None]
    turns, seconds = [wait.turns for wait in served], [wait.seconds for wait in served]
    middle = median(turns) if turns else None
    return {
        "turns": middle,
        "turns_high": max(turns, default=None),
        "batches": None if middle is None else middle / batch_turns,
        "seconds": median(seconds) if seconds else None,
        "seconds_high": max(seconds, default=None),
        "served": len(served),
        "unserved": len(found) - len(served),
    }


if __name__ == "__main__":
    main()
