"""Write a run's turns, its tasks step by step, or what is worth imitating, as JSON lines.

    clawjax export turns runs/serve > turns.jsonl
    clawjax export trajectories runs/serve > trajectories.jsonl
    clawjax export sft runs/serve --min-score 0.5 --out sft.jsonl

`turns` has all that is known of each turn, without its tokens. `trajectories` has the tasks in
which tools were called: their steps with results, labels and who gave these, and the outcome.
`sft` has the main turns whose score is above `--min-score`: `{"messages": [...], "tools": [...]}`,
as OpenAI's fine-tuning and TRL read it, the reply last. What people who reviewed a turn said counts
before explicit feedback, and this before verdicts. These files hold what people said.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from clawjax.cli.new_file import write_lines
from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.config import HUMAN
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.records import FinishReason, JudgedTurn, NextStateKind, TurnKind
from clawjax.review.exchange import message_form
from clawjax.review.trajectories import trajectories

__all__ = ["add_arguments", "run"]

_OF_TOKENS = (
    "prompt_ids",
    "response_ids",
    "sampler_logprobs",
    "sampler_logprobs_t1",
    "token_versions",
)
_USABLE = (FinishReason.STOP, FinishReason.TOOL_CALLS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, of which log, to where."""
    parser.add_argument("what", choices=tuple(_KINDS), help="see above")
    add_log_arguments(parser)
    parser.add_argument("--out", type=Path, help="a new file, only you may read it; else stdout")
    parser.add_argument("--min-score", type=float, default=0.0, help="of sft: above this")


def run(options: argparse.Namespace) -> int:
    """Write them."""
    log = open_log(options)
    try:
        write_lines(options.out, _KINDS[options.what](log, options))
    finally:
        log.close()
    return 0


def _turns(log: SqlTurnLog, _: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for judged in replay(log):
        turn = {name: v for name, v in asdict(judged.turn).items() if name not in _OF_TOKENS}
        outcome = log.outcome(judged.turn.turn_id)
        yield {
            **turn,
            "next_states": [asdict(state) for state in judged.next_states],
            "verdicts": [asdict(verdict) for verdict in judged.verdicts],
            "outcome": None if outcome is None else asdict(outcome),
        }


def _trajectories(log: SqlTurnLog, _: argparse.Namespace) -> Iterator[dict[str, Any]]:
    return trajectories(log)


def _examples(log: SqlTurnLog, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for judged in replay(log):
        turn, score = judged.turn, score_of(judged)
        is_usable = turn.kind is TurnKind.MAIN and turn.finish_reason in _USABLE
        if not is_usable or score is None or score <= options.min_score:
            continue
        example: dict[str, Any] = {
            "messages": [message_form(m) for m in (*turn.messages, turn.reply)]
        }
        if turn.tools_json is not None:
            example["tools"] = json.loads(turn.tools_json)
        yield example


def score_of(judged: JudgedTurn) -> float | None:
    """People's review, else the first explicit score, else the mean of the verdicts, else None."""
    for verdict in judged.verdicts:
        if verdict.module == HUMAN and verdict.score is not None:
            return verdict.score
    for state in judged.next_states:
        if state.kind is NextStateKind.FEEDBACK and state.score is not None:
            return state.score
    scores = [verdict.score for verdict in judged.verdicts if verdict.score is not None]
    return fmean(scores) if scores else None


_KINDS = {"turns": _turns, "trajectories": _trajectories, "sft": _examples}
"""What can be exported."""
