"""Does anything that can be sent to the endpoint make it fail, hang, or log what it refused?

Cases are generated from its own OpenAPI document (schemathesis, valid and not), from requests that
are nearly right, from bytes that are no request, from paths and headers, and by a state machine of
several keys that talk, repeat, rate, review, join and forget.

    pip install -e '.[fuzz]'
    python benchmarks/fuzz.py            # 10,000 cases and more, writes results/fuzz.json
    python benchmarks/fuzz.py --quick    # some hundreds, writes nothing
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _fuzz import BrokenError, Target, fuzzed
from _fuzz_cases import (
    KEYS,
    OTHERS,
    POSTS,
    garbage,
    headers,
    near_misses,
    requests,
    send_bytes,
    send_near_miss,
)
from _fuzz_conversations import conversations
from _result import Goal, write_result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test

Row = dict[str, Any]
Part = Callable[[Target, int], None]

LEAST_CASES = 10_000
SLOWEST_S = 10.0
FULL, QUICK = 3000, 40
"""Examples of each part; of each operation and mode a twentieth, of conversations a fortieth, of 40
steps each."""
STEPS = 40


def main() -> None:
    """Throw everything and write what came of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="few cases, nothing written")
    is_quick = options.parse_args().quick
    examples = QUICK if is_quick else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, fuzzed(Path(folder)) as target:
        for name, part in PARTS.items():
            rows.append(measured(name, part, target, examples))
            print(rows[-1], flush=True)
        slowest_s, unreached = target.tally.slowest_s, target.routes - target.reached
    goals = [
        Goal("cases", ">=", LEAST_CASES, sum(row["cases"] for row in rows), "cases"),
        Goal("rules broken", "==", 0, sum(bool(row["broken"]) for row in rows), "parts"),
        Goal("5xx", "==", 0, sum(row["5xx"] for row in rows), "answers"),
        Goal("routes not reached", "==", 0, len(unreached), "routes"),
        Goal("slowest answer", "<=", SLOWEST_S, round(slowest_s, 2), "s"),
    ]
    if is_quick:
        print(*goals, *sorted(unreached), sep="\n")
        sys.exit(not all(goal.met for goal in goals[1:4]))
    notes = {
        "rules": "every answer in time, none a 5xx, no row in any table of what was refused, no "
        "key at another's replies or sessions, and as many turns logged as replies were given and "
        "not forgotten",
        "endpoint": "gateway, keys, templates, grammars and turn log are real, over HTTP; tokens "
        "are scripted",
    }
    write_result("fuzz", rows, goals, command="python benchmarks/fuzz.py", notes=notes)


def measured(name: str, part: Part, target: Target, examples: int) -> Row:
    """What came of a part: answers by class, seconds, and what broke a rule, if anything did."""
    before, began, broken = target.tally, time.monotonic(), ""
    try:
        part(target, examples)
    except (BrokenError, AssertionError, ExceptionGroup) as error:
        broken = _told(error)[:3000]
    statuses = target.tally.statuses - before.statuses
    by_class = {
        f"{kind}xx": sum(n for status, n in statuses.items() if status // 100 == kind)
        for kind in (2, 3, 4, 5)
    }
    cases = target.tally.cases - before.cases
    seconds = round(time.monotonic() - began, 1)
    return {"part": name, "cases": cases, **by_class, "seconds": seconds, "broken": broken}


def _told(error: Exception) -> str:
    """Where it broke, and the shortest case; a bare assertion has no words of its own."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    notes = getattr(error, "__notes__", ())
    return "\n".join([f"{where.name}, {where.line}: {error!r}", *notes])


def _settings(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ],
        **more,
    )


def _from_description(target: Target, examples: int) -> None:
    """Every operation of the endpoint's own document, with valid and with invalid requests."""
    try:
        schemathesis = import_module("schemathesis")
    except ModuleNotFoundError:
        sys.exit("schemathesis is not installed: pip install -e '.[fuzz]'")

    schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:

            @_settings(max(2, examples // 20))
            @given(operation.as_strategy(generation_mode=mode), st.sampled_from(KEYS))
            def send(case: Any, who: str) -> None:
                before, began = target.rows(), time.monotonic()
                answer = case.call(headers=target.headers(who), timeout=SLOWEST_S * 3)
                target.note(answer.status_code, time.monotonic() - began)
                target.reach(case.method, urlsplit(answer.request.url).path)
                shown = f"{case.as_curl_command()[:2000]}\n{answer.content[:500]!r}"
                target.check(answer.status_code, before, shown)

            try:
                send()
            except Unsatisfiable:  # nothing is read of it, so nothing can be wrong with it
                if mode is schemathesis.GenerationMode.POSITIVE:
                    raise


def _near_misses(target: Target, examples: int) -> None:
    @_settings(examples)
    @given(st.sampled_from(KEYS), near_misses(), headers())
    def send(who: str, case: tuple[str, Row], said: dict[str, str]) -> None:
        send_near_miss(target, who, case, said)

    send()


def _garbage(target: Target, examples: int) -> None:
    @_settings(examples)
    @given(st.sampled_from(KEYS), st.sampled_from(POSTS), garbage())
    def send(who: str, path: str, content: bytes) -> None:
        send_bytes(target, who, path, content)

    send()


def _paths(target: Target, examples: int) -> None:
    for method, path in OTHERS:  # each at least once
        target.send(method, path.replace("{text}", "x"), headers=target.headers(KEYS[0]))

    @_settings(examples)
    @given(st.sampled_from(KEYS), requests())
    def send(who: str, case: tuple[str, str]) -> None:
        target.send(*case, headers=target.headers(who))

    send()


def _conversations(target: Target, examples: int) -> None:
    machine = conversations(target)
    run_state_machine_as_test(
        machine, settings=_settings(max(6, examples // 40), stateful_step_count=STEPS)
    )


PARTS: dict[str, Part] = {
    "near misses": _near_misses,
    "garbage": _garbage,
    "paths": _paths,
    "conversations": _conversations,
    "openapi": _from_description,
}


if __name__ == "__main__":
    main()
