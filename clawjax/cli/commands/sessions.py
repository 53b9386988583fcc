"""List sessions and turns: what each continues and why, what came after it, what became of it.

    clawjax sessions runs/serve
    clawjax sessions runs/serve --session 7f52 --json
    clawjax sessions show 7f52              # the same of one session, of the run runs/serve
    clawjax sessions show 7f52 runs/mine

Reads the turn log, also while the run goes on. Shows no texts of conversations.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.errors import ConfigError, LogError
from clawjax.log.overview import SessionOverview, TurnOverview, overview
from clawjax.texts import clean, clean_json

__all__ = ["add_arguments", "run", "table"]

_USUAL_RUN = Path("runs/serve")
"""What `make serve` writes."""
_MOST = 1_000_000
_SHORT = 8
"""Characters of an id that are shown."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log, which sessions, and the form."""
    add_log_arguments(parser)
    parser.add_argument("id", nargs="?", metavar="ID", help="after `show`: how a session's begins")
    parser.add_argument("of", nargs="?", type=Path, metavar="RUN", help="after `show ID`: its run")
    parser.add_argument("--session", metavar="ID", help="only sessions whose ids begin so")
    parser.add_argument("--limit", type=int, default=20, help="sessions at most, the newest first")
    parser.add_argument("--json", action="store_true", help="one JSON object per session and line")


def run(options: argparse.Namespace) -> int:
    """Print them.

    Raises:
        ConfigError: a limit that is none.
        LogError: there is no such log, or no such session to show.
    """
    is_one = _reads_show(options)
    if not 1 <= options.limit <= _MOST:
        msg = f"--limit {options.limit} is out of range: use 1 to {_MOST}"
        raise ConfigError(msg)
    log = open_log(options, is_read_only=True)
    try:
        sessions = overview(log, session_id=options.session, limit=options.limit)
    finally:
        log.close()
    if is_one and not sessions:
        msg = f"no session begins with {options.session!r}: `clawjax sessions RUN` lists them"
        raise LogError(msg)
    lines = map(_as_json, sessions) if options.json else table(sessions)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0


def _reads_show(options: argparse.Namespace) -> bool:
    """Whether it is `show ID [RUN]`, whose words are put where those of a list are.

    Raises:
        LogError: words that mean nothing.
    """
    if options.run != Path("show"):
        if options.id is not None:
            msg = f"{options.id!r} means nothing here: write `clawjax sessions show ID [RUN]`"
            raise LogError(msg)
        return False
    if options.id is None:
        msg = "show which? To see one, write `clawjax sessions show ID [RUN]`"
        raise LogError(msg)
    options.session = options.id
    options.run = options.of or _USUAL_RUN
    return True


def table(sessions: Iterable[SessionOverview]) -> Iterator[str]:
    """The lines of a table per session."""
    is_empty = True
    for session in sessions:
        if not is_empty:
            yield ""
        is_empty = False
        yield clean(_heading(session))
        yield from map(clean, _aligned([_HEADER, *map(_cells, session.turns)]))
    if is_empty:
        yield "no session"


def _as_json(session: SessionOverview) -> str:
    return clean_json(json.dumps(asdict(session), ensure_ascii=False))


def _heading(session: SessionOverview) -> str:
    origins = [turn.link.origin for turn in session.turns if turn.link is not None]
    client = origins[-1].client if origins else ""
    source = next((origin.key_source for origin in origins if origin.key_source), None)
    began = datetime.fromtimestamp(session.turns[0].arrived_at).astimezone()
    return (
        f"session {session.session_id}, {len(session.turns)} turns since {began:%Y-%m-%d %H:%M}, "
        f"client {client or 'unknown'}, named by {source or 'nobody'}"
    )


_HEADER = ("turn", "link", "from", "kind", "tokens", "came after", "scores", "became", "why")


def _cells(turn: TurnOverview) -> tuple[str, ...]:
    link = turn.link
    of = None if link is None else link.of_turn_id
    return (
        turn.turn_id[:_SHORT],
        "?" if link is None else link.kind.value,
        _short(turn.parent_turn_id) + (f" of {_short(of)}" if of else ""),
        turn.kind,
        f"{turn.prompt_tokens}+{turn.response_tokens}",
        " ".join(turn.came_after) or "-",
        " ".join(f"{name}={_number(score)}" for name, score in turn.scores.items()) or "-",
        turn.became + (" (left behind)" if turn.is_left_behind else ""),
        "not recorded" if link is None else f"{link.reason}; {turn.kind}: {link.turn_kind_reason}",
    )


def _short(turn_id: str | None) -> str:
    return "-" if turn_id is None else turn_id[:_SHORT]


def _number(score: float | None) -> str:
    return "none" if score is None else f"{score:+.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()
