"""Judge turns that judges cannot: at the terminal, or by files.

    clawjax review runs/serve                          # label what waits, turn after turn
    clawjax review runs/serve --as anna                # as somebody else than this account
    clawjax review runs/serve --report                 # how far people and judges agree; --json
    clawjax review runs/serve --calibrate FILE.json    # correct judges by labels; --audit: of these
    clawjax review runs/serve --export labels.jsonl    # labels in context; --open: what waits, too
    clawjax review runs/serve --import labels.jsonl    # labels made elsewhere
    clawjax review runs/serve --add TURN               # ask about a turn by hand; --people 2

Turns come into the queue by themselves where `reward.modules` has `human`. A label is a verdict
that overrules every judge's; training waits for it for `reward.human.hold_s` seconds.
docs/review.md has the files' formats. What is shown and exported is what people said.
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
from clawjax.data.files import write_new
from clawjax.errors import ConfigError, LogError
from clawjax.log.store import SqlTurnLog
from clawjax.records import Verdict
from clawjax.review.agreement import JudgeReport, Kappa, between_people, of_judges
from clawjax.review.calibration import Fit, fit_modules, pairs_of
from clawjax.review.calibration_file import calibration_text
from clawjax.review.exchange import lines, read_lines
from clawjax.review.queue import ReviewQueue
from clawjax.review.reasons import AUDIT
from clawjax.texts import clean

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log, who, and what is to be done."""
    add_log_arguments(parser)
    parser.add_argument("--as", dest="reviewer", metavar="NAME", help="who labels; default: you")
    parser.add_argument("--lease", type=float, metavar="S", help="a turn is yours for so long")
    todo = parser.add_mutually_exclusive_group()
    todo.add_argument("--report", action="store_true", help="agreement of people and judges")
    todo.add_argument("--calibrate", type=Path, metavar="FILE", help="fit judges to people")
    todo.add_argument("--export", type=Path, metavar="FILE", help="a new file, or - for stdout")
    todo.add_argument("--import", dest="file", type=Path, metavar="FILE", help="read labels")
    todo.add_argument("--add", metavar="TURN", help="put a turn into the queue")
    parser.add_argument("--audit", action="store_true", help="of --calibrate: audit turns only")
    parser.add_argument("--open", action="store_true", help="of --export: what waits as well")
    parser.add_argument("--people", type=int, choices=(1, 2), help="of --add; 1 unless told")
    parser.add_argument("--json", action="store_true", help="of --report")


def run(options: argparse.Namespace) -> int:
    """Do what was asked for.

    Raises:
        ConfigError: an option that belongs to another, or a lease of no time.
        LogError: there is no log, or a file is not what it should be.
    """
    _check(options)
    log = open_log(options)
    lease_s = HumanConfig().lease_s if options.lease is None else options.lease
    queue = ReviewQueue(log, lease_s=lease_s)
    try:
        if options.report:
            sys.stdout.write(clean(_report(log, queue, is_json=options.json)))
        elif options.calibrate is not None:
            sys.stdout.write(clean(_calibrate(log, queue, options.calibrate, options.audit)))
        elif options.export is not None:
            found = lines(log, queue, is_open_included=options.open)
            write_lines(options.export, found)
        elif options.file is not None:
            sys.stdout.write(_import(queue, options.file))
        elif options.add is not None:
            queue.ask(options.add, people=options.people or 1)
            sys.stdout.write(f"turn {options.add} is in the queue.\n")
        else:
            _review(queue, options.reviewer or _who())
    finally:
        log.close()
    return 0


def _who() -> str:
    """Raises ConfigError: this user has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        msg = "this system does not say who you are: give --as NAME"
        raise ConfigError(msg) from error


def _check(options: argparse.Namespace) -> None:
    owners = (
        ("--audit", options.audit, "--calibrate", options.calibrate),
        ("--open", options.open, "--export", options.export),
        ("--people", options.people is not None, "--add", options.add),
        ("--json", options.json, "--report", options.report or None),
    )
    for option, is_given, owner, owner_value in owners:
        if is_given and owner_value is None:
            msg = f"{option} is part of {owner}: give both, or leave {option} out"
            raise ConfigError(msg)
    if options.lease is not None and not options.lease > 0:
        msg = f"--lease {options.lease:g} keeps no turn for you: use seconds above 0, e.g. 900"
        raise ConfigError(msg)


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
        texts = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--import {file} cannot be read ({error}): name what --export wrote"
        raise LogError(msg) from error
    standings = [queue.give(label) for label in read_lines(texts, now=time.time())]
    new = [standing for standing in standings if standing is not None]
    late = sum(standing.late is not None for standing in new)
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


def _calibrate(log: SqlTurnLog, queue: ReviewQueue, file: Path, is_audit_only: bool) -> str:
    """Fit every module to people's verdicts, write the file, and say what it is worth.

    Raises:
        LogError: there is nothing to fit to.
        DataError: the file is there already or cannot be made.
    """
    labelled = list(dict.fromkeys(label.turn_id for label in queue.labels()))
    drawn = {each.turn_id for each in queue.requests() if AUDIT in each.reasons}
    audited = [turn_id for turn_id in labelled if turn_id in drawn]
    chosen = audited if is_audit_only else labelled
    fits = fit_modules(pairs_of([_verdicts(log, turn_id) for turn_id in chosen]))
    share = f"{len(audited)} of {len(labelled)} labelled turns are of the random audit"
    if not fits:
        more = " or leave --audit out" if is_audit_only else ""
        msg = (
            f"there is nothing to calibrate by: {share}, and none of the {len(chosen)} looked at "
            f"has both people's decision and a judge's score: label more{more}"
        )
        raise LogError(msg)
    write_new(file, [calibration_text(fits, is_audit_only=is_audit_only)])
    rows = [
        f"{share}; fitted to {'these' if is_audit_only else 'all'}. Log loss, held out after:",
        *_fit_rows(fits),
    ]
    return "\n".join([*rows, f"Judge by it with reward.calibration_file={file}"]) + "\n"


def _fit_rows(fits: Mapping[str, Fit]) -> Iterator[str]:
    head = ("module", "labels", "slope", "bias", "before", "after")
    yield "{:16} {:>6} {:>6} {:>6} {:>9} {:>9}".format(*head)
    for name, found in fits.items():
        slope, bias = found.calibration
        gain = "" if found.log_loss_after < found.log_loss_before else "  no better: take it out"
        yield (
            f"{name:16} {found.n:6} {slope:6.2f} {bias:6.2f} {found.log_loss_before:9.3f} "
            f"{found.log_loss_after:9.3f}{gain}"
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
