"""A gateway around a scripted engine and a real turn log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import tokenizers
from starlette.applications import Starlette

from clawjax.config import EngineConfig, GatewayConfig, ModelConfig
from clawjax.gateway.app import GatewayDeps, create_app
from clawjax.gateway.collector import Collector
from clawjax.keys import KeyRing
from clawjax.log.forgetting import forget
from clawjax.log.store import SqlTurnLog
from clawjax.models.load import load_tokenizer
from clawjax.models.template import ChatTemplate
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.testing import FakeEngine, temporary_log

from .doors import Door
from .helpers import MODEL

QWEN_LIKE = Path(__file__).with_name("qwen_like.jinja")


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    return load_tokenizer(ModelConfig(path="random:llama"))[0]


@pytest.fixture(scope="session")
def default_tokenizer() -> ChatTokenizer:
    return load_tokenizer(ModelConfig(path="smollm2"))[0]


@pytest.fixture(scope="session")
def qwen_tokenizer(tokenizer, tmp_path_factory) -> ChatTokenizer:
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer.save(folder)
    vocabulary = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return ChatTokenizer(vocabulary, ChatTemplate(QWEN_LIKE.read_text()), eos_ids=tokenizer.eos_ids)


@pytest.fixture
def log(tmp_path) -> SqlTurnLog:
    log = temporary_log(tmp_path)
    yield log
    log.close()


@dataclass
class Gateway:
    """A running application and what it is made of."""

    app: Starlette
    engine: FakeEngine
    log: SqlTurnLog
    client: httpx.AsyncClient
    woken: list[float]

    @property
    def collector(self) -> Collector:
        return self.app.state.collector

    async def chat(self, *messages: dict, headers: dict | None = None, **body) -> httpx.Response:
        body = {"messages": list(messages), "max_tokens": 200, **body}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers or {})

    async def say(self, *messages: dict, headers: dict | None = None, **body) -> dict:
        response = await self.chat(*messages, headers=headers, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def turns(self):
        return [judged.turn for judged in self.log.turns()]

    def events(self, turn_id: str):
        return self.log.get(turn_id).next_states


@pytest.fixture
def make_gateway(tokenizer: ChatTokenizer, log: SqlTurnLog) -> Callable[..., Gateway]:
    def make(
        replies: Sequence[str] = ("hello there", "second reply", "third reply"),
        *,
        api_key: str | None = None,
        keys: KeyRing | None = None,
        with_log=None,
        with_tokenizer: ChatTokenizer | None = None,
        clock: Callable[[], float] | None = None,
        loop_status=dict,
        config: dict | None = None,
        sampling: dict | None = None,
        reads_ratings: bool = True,
        recalls_reactions: bool = False,
        **engine_options,
    ) -> Gateway:
        chosen = with_tokenizer or tokenizer
        engine = FakeEngine(chosen, replies, **engine_options)
        woken: list[float] = []
        used_log = with_log or log
        deps = GatewayDeps(
            engine=engine,
            tokenizer=chosen,
            log=used_log,
            config=GatewayConfig(**(config or {})),
            sampling_defaults=EngineConfig(**{"max_response_tokens": 64} | (sampling or {})),
            model_name=MODEL,
            run_name="evening",
            keys=keys or KeyRing(secret=api_key),
            forget=lambda scope, **which: forget(log, scope=scope, now=2000.0, **which),
            reads_ratings=reads_ratings,
            recalls_reactions=recalls_reactions,
            on_linked=lambda: woken.append(len(engine.requests)),
            loop_status=loop_status,
            **({} if clock is None else {"clock": clock}),
        )
        app = create_app(deps)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        return Gateway(app, engine, used_log, client, woken)

    return make


@pytest.fixture
def gateway(make_gateway) -> Gateway:
    return make_gateway()


@pytest.fixture
def door(make_gateway, tmp_path) -> Door:
    return Door(make_gateway, tmp_path)
