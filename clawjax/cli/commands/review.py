"""Judge turns that judges cannot: at the terminal, or by files.

    clawjax review runs/serve                          # label what waits, turn after turn
    clawjax review runs/serve --as anna                # as somebody else than this account
    clawjax review runs/serve --report                 # how far people and judges agree; --json
    clawjax review runs/serve --export labels.jsonl    # labels in context; --open: what waits, too
    clawjax review runs/serve --import labels.jsonl    # labels made elsewhere
    clawjax review runs/serve --add TURN               # ask about a turn by hand; --people 2

Turns come into the queue by themselves where `reward.modules` has `human`. A label is a verdict
that overrules every judge's; training waits for it for `reward.human.hold_s` seconds.
docs/review.md has the file's format. What is shown and exported is what people said.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from clawjax.cli.new_file import write_lines
from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.config import HUMAN, HumanConfig
from clawjax.errors import LogError
from clawjax.log.store import SqlTurnLog
from clawjax.records import Verdict
from clawjax.review.agreement import JudgeReport, Kappa, between_people, of_judges
from clawjax.review.exchange import lines, read_lines
from clawjax.review.queue import ReviewQueue

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log, who, and what is to be done."""
    add_log_arguments(parser)
    parser.add_argument("--as", dest="reviewer", metavar="NAME", help="who labels; default: you")
    parser.add_argument("--lease", type=float, metavar="S", help="a turn is yours for so long")
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--report", action="store_true", help="agreement of people and judges")
    todo.add_argument("--export", type=Path, metavar="FILE", help="a new file, or - for stdout")
    todo.add_argument("--import", dest="file", type=Path, metavar="FILE", help="read labels")
    todo.add_argument("--add", metavar="TURN", help="put a turn into the queue")
    parser.add_argument("--open", action="store_true", help="of --export: what waits as well")
    parser.add_argument("--people", type=int, choices=(1, 2), default=1, help="of --add")
    parser.add_argument("--json", action="store_true", help="of --report")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for."""
    log = open_log(options)
    lease_s = HumanConfig().lease_s if options.lease is None else options.lease
    queue = ReviewQueue(log, lease_s=lease_s)
    try:
        if options.report:
            sys.stdout.write(_report(log, queue, is_json=options.json))
        elif options.export is not None:
            found = lines(log, queue, is_open_included=options.open)
            write_lines(options.export, found)
        elif options.file is not None:
            sys.stdout.write(_import(queue, options.file))
        elif options.add is not None:
            queue.ask(options.add, people=options.people)
            sys.stdout.write(f"turn {options.add} is in the queue.\n")
        else:
            _review(queue, options.reviewer or getpass.getuser())
    finally:
        log.close()
    return 0


def _review(queue: ReviewQueue, reviewer: str) -> None:
    from rich.console import Console

    from clawjax.cli.reviewer import TerminalReviewer

    console = Console()
    TerminalReviewer(queue, reviewer, console=console, read=lambda: input("> ")).run()


def _import(queue: ReviewQueue, file: Path) -> str:
    """Read labels; those that are there already change nothing.

    Raises:
        LogError: the file cannot be read, a line is no review, or a turn is not in the log. What
            was read before stays.
    """
    try:
        texts = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--import {file} cannot be read ({error}): name what --export wrote"
        raise LogError(msg) from error
    standings = [queue.give(label) for label in read_lines(texts, now=time.time())]
    new = [standing for standing in standings if standing is not None]
    late = sum(standing.is_late for standing in new)
    return (
        f"{len(new)} labels read, {len(standings) - len(new)} were there already; {late} are of "
        "turns that training is past.\n"
    )


def _report(log: SqlTurnLog, queue: ReviewQueue, *, is_json: bool) -> str:
    labels = queue.labels()
    people = between_people(labels)
    judges = of_judges([_verdicts(log, turn_id) for turn_id in {each.turn_id for each in labels}])
    if is_json:
        told = {
            "queue": queue.counts()._asdict(),
            "people": people._asdict(),
            "judges": {
                name: report._asdict() | {"bands": [band._asdict() for band in report.bands]}
                for name, report in judges.items()
            },
        }
        return json.dumps(told, indent=2) + "\n"
    rows = [_people_row(queue, people), "", *_judge_rows(judges)]
    return "\n".join(rows) + "\n"


def _verdicts(log: SqlTurnLog, turn_id: str) -> tuple[Verdict, ...]:
    judged = log.get(turn_id)
    return () if judged is None else judged.verdicts


def _people_row(queue: ReviewQueue, people: Kappa) -> str:
    counts = queue.counts()
    return (
        f"{counts.open} turns wait ({counts.held} held, {counts.leased} leased), {counts.settled} "
        f"settled by {counts.labels} labels. Between people: {people.n} pairs, "
        f"agree {_number(people.agreed)}, kappa {_number(people.kappa)}."
    )


def _judge_rows(judges: Mapping[str, JudgeReport]) -> Iterator[str]:
    if not judges:
        yield f"No judge can be compared: no turn has a decided verdict of module {HUMAN}."
        return
    head = ("module", "n", "abstained", "right", "kappa", "bias")
    yield "{:16} {:>5} {:>9} {:>6} {:>6} {:>6}  right by |score|".format(*head)
    for name, report in judges.items():
        yield _judge_row(name, report)


def _judge_row(name: str, report: JudgeReport) -> str:
    bands = " ".join(
        f"≤{band.high:g}: {_number(band.right)} of {band.n}" for band in report.bands if band.n
    )
    return (
        f"{name:16} {report.n:5} {_number(report.abstained):>9} {_number(report.right):>6} "
        f"{_number(report.kappa):>6} {_number(report.bias):>6}  {bands}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
