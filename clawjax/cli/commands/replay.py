"""Place the requests of a turn log again and show what today's rules place otherwise.

    clawjax replay runs/serve
    clawjax replay runs/serve --json | jq .turn

Reads the turn log and changes nothing in it. The rules of linking (`gateway.linking`) are those
that the run was started with, or the defaults where its folder has no configuration: change one in
`config.yaml` of a copy to try it. Exit code 1 where anything is placed otherwise. Shows no texts of
conversations.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from clawjax.cli.run_config import kept_config
from clawjax.cli.run_log import add_log_arguments, open_log
from clawjax.config import GatewayConfig
from clawjax.linking.replay import Replayed, replay
from clawjax.log.replay import Placed
from clawjax.log.store import SqlTurnLog
from clawjax.records import DropReason, Link, TurnKind
from clawjax.texts import clean

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log, and the form."""
    add_log_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object per difference, alone")


def run(options: argparse.Namespace) -> int:
    """Print what differs; 0 where nothing does."""
    gateway = GatewayConfig()
    if options.run is not None and (options.run / "config.yaml").is_file():
        gateway = kept_config(options.run).gateway
    log = open_log(options, is_read_only=True)
    count = others = 0
    try:
        for each in replayed(log, gateway):
            count += 1
            if each.now != each.live:
                others += 1
                sys.stdout.write(_as_json(each) if options.json else clean(_told(each)))
                sys.stdout.write("\n")
    finally:
        log.close()
    if not options.json:
        told = f"{count} turns placed again: {count - others} as they were, {others} otherwise"
        sys.stdout.write(f"{told}\n")
    return 1 if others else 0


def replayed(log: SqlTurnLog, gateway: GatewayConfig) -> Iterator[Replayed]:
    """Every turn whose placement was kept, and how it is placed now."""
    ended = log.outcomes().items()
    superseded = {turn for turn, end in ended if end.drop_reason is DropReason.RETRIED}
    kind = TurnKind(gateway.default_turn_kind)
    return replay(Placed(log), superseded, gateway.linking, default_kind=kind)


def _told(each: Replayed) -> str:
    return (
        f"{each.turn.turn_id} of session {each.turn.session_id}\n"
        f"  was  {_link(each.live)}\n"
        f"  now  {_link(each.now)}"
    )


def _link(link: Link) -> str:
    of = "" if link.of_turn_id is None else f" of {link.of_turn_id}"
    return f"{link.kind.value}{of} ({link.reason}); {link.turn_kind_reason}"


def _as_json(each: Replayed) -> str:
    told = {"turn": each.turn.turn_id, "session": each.turn.session_id}
    return json.dumps(told | {"was": asdict(each.live), "now": asdict(each.now)})
