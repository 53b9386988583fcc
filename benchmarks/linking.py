"""Are the turns of real clients linked to what came after them, and never to anything else?

    python benchmarks/linking.py [--quick]

Places every recorded request of ten clients, sends those to the chat endpoint through a real
gateway, plays a thousand interleavings of made-up conversations whose clients respell, decorate,
retry, edit and compact, and times a request of 54 KB. Where the full recordings are not, the
shortened ones of the tests are used. About half a minute. `--quick` plays fifty interleavings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from _conversations import interleaved, play
from _recorded_gateway import Played, play_recording
from _recordings import CLIENTS, RECORDINGS, SAMPLES, Expected, decided, expected, linked, requests
from _result import Goal, write_result

from clawjax.config import EngineConfig, LinkingConfig, ModelConfig
from clawjax.gateway.caller import read_caller
from clawjax.gateway.collector import Collector
from clawjax.gateway.openai import parse_chat_request
from clawjax.gateway.render import Renderer
from clawjax.gateway.wire import parse_object
from clawjax.linking.linker import LinkDecision
from clawjax.linking.lookup import Found
from clawjax.models.load import load_tokenizer
from clawjax.testing import temporary_log

SPEAKERS, EACH = 4, 8
FULL, QUICK = 1000, 50
"""Interleavings."""
REQUEST_BYTES = 54_000
TIMED = 30

Row = dict[str, Any]

NOTES = {
    "continuations": "requests that truly go on from a reply; linked: found with that parent",
    "wrong": "links to another turn than the true one, of parents and of what is repeated or "
    "departed from; misjudged: main for side or the other way round",
    "interleavings": f"{SPEAKERS} speakers of {EACH} requests each; habits, credentials and "
    "clients are drawn at random, so that some can only be told apart by what they say",
    "gateway": "recorded chat requests over HTTP; differing: placed otherwise than by hand; "
    "inexact: logged ids are not those that the engine was given and drew",
    "request": f"{REQUEST_BYTES} bytes: 12 tools, long instructions, a conversation that grows, "
    "and a message of context that is gone from the next; the tokenizer is SmolLM2's",
    "ms": "wall time from the body's bytes to the prompt's ids, after the first request; cpu: of "
    "all three together, which a busy machine does not lengthen",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    source = RECORDINGS if RECORDINGS.is_dir() else SAMPLES
    recorded = [recording(source, client) for client in CLIENTS]
    made_up = interleavings(QUICK if options.quick else FULL)
    served = [through_gateway(source, client) for client in CLIENTS]
    timed = request_time()
    rows = [*recorded, made_up, *served, timed]
    for row in rows:
        print(row)
    write_result(
        "linking_quick" if options.quick else "linking",
        rows,
        [
            Goal("recorded continuations linked", "==", 1.0, share(recorded), "share"),
            Goal("recorded wrong links", "==", 0, total(recorded, "wrong"), "links"),
            Goal("recorded misjudged", "==", 0, total(recorded, "misjudged"), "requests"),
            Goal("made-up continuations linked", "==", 1.0, share([made_up]), "share"),
            Goal("made-up wrong links", "==", 0, made_up["wrong"], "links"),
            Goal("gateway differs", "==", 0, total(served, "differing"), "requests"),
            Goal("re-tokenised training turns", "==", 0, total(served, "inexact"), "turns"),
            Goal("54 KB request, p50", "<=", 15.0, timed["ms_p50"], "ms"),
        ],
        command="python benchmarks/linking.py" + (" --quick" if options.quick else ""),
        notes=NOTES | {"recordings": "full" if source == RECORDINGS else "shortened"},
    )


def share(rows: list[Row]) -> float:
    return total(rows, "linked") / max(1, total(rows, "continuations"))


def total(rows: list[Row], name: str) -> int:
    return sum(row[name] for row in rows)


def recording(source: Path, client: str) -> Row:
    """Place the requests of one client."""
    links = expected(client)
    pairs = [
        (links[request.number], decided(placement))
        for request, placement in linked(requests(source / f"{client}.jsonl"), links)
    ]
    return {
        "case": "recorded",
        "client": client,
        "requests": len(pairs),
        "continuations": sum(true.parent is not None for true, _ in pairs),
        "linked": sum(
            true.parent is not None and true.parent == found.parent for true, found in pairs
        ),
        "wrong": sum(is_wrong(true, found) for true, found in pairs),
        "misjudged": sum(true.kind != found.kind for true, found in pairs),
    }


def is_wrong(true: Expected, found: Expected) -> bool:
    return found.parent not in (None, true.parent) or found.of not in (None, true.of)


def interleavings(count: int) -> Row:
    """Play made-up conversations."""
    row: Row = {"case": "made up", "interleavings": count, "requests": 0, "continuations": 0}
    row |= {"linked": 0, "wrong": 0, "misjudged": 0, "wrong_next_states": 0}
    for seed in range(count):
        for true, placed in play(interleaved(seed, SPEAKERS, EACH)):
            row["requests"] += 1
            parent, of = _turn_id(placed.parent), _turn_id(placed.of)
            row["continuations"] += true.parent is not None
            row["linked"] += true.parent is not None and parent == true.parent
            row["wrong"] += parent not in (None, true.parent) or of not in (None, true.of)
            row["misjudged"] += placed.judged.kind is not true.kind
            row["wrong_next_states"] += _said(placed) != (true.words and sorted(true.words))
    return row


def _turn_id(found: Found | None) -> str | None:
    return None if found is None else found.node.turn_id


def _said(placed: LinkDecision) -> list[str] | None:
    reaction = placed.reaction
    return None if reaction is None else sorted(m.content for m in reaction.messages)


def through_gateway(source: Path, client: str) -> Row:
    """Send one client's chat requests over HTTP."""
    asked, links = requests(source / f"{client}.jsonl"), expected(client)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(play_recording(asked, links, Path(folder)))
    sent = {played.number for played in found}
    comparable = [p for p in found if {links[p.number].parent, links[p.number].of} <= sent | {None}]
    return {
        "case": "gateway",
        "client": client,
        "turns": len(found),
        "differing": sum(_differs(played, links[played.number]) for played in comparable),
        "inexact": sum(not played.is_exact for played in found),
    }


def _differs(played: Played, true: Expected) -> bool:
    found = (played.link.kind.value, played.turn.kind.value, played.parent, played.of)
    return found != (true.link, true.kind, true.parent, true.of)


# --- time ----------------------------------------------------------------------------------------


def request_time() -> Row:
    """From bytes to ids, for one conversation whose request is large from the first."""
    tokenizer = load_tokenizer(ModelConfig(path="smollm2"))[0]
    renderer = Renderer(tokenizer)
    seconds: dict[str, list[float]] = {"parse": [], "link": [], "render": [], "all": [], "cpu": []}
    ids: tuple[int, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        log = temporary_log(Path(folder))
        collector = Collector(
            log,
            clock=time.time,
            on_linked=lambda: None,
            session_idle_s=900,
            linking=LinkingConfig(),
        )
        for body in islice(_bodies(), TIMED + 1):
            started, began = time.perf_counter(), time.process_time()
            parsed = parse_object(body)
            request = parse_chat_request(parsed, EngineConfig())
            caller = read_caller({"user-agent": "OpenAI/JS 7.15.0"}, parsed, scope="local")
            read = time.perf_counter()
            with collector.visit(caller, request.messages, request.tools_json, 0.0) as visit:
                placed = time.perf_counter()
                ids = renderer.prompt(request.messages, request.tools_json, visit.prior)
                ended = time.perf_counter()
            seconds["parse"].append(read - started)
            seconds["link"].append(placed - read)
            seconds["render"].append(ended - placed)
            seconds["all"].append(ended - started)
            seconds["cpu"].append(time.process_time() - began)
        log.close()
    later = {name: [1000 * value for value in values[1:]] for name, values in seconds.items()}
    parts = ("parse", "link", "render", "cpu")
    return {
        "case": "request",
        "bytes": REQUEST_BYTES,
        "prompt_tokens": len(ids),
        **{f"{name}_ms": round(median(later[name]), 2) for name in parts},
        "ms_p50": round(median(later["all"]), 2),
        "ms_p95": round(quantiles(later["all"], n=20)[-1], 2),
    }


def _bodies() -> Iterator[bytes]:
    """Requests of a conversation that goes on, as OpenClaw writes them."""
    text = _english()
    description = text[: 10_000 // 12 - 100]
    tools = [
        {
            "type": "function",
            "function": {"name": f"tool{number}", "description": description, "parameters": {}},
        }
        for number in range(12)
    ]
    system = {"role": "system", "content": text[: REQUEST_BYTES - 10_000 - 800]}
    context = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
    history: list[Mapping[str, object]] = []
    while True:
        said = {"role": "user", "content": f"[Sun 2026-11-22 21:08 UTC] Question {len(history)}?"}
        messages = [system, *history, said, {"role": "user", "content": context}]
        body = {"model": "policy", "stream": True, "messages": messages, "tools": tools}
        yield json.dumps(body).encode()
        history += [said, {"role": "assistant", "content": f"An answer to {len(history)}."}]


def _english() -> str:
    """This repository's pages, repeated as often as needed."""
    pages = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return text * (1 + REQUEST_BYTES // len(text))


if __name__ == "__main__":
    main()
