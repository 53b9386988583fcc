"""What a server is, found out before it gets a request.

Invariant: a server whose model, context, vocabulary or chat template is not the learner's is
refused with a `ConfigError` that says which and how to mend it. What can be asked is asked; what
has to be tried (what its log-probs are of, whether it takes a seed, how it tokenises) is tried
with requests of one token.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

from clawjax.engine.sglang.directories import is_a_version
from clawjax.engine.sglang.failures import RefusedError, UnreadableError
from clawjax.engine.sglang.http import ServerClient
from clawjax.engine.sglang.logprobs import PROBE_TEMPERATURE, PROBE_TOP_P, LogprobsOf, classify
from clawjax.engine.sglang.wire import SAMPLER_FIELD, Dialect, finite
from clawjax.errors import ClawError, ConfigError, EngineError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Message

__all__ = ["Expected", "Facts", "ask_adapters", "ask_weight_version", "probe"]

logger = logging.getLogger(__name__)

_TEXT = "Naïve 日本 🙂 x_1 = 3.14;\n\tdef f(y): return 'tokens' # 2,048"
_CHAT = (
    Message("system", "Be brief."),
    Message("user", "What is 2 + 2?"),
    Message("assistant", "4."),
    Message("user", "Sure?"),
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the learner trains."""

    names: frozenset[str]
    """What the model may be called."""
    context_length: int
    vocab_size: int
    tokenizer: ChatTokenizer
    temperature: float
    """Of requests that name none."""
    check_template: bool = True


class Facts(NamedTuple):
    """What a server turned out to be."""

    software: str
    model: str
    context_length: int | None
    """None: it does not say."""
    weight_version: str | None
    """None: it knows no versions."""
    dialect: Dialect
    logprobs_of: LogprobsOf
    adapters: Mapping[str, str]
    """Names of LoRA adapters that it lists, and from where they were loaded."""
    takes_weights: bool = True
    """Whether it takes adapters, or can stand still for whole weights."""


async def probe(client: ServerClient, expected: Expected, *, timeout_s: float) -> Facts:
    """Ask and try; nothing but a few one-token requests.

    Raises:
        ConfigError: it is not the learner's model; all differences in one message.
        EngineError: it cannot be asked.
    """
    try:
        return await _probe(client, expected, timeout_s)
    except ClawError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        msg = f"{client.url} does not answer as SGLang does ({error})"
        raise UnreadableError(msg) from error


async def _probe(client: ServerClient, expected: Expected, timeout_s: float) -> Facts:
    asking = _Asking(client, timeout_s)
    model_info = await asking.get("/get_model_info", "/model_info")
    server_info = await asking.get("/get_server_info", "/server_info")
    models = await asking.get("/v1/models")
    served = _served(models)
    model = str(model_info.get("model_path") or served.get("id") or "")
    context_length = _context(server_info, served)
    problems = [
        *_name_problems(model, str(served.get("id") or ""), model_info, expected),
        *_context_problems(context_length, expected),
        *await _tokenizer_problems(asking, expected),
        *await _template_problems(asking, served, expected),
    ]
    if problems:
        msg = f"{client.url} does not serve the learner's model: " + "; ".join(problems)
        raise ConfigError(msg)
    takes_seed, logprobs_of = await _logprobs(asking, expected)
    if logprobs_of is LogprobsOf.ORIGINAL and expected.temperature not in (0, 1):
        msg = (
            f"{client.url} reports log-probs of temperature 1 only, so nothing drawn at "
            f"engine.temperature={expected.temperature} could be trained on: start it without "
            "SGLANG_RETURN_ORIGINAL_LOGPROB, or set engine.temperature=1"
        )
        raise ConfigError(msg)
    version = model_info.get("weight_version")
    return Facts(
        software=_software(server_info),
        model=model,
        context_length=context_length,
        weight_version=None if version is None else str(version),
        dialect=Dialect(
            takes_seed=takes_seed,
            takes_priority=bool(server_info.get("enable_priority_scheduling")),
            low_priority_first=bool(server_info.get("schedule_low_priority_values_first")),
        ),
        logprobs_of=logprobs_of,
        adapters=_adapters(models),
        takes_weights=bool(server_info.get("enable_lora")) or await _can_pause(asking),
    )


async def ask_weight_version(client: ServerClient, *, timeout_s: float) -> str | None:
    """What the server calls its weights; None where it knows no versions.

    Raises:
        EngineError: it cannot be asked.
    """
    info = await _Asking(client, timeout_s).get("/get_model_info", "/model_info")
    version = info.get("weight_version")
    return None if version is None else str(version)


async def ask_adapters(client: ServerClient, *, timeout_s: float) -> Mapping[str, str]:
    """Names of the LoRA adapters that a server lists, and from where they were loaded.

    Raises:
        EngineError: it cannot be asked.
    """
    return _adapters(await _Asking(client, timeout_s).get("/v1/models"))


async def _can_pause(asking: _Asking) -> bool:
    """Whether there is such an endpoint; asked by a method that it does not take."""
    try:
        await asking.client.call("OPTIONS", "/pause_generation", timeout_s=asking.timeout_s)
    except RefusedError as error:
        return error.status != 404
    return True


class _Asking(NamedTuple):
    """A server, and how long it may take."""

    client: ServerClient
    timeout_s: float

    async def get(self, *paths: str) -> Mapping[str, Any]:
        """The first of `paths` that the server knows; nothing if it knows none."""
        for path in paths:
            try:
                return await self.client.call("GET", path, timeout_s=self.timeout_s)
            except RefusedError as error:
                if error.status not in (404, 405, 501):
                    raise
        return {}

    async def one_token(self, prompt: Mapping[str, object], **params: object) -> Mapping[str, Any]:
        """The `meta_info` of a reply of one token, the prompt's log-probs included."""
        body = {
            **prompt,
            "sampling_params": {"temperature": 0, "max_new_tokens": 1} | params,
            "return_logprob": True,
            "logprob_start_len": 0,
        }
        answer = await self.client.call("POST", "/generate", body, timeout_s=self.timeout_s)
        meta = answer.get("meta_info")
        if not isinstance(meta, Mapping):
            msg = f"{self.client.url}/generate does not answer as SGLang does: {str(answer)[:200]}"
            raise EngineError(msg)
        return cast("Mapping[str, Any]", meta)


def _served(models: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = models.get("data")
    return entries[0] if isinstance(entries, list) and entries else {}


def _adapters(models: Mapping[str, Any]) -> Mapping[str, str]:
    """SGLang lists them beside the model, as its children."""
    entries = models.get("data")
    listed = entries if isinstance(entries, list) else []
    return {str(each.get("id")): str(each.get("root")) for each in listed if each.get("parent")}


def _software(server_info: Mapping[str, Any]) -> str:
    return f"{server_info.get('server') or 'sglang'} {server_info.get('version') or '(unknown)'}"


def _context(server_info: Mapping[str, Any], served: Mapping[str, Any]) -> int | None:
    for value in (served.get("max_model_len"), server_info.get("context_length")):
        if isinstance(value, int):
            return value
    return None


def _name_problems(
    model: str, served: str, info: Mapping[str, Any], expected: Expected
) -> list[str]:
    """A server that has loaded a directory is called like that; its tokenizer's name stays."""
    began_as = str(info.get("tokenizer_path") or "") if is_a_version(model) else ""
    called = {model, served, *(PurePosixPath(name).name for name in (model, began_as)), began_as}
    if called & expected.names:
        return []
    return [
        f"its model is {model!r} (served as {served!r}), not one of {sorted(expected.names)}: "
        f"start it with that model, or set engine.sglang.model={model} if it is the same one"
    ]


def _context_problems(context_length: int | None, expected: Expected) -> list[str]:
    if context_length is None or context_length >= expected.context_length:
        return []
    return [
        f"its context is {context_length} tokens, model.context_length="
        f"{expected.context_length}: raise its --context-length or lower model.context_length"
    ]


async def _tokenizer_problems(asking: _Asking, expected: Expected) -> list[str]:
    try:
        meta = await asking.one_token({"text": _TEXT})
    except RefusedError as error:
        logger.warning("%s does not tell how it tokenises: %s", asking.client.url, error.words)
        return []
    theirs = [int(entry[1]) for entry in meta.get("input_token_logprobs") or []]
    ours = list(expected.tokenizer.encode(_TEXT))
    if ours in (theirs, theirs[1:]):  # it may put a token before every text
        return []
    return [
        f"its tokenizer makes {_short(theirs)} of a text that is {_short(ours)} here: start it "
        "with the tokenizer of model.path (--tokenizer-path)"
    ]


async def _template_problems(
    asking: _Asking, served: Mapping[str, Any], expected: Expected
) -> list[str]:
    if not expected.check_template:
        return []
    body: dict[str, object] = {
        "model": str(served.get("id") or "default"),
        "messages": [{"role": m.role, "content": m.content} for m in _CHAT],
        "max_tokens": 1,
        "temperature": 0,
    }
    try:
        answer = await asking.client.call(
            "POST", "/v1/chat/completions", body, timeout_s=asking.timeout_s
        )
    except RefusedError as error:
        logger.warning("%s does not show its chat template: %s", asking.client.url, error.words)
        return []
    usage = answer.get("usage")
    theirs = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    tokenizer = expected.tokenizer
    ours = len(tokenizer.encode_prompt(tokenizer.render(_CHAT)))
    if theirs in (None, ours):
        return []
    return [
        f"its chat template makes {theirs} tokens of a conversation that has {ours} here: start it "
        "with the learner's (--chat-template), or set engine.sglang.check_template=false, since "
        "prompts are written here"
    ]


async def _logprobs(asking: _Asking, expected: Expected) -> tuple[bool, LogprobsOf]:
    """Whether it takes a seed, and what its log-probs are of."""
    prompt = {"input_ids": list(expected.tokenizer.encode(_TEXT))}
    greedy = _drawn(await asking.one_token(prompt))
    drawn = {"temperature": PROBE_TEMPERATURE, "top_p": PROBE_TOP_P}
    takes_seed = True
    try:
        meta = await asking.one_token(prompt, **drawn, sampling_seed=1)
    except RefusedError:
        takes_seed = False
        meta = await asking.one_token(prompt, **drawn)
    if SAMPLER_FIELD in meta:
        return takes_seed, LogprobsOf.BOTH
    probed = _drawn(meta)
    if probed[1] != greedy[1]:
        logger.warning(
            "%s draws token %d where %d is the likeliest: its log-probs are taken for those at the "
            "request's temperature",
            asking.client.url,
            probed[1],
            greedy[1],
        )
        return takes_seed, LogprobsOf.SCALED
    return takes_seed, classify(greedy[0], probed[0])


def _drawn(meta: Mapping[str, Any]) -> tuple[float, int]:
    """Log-prob and id of the only token."""
    entries = meta.get("output_token_logprobs")
    if not entries:
        msg = "the server returns no log-probs, which training needs: use one that does"
        raise ConfigError(msg)
    return finite(entries[0][0]), int(entries[0][1])


def _short(ids: Sequence[int]) -> str:
    shown = ", ".join(str(i) for i in ids[:8])
    return f"[{shown}{', ...' if len(ids) > 8 else ''}] ({len(ids)} tokens)"
