"""Make, list and revoke the keys of a run's endpoint.

    clawjax keys create runs/serve --name phone
    clawjax keys create runs/serve --name rater --role feedback
    clawjax keys create runs/serve --name guest --no-log
    clawjax keys list runs/serve
    clawjax keys revoke runs/serve phone

A gateway that is running goes by the change from its next request on. A key is shown once, when it
is made; what is kept of it cannot be turned back into it.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path

from clawjax.errors import ConfigError
from clawjax.keys import KEY_FILE, Key, KeyFile, Role, new_key

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and to which run."""
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key and show it, this once")
    listing = actions.add_parser("list", help="all keys: ids, names, roles; no secrets")
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    for action in (create, listing, revoke):
        action.add_argument("run", type=Path, help="the run's folder, e.g. runs/serve")
    create.add_argument("--name", required=True, help="what to call it")
    create.add_argument(
        "--role",
        action="append",
        choices=[role.value for role in Role],
        help="what it may do; may be given several times (default: chat and feedback)",
    )
    create.add_argument(
        "--no-log", action="store_true", help="what it asks for is answered and kept nowhere"
    )
    revoke.add_argument("key", help="its id or name")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.action != "create" and not options.run.is_dir():
        msg = f"there is no folder {options.run}: give that of a run, e.g. runs/serve"
        raise ConfigError(msg)
    file = KeyFile(options.run / KEY_FILE)
    match options.action:
        case "create":
            _create(file, options)
        case "revoke":
            key = file.revoke(options.key, now=time.time())
            sys.stdout.write(f"Key {key.key_id} ({key.name}) is revoked.\n")
        case _:
            sys.stdout.writelines(f"{line}\n" for line in map(_line, file.read()))
    return 0


def _create(file: KeyFile, options: argparse.Namespace) -> None:
    roles = map(Role, options.role or (Role.CHAT, Role.FEEDBACK))
    made = new_key(options.name, roles, now=time.time(), is_logged=not options.no_log)
    try:
        file.path.parent.parent.mkdir(parents=True, exist_ok=True)
        file.path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        msg = f"{file.path.parent} cannot be made ({error.strerror}): name a run's folder"
        raise ConfigError(msg) from error
    file.add(made.key)
    sys.stderr.write(f"Key {made.key.key_id} ({made.key.name}). It is not shown again:\n")
    sys.stdout.write(f"{made.secret}\n")


def _line(key: Key) -> str:
    notes = "" if key.is_logged else ", not logged"
    if key.revoked_at is not None:
        notes += f", revoked {_day(key.revoked_at)}"
    roles = ",".join(sorted(key.roles))
    return f"{key.key_id}  {key.name:20}  {roles:20}  made {_day(key.created_at)}{notes}"


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"
