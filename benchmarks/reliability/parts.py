"""What `reliability.py` measures and what was promised: sizes, notes and goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from _compare import one_line
from _result import Goal

from .availability import IDLE, REFERENCE, TRAINING, Size, availability
from .crash import crash_rows, crashes
from .resume import resumed

__all__ = ["FULL", "NOTES", "PARTS", "QUICK", "Scale", "goals", "measure"]

_SEED = 7
PARTS = ("crash", "resume", "availability")
Row = Mapping[str, Any]


class Scale(NamedTuple):
    """How much is done."""

    kills: int
    people: int
    steps: int
    learner_kills: int
    traffic: Size


FULL = Scale(
    kills=50,
    people=8,
    steps=8,
    learner_kills=5,
    traffic=Size(streams=64, idle_s=60, training_s=300, tokens=32),
)
QUICK = Scale(
    kills=4,
    people=4,
    steps=3,
    learner_kills=1,
    traffic=Size(streams=16, idle_s=5, training_s=20, tokens=16),
)
NOTES = {
    "answered": "replies whose last byte reached a client (`[DONE]` of a stream)",
    "missing": "of those, how many are not in the turn log; missing_ratings: ratings answered with "
    "2xx that are not",
    "trained_twice": "turns in the surviving weights, as the newest checkpoint counted them, "
    "beyond those that the log calls trained; trained_in_name_only: the other way round",
    "asked_twice": "turns trained on beyond one for each request: clients ask again when a reply "
    "breaks off",
    "queued": "turns without an outcome after the last restart has learnt what it could; fewer "
    "than learner.min_turns stay in the queue for ever",
    "killed_serve": "the process of gateway, engine and judges; killed_learn: of the learner; "
    "killed_run: the supervisor, after which the same command starts the run anew",
    "stop_s": "from SIGTERM to the end of the run, while people talk",
    "different_versions": "weight files of the disturbed learner that are not those of the other "
    "one byte for byte; different_turns: turns that went into another version",
    "availability": "the learner's rate is 0, so that replies keep their length: it computes, "
    "checkpoints and publishes as ever, and every version has the weights of the first",
    "first_s": "from sending a request to its first visible text; gap_s: from one piece of visible "
    "text to the next. Clients, server and learner share the machine",
    REFERENCE: "OpenClaw-RL's loop (train_async.py at 0d034dd) emulated on the times of our "
    "requests and ratings, with our median step time: from a complete batch until weights are out, "
    "requests are answered with 503; who is refused asks again at the first moment that would not "
    "be; pieces of text come as fast as ours; ratings count as samples, which it would not take",
}


def measure(part: str, scale: Scale) -> list[dict[str, Any]]:
    """The rows of a part."""
    with TemporaryDirectory(prefix="reliability_", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        match part:
            case "crash":
                found = crashes(folder, kills=scale.kills, people=scale.people, seed=_SEED)
                rows = crash_rows(found)
            case "resume":
                learnt = resumed(folder, steps=scale.steps, kills=scale.learner_kills, seed=_SEED)
                rows = [learnt.as_row()]
            case _:
                rows = availability(folder, scale.traffic)
    for row in rows:
        print(one_line(row), flush=True)
    return rows


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What was promised; the reference has none."""

    def of(case: str, field: str, state: str | None = None) -> Any:
        found = [r for r in rows if r["case"] == case and r.get("state") == state]
        return found[0].get(field) if found else None

    def both(field: str) -> int | None:
        found = [of("availability", field, state) for state in (IDLE, TRAINING)]
        return None if None in found else sum(found)

    killed = [of("kill -9", f"killed_{name}") for name in ("serve", "learn", "run")]
    books = [
        ("turns acknowledged and not in the log", "missing"),
        ("ratings acknowledged and not in the log", "missing_ratings"),
        ("turns trained twice", "trained_twice"),
        ("turns trained in name only", "trained_in_name_only"),
        ("requests trained on more than once", "asked_twice"),
        ("turns without an ending or a place in the queue", "unaccounted"),
        ("turns that no step lets go of", "claimed"),
    ]
    return [
        Goal("processes killed", ">=", 50, None if None in killed else sum(killed), "kills"),
        *(Goal(name, "==", 0, of("kill -9", field), "") for name, field in books),
        Goal("turns left in the queue", "<=", 1, of("kill -9", "queued"), "turns"),
        Goal("stopped in order, under load", "<=", 180, of("kill -9", "stop_s"), "s"),
        Goal("kills of the learner", ">=", 1, of("resume", "kills"), "kills"),
        Goal("versions that differ after them", "==", 0, of("resume", "different_versions"), ""),
        Goal(
            "versions published under load", ">=", 10, of("availability", "versions", TRAINING), ""
        ),
        Goal("requests refused", "==", 0, both("non_2xx"), ""),
        Goal("streams dropped", "==", 0, both("dropped"), ""),
    ]
