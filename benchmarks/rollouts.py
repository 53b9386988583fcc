"""Do clients of two engine servers notice that versions are published?

    python benchmarks/rollouts.py [--quick]

Two servers (`python -m clawjax.engine.server`), processes of their own, sample for a gateway with
`engine=sglang`; 16 official clients stream one reply after the other while versions of the tiny
random model are published, each when both servers have the one before and 500 tokens have come
since: all weights and merged adapters through the disk, adapters beside the base, and through
SGLang's router where that is installed (`pip install sglang-router`; CLAWJAX_TEST_ROUTER names the
program otherwise). Every token's log-prob is compared with that of a plain forward pass with the
weights of its version. About five minutes on two quiet cores. `--quick` publishes fewer versions.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _compare import load, one_line, spread
from _engine_servers import find_router, running_router, running_servers
from _result import Goal, largest, smallest, write_result
from _rollouts import chatting, opened, worth
from _tiny_versions import MODEL

Row = dict[str, Any]

CLIENTS = 16

NOTES = {
    "non_2xx, dropped": "answers that are not 2xx, and streams without a finish reason, as the "
    "clients saw them",
    "tokens_while_publishing": "tokens that reached the gateway between the call that publishes a "
    "version and the last server's word that it has it",
    "tokens_unconfirmed": "tokens stamped with a version that no server had yet named as its own "
    "in /get_model_info or among its adapters",
    "tokens_mistaken": "tokens whose log-prob is over 1e-3 nats from that of a plain forward pass "
    "with the weights of the version they are stamped with",
    "served": "from publishing to the last server's word, in seconds",
    "mixed": "turns of more than one version: new weights came in the middle",
}


class Case(NamedTuple):
    """One way for weights and replies."""

    name: str
    transport: str
    kinds: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Of the servers."""
    has_router: bool = False


CASES = (
    Case("pool, disk", "disk", ("full", "adapter")),
    Case("pool, adapters", "adapter", ("adapter",), ("--enable-lora",)),
    Case("router, disk", "disk", ("full", "adapter"), has_router=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    router = find_router()
    rows = []
    for case in CASES:
        if case.has_router and router is None:
            print(f"  {case.name}: sglang-router is not installed")
            continue
        rows.append(case_row(case, 10 if options.quick else 40, router))
        print(one_line(rows[-1]), flush=True)
    write_result(
        "rollouts_quick" if options.quick else "rollouts",
        rows,
        goals(rows),
        command="python benchmarks/rollouts.py" + (" --quick" if options.quick else ""),
        notes=NOTES,
    )


def case_row(case: Case, versions: int, router: str | None) -> Row:
    """Servers, clients and versions of one case."""
    with (
        tempfile.TemporaryDirectory(prefix="rollouts-", ignore_cleanup_errors=True) as folder,
        running_servers(
            2,
            Path(folder),
            model=MODEL.path,
            context_length=MODEL.context_length,
            options=case.options,
        ) as servers,
    ):
        urls = [server.url for server in servers]
        if not case.has_router:
            return asyncio.run(_measured(case, versions, urls, Path(folder), None))
        assert router is not None, "cases with a router are left out without one"
        with running_router(router, urls, Path(folder)) as url:
            return asyncio.run(_measured(case, versions, urls, Path(folder), url))


async def _measured(
    case: Case, versions: int, urls: Sequence[str], folder: Path, router: str | None
) -> Row:
    async with opened(
        urls, folder, transport=case.transport, kinds=case.kinds, router=router
    ) as endpoint:
        async with chatting(endpoint, CLIENTS) as tally:
            await endpoint.publish_all(range(1, versions + 1), urls)
        found = await asyncio.to_thread(worth, endpoint)
        served = spread([span.end - span.begin for span in endpoint.spans])
    return {
        "case": case.name,
        "clients": CLIENTS,
        "versions": versions,
        "replies": tally.replies,
        "non_2xx": tally.refused.total(),
        "dropped": len(tally.dropped),
        "turns": found.turns,
        "mixed": found.mixed,
        "tokens": found.tokens,
        "tokens_while_publishing": found.while_publishing,
        "tokens_unconfirmed": found.unconfirmed,
        "tokens_mistaken": found.mistaken,
        "worst_error": found.worst_error,
        **served.as_row("served"),
        "load": load(),
    }


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Over all cases."""

    def worst(column: str) -> float | None:
        return largest(row[column] for row in rows)

    def least(column: str) -> float | None:
        return smallest(row[column] for row in rows)

    while_publishing = least("tokens_while_publishing")
    return [
        Goal("versions published, in each case", ">=", 10, least("versions"), "versions"),
        Goal("answers that are not 2xx", "==", 0, worst("non_2xx"), "answers"),
        Goal("streams dropped", "==", 0, worst("dropped"), "streams"),
        Goal("tokens of an unconfirmed version", "==", 0, worst("tokens_unconfirmed"), "tokens"),
        Goal("tokens of another version", "==", 0, worst("tokens_mistaken"), "tokens"),
        Goal("tokens while publishing, in each case", ">=", 1, while_publishing, "tokens"),
    ]


if __name__ == "__main__":
    main()
