"""Write a run's turns, its tasks step by step, or what they teach, as JSON lines.

    clawjax export turns runs/serve > turns.jsonl
    clawjax export trajectories runs/serve > trajectories.jsonl
    clawjax export sft runs/serve --min-score 0.5 --out sft.jsonl
    clawjax export preferences runs/serve --shape trl --out preferences.jsonl

`turns` has all that is known of each turn, without its tokens. `trajectories` has the tasks in
which tools were called: their steps with results, labels and who gave these, and the outcome.
`sft` has the main turns whose score is above `--min-score`, and the replies that users wrote in the
place of ours: `{"messages": [...], "tools": [...]}`, as OpenAI's fine-tuning and TRL read it, the
reply last. `preferences` has those edits over what was there before, and replies to the same prompt
whose scores differ; in the shapes `kto` and `ultrafeedback`, every reply with a score (but for 0 in
`kto`, which is no thumb). A label by a person who was asked counts before a user's thumb, and this
before verdicts. These files hold what people said. How many lines there are, and which turns gave
none, is told on standard error.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from clawjax.cli.new_file import write_lines
from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.data.formats import SHAPES, form_of, forms_of
from clawjax.data.from_log import praised, preferred, rated_of, unused
from clawjax.errors import ConfigError
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.records import Turn
from clawjax.review.trajectories import trajectories

__all__ = ["add_arguments", "run"]

_OF_TOKENS = (
    "prompt_ids",
    "response_ids",
    "sampler_logprobs",
    "sampler_logprobs_t1",
    "token_versions",
)
_PAIRED = ("trl", "hh")
"""Shapes whose lines are pairs."""
_OF_OURS = ("provenance", "user", "source", "score")
"""Keys that OpenAI's fine-tuning does not know."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, of which log, to where."""
    kinds = ("turns", "trajectories", "sft", "preferences")
    parser.add_argument("what", choices=kinds, help="see above")
    add_log_arguments(parser)
    parser.add_argument("--out", type=Path, help="a new file, only you may read it; else stdout")
    parser.add_argument("--min-score", type=float, help="of sft: above this; default: 0")
    parser.add_argument(
        "--shape", choices=SHAPES, help="of preferences; default: trl; see docs/offline.md"
    )
    parser.add_argument(
        "--with-provenance", action="store_true", help="of sft: say who judged and whose it was"
    )


def run(options: argparse.Namespace) -> int:
    """Write them.

    Raises:
        ConfigError: an option is of another kind, or a score that is none.
        LogError: there is no log, or it cannot be read.
    """
    _check(options)
    log = open_log(options, is_read_only=True)
    try:
        written = write_lines(options.out, _lines(log, options))
        sys.stderr.write(f"{_summary(log, options, written)}\n")
    finally:
        log.close()
    return 0


def _check(options: argparse.Namespace) -> None:
    for option, is_given, owner in (
        ("--min-score", options.min_score is not None, "sft"),
        ("--with-provenance", options.with_provenance, "sft"),
        ("--shape", options.shape is not None, "preferences"),
    ):
        if is_given and options.what != owner:
            msg = f"{option} is of `export {owner}` and does nothing here: leave it out"
            raise ConfigError(msg)
    if options.min_score is not None and not math.isfinite(options.min_score):
        msg = f"--min-score {options.min_score:g} is no score: use a number, scores are -1 to 1"
        raise ConfigError(msg)


def _lines(log: SqlTurnLog, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    match options.what:
        case "turns":
            return _turns(log)
        case "trajectories":
            return trajectories(log)
        case "sft":
            least = options.min_score or 0.0
            return _examples(log, least, has_provenance=options.with_provenance)
        case _:
            shape = options.shape or "trl"
            if shape in _PAIRED:
                return forms_of(preferred(log), shape)
            return forms_of([r for r in rated_of(log) if r.score or shape != "kto"], shape)


def _summary(log: SqlTurnLog, options: argparse.Namespace, written: int) -> str:
    """Lines written, and turns left out by the reason."""
    if options.what in ("turns", "trajectories"):
        return f"{written} {options.what} written, of {log.counts().logged} turns."
    is_sft = options.what == "sft"
    left_out = unused(log, above=(options.min_score or 0.0) if is_sft else None)
    told = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "none"
    line = f"{written} lines written. Turns left out: {told}."
    if is_sft:
        return line
    return f"{line} Replies are compared that edits replaced, or that answer the same prompt."


def _turns(log: SqlTurnLog) -> Iterator[dict[str, Any]]:
    for judged in replay(log):
        outcome = log.outcome(judged.turn.turn_id)
        yield {
            **_told(judged.turn),
            "next_states": [asdict(state) for state in judged.next_states],
            "verdicts": [asdict(verdict) for verdict in judged.verdicts],
            "outcome": None if outcome is None else asdict(outcome),
        }


def _told(turn: Turn) -> dict[str, Any]:
    """A turn as plain values, without its tokens, which are most of it and copied slowly."""
    named = {field.name: getattr(turn, field.name) for field in fields(turn)}
    return {name: _plain(value) for name, value in named.items() if name not in _OF_TOKENS}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _examples(
    log: SqlTurnLog, min_score: float, *, has_provenance: bool
) -> Iterator[dict[str, Any]]:
    for rated in praised(log, min_score=min_score):
        form = form_of(rated, "sft")
        yield form if has_provenance else {k: v for k, v in form.items() if k not in _OF_OURS}
