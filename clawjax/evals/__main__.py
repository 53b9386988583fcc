"""Work with evaluations that are on record; nothing is played.

    python -m clawjax.evals rescore runs/gaia/gaia
    python -m clawjax.evals compare runs/before/gaia runs/after/gaia
    python -m clawjax.evals judge runs/gaia/gaia --base-url http://host/v1 --model NAME --votes 3

`rescore` scores every trajectory of a folder again, with the scorer of today, and writes its
reports anew; it takes the record alone, no browser and no namespaces. `compare` tells whether the
second agent is better than the first. `judge` asks a model about every trajectory that it has not
judged yet, and reports how far it agrees with the scores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from clawjax.config.hosts import spare_loopback
from clawjax.config.secrets import read_key
from clawjax.errors import ClawError, ConfigError
from clawjax.evals.asking import Asker
from clawjax.evals.compare import compare, render_comparison
from clawjax.evals.harness.protocols import Suite
from clawjax.evals.harness.runner import Episode, on_record, rescore
from clawjax.evals.harness.store import EpisodeStore
from clawjax.evals.metrics.summary import Prices
from clawjax.evals.opinions import judge_episodes
from clawjax.evals.reporting import read_prices, write_report
from clawjax.evals.reporting.markdown import render_overview, render_summary
from clawjax.evals.suites import SUITES, build_suite
from clawjax.evals.suites.webarena.judge import JUDGE_KEY
from clawjax.own import nothing_imported
from clawjax.texts import clean

__all__ = ["main"]

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
_HOW_TO_TRUST = (
    "the record does not decide what code is run; if the code is yours, say so by --suite {name}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 where the arguments cannot be satisfied."""
    options = _parse(arguments)
    spare_loopback(os.environ)  # a judge may be here
    try:
        if options.command == "rescore":
            told = _rescore(options.folder, options.judge_url, options.suite)
        elif options.command == "judge":
            told = _judge(options)
        else:
            told = _compare(options.a, options.b, options.suite)
    except ClawError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        return 2
    sys.stdout.write(told)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clawjax.evals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("rescore", help="score what is on record again")
    again.add_argument("folder", type=Path, help="with trajectories.jsonl, e.g. runs/gaia/gaia")
    again.add_argument("--judge-url", help="the record's judge, who may be sent its key")
    both = commands.add_parser("compare", help="two evaluations of the same suite")
    both.add_argument("a", type=Path)
    both.add_argument("b", type=Path)
    judge = commands.add_parser("judge", help="a model's opinion of what is on record")
    judge.add_argument("folder", type=Path)
    judge.add_argument("--base-url", required=True, help="OpenAI-compatible, e.g. http://host/v1")
    judge.add_argument("--model", required=True, help="the name that it is served by")
    judge.add_argument("--votes", type=int, default=1, help="replies per trajectory")
    judge.add_argument("--api-key-env", default=JUDGE_KEY, help="variable with its key")
    for command in (again, both, judge):
        command.add_argument("--suite", help="where its code is yours: as it was played")
    return parser.parse_args(arguments)


def _rescore(folder: Path, judge_url: str | None, own: str | None) -> str:
    _check_judge(folder, judge_url)
    suite, store, prices = _open(folder, own)
    episodes = asyncio.run(rescore(suite, store))
    return render_overview([write_report(suite, episodes, store, prices=prices)])


def _judge(options: argparse.Namespace) -> str:
    suite, store, prices = _open(options.folder, options.suite)
    episodes = on_record(suite, store)
    key = read_key(options.api_key_env) or "none"
    asker = Asker(options.base_url, options.model, api_key=key)
    added = asyncio.run(judge_episodes(episodes, store, asker, votes=options.votes))
    summary = write_report(suite, episodes, store, prices=prices)
    return f"{added} judged\n\n{render_summary(summary)}"


def _compare(a: Path, b: Path, own: str | None) -> str:
    (left, left_by), (right, right_by) = _read(a, own), _read(b, own)
    if left and right and len(left_by | right_by) > 1:
        msg = (
            f"the scores are by version {_listed(left_by)} of the suite in A and by "
            f"{_listed(right_by)} in B, which cannot be compared: rescore both"
        )
        raise ConfigError(msg)
    return render_comparison(compare(left, right))


def _read(folder: Path, own: str | None) -> tuple[list[Episode], set[str]]:
    """Episodes, and which versions of the suite scored them."""
    suite, store, _ = _open(folder, own)
    return on_record(suite, store), {version for version, _ in store.scores().values()}


def _listed(versions: Iterable[str]) -> str:
    return " and ".join(sorted(versions))


def _open(folder: Path, own: str | None) -> tuple[Suite, EpisodeStore, Prices | None]:
    """The suite, for reading only, the record, and what tokens cost when it was made."""
    held = _manifest(folder)
    settings = held["settings"]
    name = _suite_name(folder, held, own)
    with nullcontext() if own == name else nothing_imported(_HOW_TO_TRUST.format(name=name)):
        suite = build_suite(name, settings["suite"], is_played=False)
    if suite.name != held["suite"]:
        msg = f"{folder} is of the suite {held['suite']!r}, and {name} makes {suite.name!r}"
        raise ConfigError(f"{msg}: name the one that it was made with by --suite")
    return suite, EpisodeStore(folder), read_prices(settings.get("agent", {}))


def _suite_name(folder: Path, held: dict[str, Any], own: str | None) -> str:
    """A record may come from somebody else: it does not decide what code is run."""
    name = held["suite"]
    if name in SUITES:
        return name
    if own is None:
        path = str(held["settings"].get("path"))
        path = path if _IMPORT_PATH.fullmatch(path) else "package.module:function"
        msg = (
            f"{folder} is of the suite {name!r}, which is none of clawjax's: if it is yours, name "
            f"it by --suite {path}"
        )
        raise ConfigError(msg)
    return own


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    if not file.exists():
        msg = f"{folder} holds no evaluation: name a folder with manifest.json"
        raise ConfigError(msg)
    return json.loads(file.read_text(encoding="utf-8"))


def _check_judge(folder: Path, judge_url: str | None) -> None:
    """A record may come from somebody else: it does not decide who is sent a key."""
    recorded = _manifest(folder)["settings"]["suite"].get("judge_url")
    if recorded not in (None, judge_url) and read_key(JUDGE_KEY) is not None:
        msg = (
            f"{folder} names a judge at {recorded}, which would be sent {JUDGE_KEY}: rescore with "
            f"--judge-url {recorded} if that is right, or unset the variable"
        )
        raise ConfigError(msg)


if __name__ == "__main__":
    sys.exit(main())
