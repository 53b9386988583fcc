"""An endpoint to throw things at, and the rules that every answer has to keep.

Owns `Target.send`: whatever is sent, the answer comes in time, is no 5xx, and a request that is
refused leaves nothing in the log. Gateway, keys, templates, grammars and log are real, the server
is uvicorn; only the drawing of tokens is scripted.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Match, Route

from clawjax.config import EngineConfig, GatewayConfig, LimitsConfig, ModelConfig
from clawjax.engine.constraint import Grammars
from clawjax.engine.requests import check_scoring, reply_limit
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.keys import KEY_FILE, KeyFile, KeyRing, NewKey, Role, new_key
from clawjax.log.forgetting import forget
from clawjax.log.schema import metadata
from clawjax.models.load import load_tokenizer
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.protocols import (
    EngineStatus,
    GenerateRequest,
    ScoreRequest,
    TokenChunk,
    WeightVersion,
)
from clawjax.records import FinishReason
from clawjax.review.queue import ReviewQueue
from clawjax.testing import temporary_log

__all__ = ["BrokenError", "Rows", "Tally", "Target", "fuzzed"]

CONTEXT = 512
SLOWEST_S = 30.0
"""A request that is not answered within this hangs."""
_REPLIES = (
    "hello there",
    "",
    '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
    '<tool_call>\n{"name": ',
    "<think>hm</think>42 \U0001f600",
)
_START_TIMEOUT_S = 60.0
_NEVER_S = 1e6
"""Closing a session for idleness writes rows that no request has asked for."""
_COMPARED = {name: table for name, table in metadata.tables.items() if name != "counters"}
"""All tables but the one that counts refused requests."""
_COUNT_ROWS = str(
    sa.select(
        *(
            sa.select(sa.func.count()).select_from(table).scalar_subquery()
            for table in _COMPARED.values()
        )
    )
)


class BrokenError(AssertionError):
    """A rule was broken; the message has the request."""


class Tally(NamedTuple):
    """What came of the cases so far."""

    cases: int
    statuses: Counter[int]
    slowest_s: float


Rows = dict[str, int]
"""How many rows each table of the log has."""


class ScriptedEngine:
    """Refuses what the embedded engine refuses, and says something scripted to the rest."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        """Nothing has been said."""
        self._tokenizer = tokenizer
        self._grammars = Grammars(tokenizer, tokenizer.vocab_size)
        self._said = 0

    async def check(self, request: GenerateRequest, *, replies: int = 1) -> None:
        """There is room for all."""
        reply_limit(request, self._tokenizer.vocab_size, CONTEXT)
        if request.sampling.grammar is not None:
            await asyncio.to_thread(self._grammars.constraint, request.sampling.grammar)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[TokenChunk]:
        """The next of a few replies."""
        await self.check(request)
        limit = reply_limit(request, self._tokenizer.vocab_size, CONTEXT)
        text = _REPLIES[self._said % len(_REPLIES)]
        self._said += 1
        tokens = (*self._tokenizer.encode(text), min(self._tokenizer.eos_ids))[:limit]
        show = self._tokenizer.detokenizer(goes_on=request.goes_on)
        for index, token in enumerate(tokens):
            is_end = token in self._tokenizer.eos_ids
            is_last = index + 1 == len(tokens)
            shown = "" if is_end else show.push(token)
            reason = FinishReason.STOP if is_end else FinishReason.LENGTH
            yield TokenChunk(
                (token,), (-0.5,), (-1.0,), (0,), shown + (show.flush() if is_last else ""),
                finish_reason=reason if is_last else None,
                top_logprobs=(((token, -1.0),) * request.top_logprobs,)
                if request.top_logprobs
                else (),
            )  # fmt: skip

    async def score(self, request: ScoreRequest) -> tuple[float, ...]:
        """All alike."""
        check_scoring(request, self._tokenizer.vocab_size, CONTEXT)
        return (-1.0,) * len(request.response_ids)

    async def swap(self, weights: WeightVersion) -> None:
        """There are none."""

    def status(self) -> EngineStatus:
        """Always idle."""
        return EngineStatus(0, 0, 0, 64, CONTEXT, 0, 0.0)

    async def aclose(self) -> None:
        """There is nothing to free."""


class Target:
    """The endpoint, from outside and from inside."""

    def __init__(self, url: str, folder: Path, app: Starlette, keys: Mapping[str, NewKey]) -> None:
        """Known under `url`."""
        self.url = url
        self.app = app
        self.keys = keys
        self.log = temporary_log(folder)
        self.review = ReviewQueue(self.log, lease_s=_NEVER_S)
        self.routes = frozenset(
            (method, route.path)
            for route in _routes(app)
            for method in (route.methods or set()) - {"HEAD"}
        )
        self.reached: set[tuple[str, str]] = set()
        """Routes that something has been sent to."""
        self._reader = sqlite3.connect(folder / "turns.db", isolation_level=None)
        self.client = httpx.Client(base_url=url, timeout=SLOWEST_S, trust_env=False)
        self._cases = 0
        self._statuses: Counter[int] = Counter()
        self._slowest_s = 0.0

    def close(self) -> None:
        """Leave the endpoint and the log."""
        self.client.close()
        self._reader.close()
        self.log.close()

    @property
    def tally(self) -> Tally:
        """What came of the cases so far."""
        return Tally(self._cases, Counter(self._statuses), self._slowest_s)

    def headers(self, who: str) -> dict[str, str]:
        """What a key's holder sends."""
        return {"authorization": f"Bearer {self.keys[who].secret}"}

    def rows(self) -> Rows:
        """What the log holds now."""
        counts = self._reader.execute(_COUNT_ROWS).fetchone()
        return dict(zip(_COMPARED, counts, strict=True))

    def turn_of(self, response_id: str) -> str | None:
        """The turn that made a response's first choice."""
        query = "SELECT turn_id FROM turns WHERE response_id = ? AND choice = 0"
        found = self._reader.execute(query, (response_id,)).fetchone()
        return None if found is None else found[0]

    def turns_of(self, session_id: str, scope: str | None = None) -> int:
        """How many turns the log has of a session; of one key's, or of everybody's."""
        query = "SELECT count(*) FROM turns WHERE session_id = ? AND scope = coalesce(?, scope)"
        return self._reader.execute(query, (session_id, scope)).fetchone()[0]

    def reactions_to(self, response_id: str) -> int:
        """What came after any choice of a response."""
        query = "SELECT count(*) FROM next_states JOIN turns USING (turn_id) WHERE response_id = ?"
        return self._reader.execute(query, (response_id,)).fetchone()[0]

    def crossings(self) -> int:
        """Turns that go on from another key's."""
        query = (
            "SELECT count(*) FROM turns JOIN turns AS parents "
            "ON turns.parent_turn_id = parents.turn_id WHERE turns.scope != parents.scope"
        )
        return self._reader.execute(query).fetchone()[0]

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """One case.

        Raises:
            BrokenError: a 5xx, no answer in time, or something in the log of a refused request.
        """
        before, began = self.rows(), time.monotonic()
        shown = f"{method} {path[:200]} {dict(headers or {})} {(content or b'')[:2000]!r}"
        try:
            # Joined as text: `//x` is a path here, and would be another host to the client.
            answer = self.client.request(method, self.url + path, headers=headers, content=content)
        except httpx.TimeoutException as error:
            msg = f"no answer within {SLOWEST_S:.0f} s: {shown}"
            raise BrokenError(msg) from error
        except httpx.RemoteProtocolError as error:
            msg = f"the connection was dropped ({error}): {shown}"
            raise BrokenError(msg) from error
        self.note(answer.status_code, time.monotonic() - began)
        self.reach(method, answer.request.url.path)
        self.check(answer.status_code, before, f"{shown}\n{answer.text[:500]}")
        return answer

    def note(self, status: int, seconds: float) -> None:
        """Count a case."""
        self._cases += 1
        self._statuses[status] += 1
        self._slowest_s = max(self._slowest_s, seconds)

    def reach(self, method: str, path: str) -> None:
        """Note which route a request has been sent to."""
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        for route in _routes(self.app):
            if route.matches(scope)[0] is Match.FULL:
                self.reached |= {(method, route.path)} & self.routes
                return

    def check(self, status: int, before: Rows, shown: str) -> None:
        """The rules for what was answered.

        Raises:
            BrokenError: one does not hold.
        """
        if status >= 500:
            msg = f"{status} for {shown}"
            raise BrokenError(msg)
        if status < 400:
            return
        after = self.rows()
        if after != before:
            changed = {
                name: (before.get(name), n) for name, n in after.items() if n != before.get(name)
            }
            msg = f"refused with {status}, and the log's rows went {changed}: {shown}"
            raise BrokenError(msg)


def _routes(app: Starlette) -> list[Route]:
    return [route for route in app.routes if isinstance(route, Route)]


@contextmanager
def fuzzed(folder: Path) -> Iterator[Target]:
    """Serve an endpoint on a free port of the loopback, in a thread.

    Raises:
        TimeoutError: it does not start.
    """
    file = KeyFile(folder / KEY_FILE)
    keys = {
        "owner": new_key("owner", Role, now=1.0),
        "other": new_key("other", Role, now=1.0),
        "guest": new_key("guest", Role, now=1.0, is_logged=False),
        "talker": new_key("talker", [Role.CHAT], now=1.0),
    }
    for made in keys.values():
        file.add(made.key)
    log = temporary_log(folder)
    tokenizer, *_ = load_tokenizer(ModelConfig(path="random:llama"))
    app = create_app(
        GatewayDeps(
            engine=ScriptedEngine(tokenizer),
            tokenizer=tokenizer,
            log=log,
            config=GatewayConfig(
                limits=LimitsConfig(max_messages=64, max_header_bytes=16_384),
                session_idle_s=_NEVER_S,
            ),
            sampling_defaults=EngineConfig(max_response_tokens=64),
            model_name="fuzzed",
            keys=KeyRing(file),
            review=ReviewQueue(log, lease_s=_NEVER_S),
            forget=lambda scope, **chosen: forget(log, scope=scope, now=time.time(), **chosen),
        )
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            access_log=False,
            h11_max_incomplete_event_size=65_536,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            if time.monotonic() > deadline:
                msg = f"the endpoint does not start within {_START_TIMEOUT_S:.0f} s"
                raise TimeoutError(msg)
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with closing(Target(f"http://127.0.0.1:{port}", folder, app, keys)) as target:
            yield target
    finally:
        server.should_exit = True
        thread.join(_START_TIMEOUT_S)
        log.close()
