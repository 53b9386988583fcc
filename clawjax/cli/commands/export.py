"""Write a run's turns, or those worth imitating as fine-tuning examples, as JSON lines.

    clawjax export turns runs/serve > turns.jsonl
    clawjax export sft runs/serve --min-score 0.5 --out sft.jsonl

`turns` has all that is known of each turn, without its tokens. `sft` has the main turns whose score
is above `--min-score`: `{"messages": [...], "tools": [...]}`, as OpenAI's fine-tuning and TRL read
it, the reply last. Explicit feedback counts before verdicts. These files hold what people said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.config import HUMAN
from clawjax.errors import LogError
from clawjax.log.replay import replay
from clawjax.log.store import SqlTurnLog
from clawjax.openai_form import call_form
from clawjax.records import FinishReason, JudgedTurn, Message, NextStateKind, TurnKind

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
    parser.add_argument("what", choices=("turns", "sft"), help="everything, or good examples")
    add_log_arguments(parser)
    parser.add_argument("--out", type=Path, help="a new file, only you may read it; else stdout")
    parser.add_argument("--min-score", type=float, default=0.0, help="of sft: above this")


def run(options: argparse.Namespace) -> int:
    """Write them."""
    log = open_log(options)
    try:
        found = _turns(log) if options.what == "turns" else _examples(log, options.min_score)
        lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in found)
        if options.out is None:
            sys.stdout.writelines(lines)
        else:
            _write(options.out, lines)
    finally:
        log.close()
    return 0


def _write(out: Path, lines: Iterable[str]) -> None:
    """Raises LogError where the file is there already or cannot be made."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.writelines(lines)
    except OSError as error:
        msg = f"--out {out} cannot be written ({error.strerror}): name a new file"
        raise LogError(msg) from error


def _turns(log: SqlTurnLog) -> Iterator[dict[str, Any]]:
    for judged in replay(log):
        turn = {name: v for name, v in asdict(judged.turn).items() if name not in _OF_TOKENS}
        outcome = log.outcome(judged.turn.turn_id)
        yield {
            **turn,
            "next_states": [asdict(state) for state in judged.next_states],
            "verdicts": [asdict(verdict) for verdict in judged.verdicts],
            "outcome": None if outcome is None else asdict(outcome),
        }


def _examples(log: SqlTurnLog, min_score: float) -> Iterator[dict[str, Any]]:
    for judged in replay(log):
        turn, score = judged.turn, score_of(judged)
        is_usable = turn.kind is TurnKind.MAIN and turn.finish_reason in _USABLE
        if not is_usable or score is None or score <= min_score:
            continue
        example: dict[str, Any] = {"messages": [_plain(m) for m in (*turn.messages, turn.reply)]}
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


def _plain(message: Message) -> dict[str, Any]:
    """A message in OpenAI's form; thoughts are not examples of what to say."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        plain["tool_calls"] = [
            call_form(call.call_id, call.name, call.arguments) for call in message.tool_calls
        ]
    return plain
