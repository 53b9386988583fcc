"""SGLang's native API as plain values: bodies out, tokens in. Pure.

Invariant: a token and its log-prob are read as one pair, from `output_token_logprobs`; `output_ids`
and `text` are not needed. Text is made here from the ids (`reply`), because the server's lags or
leads by what its own detokeniser holds back, comes cumulative, incremental or not at all by version
and flag, and would show stop strings and special tokens by the server's rules instead of ours.

The lists in a stream are cumulative (SGLang's default), incremental
(`--incremental-streaming-output`, before that `--stream-output` for ids only), or, in sglang-jax up
to cddbf6f1, the concatenation of the cumulative lists of all events so far. `completion_tokens`
tells which. What is of the weights of the whole reply (`weight_versions`) is never incremental.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from clawjax.engine.sglang.failures import InterruptError, RefusedError, UnreadableError
from clawjax.errors import EngineError, WireError
from clawjax.protocols import GenerateRequest, ScoreRequest
from clawjax.records import FinishReason, GrammarKind

__all__ = [
    "SAMPLER_FIELD",
    "Dialect",
    "End",
    "Piece",
    "TokenStream",
    "Weights",
    "finite",
    "generate_body",
    "is_busy",
    "raise_for_words",
    "read_scores",
    "score_body",
    "words_of",
]

SAMPLER_FIELD = "output_token_sampler_logprobs"
_TOO_LONG = ("context length", "longer than the model", "maximum allowed length")
_BUSY = (429, 503)
_GRAMMARS = {
    GrammarKind.JSON_SCHEMA: "json_schema",
    GrammarKind.REGEX: "regex",
    GrammarKind.LARK: "ebnf",
    GrammarKind.STRUCTURAL_TAG: "structural_tag",
}
"""SGLang's names. `ebnf` is Lark where the server has `--grammar-backend llguidance`."""
_NAN = "NaN happened"
"""What SGLang calls the stop string of a reply whose logits were not finite."""
_NOT_FINITE = "the server's logits were not finite: its weights are damaged or overflow"


class Dialect(NamedTuple):
    """What a server understands beyond the common core."""

    takes_seed: bool = True
    takes_priority: bool = False
    low_priority_first: bool = False
    """Whether a lower number is more urgent, as with clawjax."""


class Weights(NamedTuple):
    """How a request names the weights that it wants."""

    cache_key: str | None = None
    """`extra_key`: prefixes cached under another key are not found, so that no reply builds on keys
    and values of other weights."""
    adapter: str | None = None
    """`lora_path`: the LoRA adapter; None where the weights are whole."""

    def fields(self, cache_scope: str | None = None) -> dict[str, object]:
        """As the body has them; what was cached for another scope is not found either."""
        parts = [part for part in (self.cache_key, cache_scope) if part is not None]
        named = {"extra_key": "/".join(parts) or None, "lora_path": self.adapter}
        return {name: value for name, value in named.items() if value is not None}


class End(NamedTuple):
    """How a reply ended, as far as it has."""

    reason: FinishReason | None = None
    stop_token: int | None = None
    """That ended it, if one did."""
    aborted: str | None = None
    """The server gave it up, and why; it is not complete then."""
    status: int | None = None
    """HTTP's, where the server gave it up and says what kind of failure that is."""


class Piece(NamedTuple):
    """What one event of a stream adds."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """As reported: `logprobs.derive` knows what they are of."""
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...]
    end: End
    cached_tokens: int
    weight_versions: tuple[str | None, ...]
    """What each token's weights are called: as the server says of it, or else of the event, which
    knows those of its last token only."""
    sampler_logprobs: tuple[float, ...] | None = None
    """Under the distribution drawn from, by servers that tell it besides (clawjax's own)."""


def generate_body(
    request: GenerateRequest,
    *,
    rid: str,
    tokens: Sequence[int],
    limit: int,
    stop_ids: Collection[int],
    dialect: Dialect,
    weights: Weights,
) -> dict[str, object]:
    """Ask for the rest of a reply, `tokens` of which are known, up to `limit` tokens in all.

    At temperature 0 the filters are left out: they change nothing, and some servers would
    renormalise log-probs by them. A grammar is of a whole reply: who has one cannot be continued.
    """
    assert not (tokens and request.sampling.grammar), "a grammar begins where its reply does"
    sampling = request.sampling
    params: dict[str, object] = {
        "temperature": sampling.temperature,
        "max_new_tokens": limit - len(tokens),
    }
    if sampling.temperature > 0:
        params |= {
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
        }
    if sampling.stop:
        params["stop"] = list(sampling.stop)
    if stop_ids:
        params["stop_token_ids"] = sorted(stop_ids)
    if sampling.ignore_eos:
        params["ignore_eos"] = True
    if dialect.takes_seed:
        params["sampling_seed"] = request.seed
    if sampling.grammar is not None:
        params[_GRAMMARS[sampling.grammar.kind]] = sampling.grammar.text
    body: dict[str, object] = {
        "rid": rid,
        "input_ids": [*request.prompt_ids, *tokens],
        "sampling_params": params,
        "return_logprob": True,
        "return_text_in_logprobs": False,
        "stream": True,
    }
    if request.top_logprobs:
        body["top_logprobs_num"] = request.top_logprobs
    return body | weights.fields(request.cache_scope) | _priority(request.priority, dialect)


def score_body(
    request: ScoreRequest, *, rid: str, dialect: Dialect, weights: Weights
) -> dict[str, object]:
    """Ask for the log-probs of a given reply.

    They begin at the prompt's last token, whose own is absent: it is the first of what the server
    looks at, and nothing before it predicts it.
    """
    body: dict[str, object] = {
        "rid": rid,
        "input_ids": [*request.prompt_ids, *request.response_ids],
        "sampling_params": {"temperature": 0, "max_new_tokens": 0},
        "return_logprob": True,
        "return_text_in_logprobs": False,
        "logprob_start_len": len(request.prompt_ids) - 1,
    }
    return body | weights.fields(request.cache_scope) | _priority(request.priority, dialect)


def read_scores(payload: Mapping[str, Any], request: ScoreRequest) -> tuple[float, ...]:
    """The log-prob of each response token.

    Raises:
        EngineError: the answer is of other tokens.
        InterruptError: the server gave up.
    """
    meta = _meta(payload)
    end = _end(meta)
    if end.aborted is not None:
        raise InterruptError(end.aborted, end.status)
    entries = meta.get("input_token_logprobs") or []
    wanted = (request.prompt_ids[-1], *request.response_ids)
    ids = tuple(entry[1] for entry in entries)
    if ids != wanted:
        msg = (
            f"the server scored {len(entries)} tokens where {len(wanted)} were asked for, or "
            "others than those: it does not honour logprob_start_len"
        )
        raise EngineError(msg)
    return tuple(finite(entry[0]) for entry in entries[1:])


@dataclass(slots=True)
class _Growing:
    """One list of a stream, in whichever form it comes."""

    seen: int = 0
    is_incremental: bool = False

    def news(self, entries: Sequence[Any], total: int) -> Sequence[Any]:
        """The entries after those seen, of `total` so far."""
        if len(entries) > total > 0 and entries[-total] == entries[0]:
            new = entries[-total:][self.seen :]  # cumulative lists, one after the other
        else:
            if self.seen and len(entries) == total - self.seen:
                self.is_incremental = True
            # An aborted reply comes whole, however it came before.
            is_new = self.is_incremental and len(entries) != total
            new = entries if is_new else entries[self.seen : total]
        self.seen += len(new)
        return new


@dataclass(slots=True)
class TokenStream:
    """Reads the events of one `/generate` stream."""

    _tokens: _Growing = field(default_factory=_Growing)
    _top: _Growing = field(default_factory=_Growing)
    _sampler: _Growing = field(default_factory=_Growing)
    _versions: _Growing = field(default_factory=_Growing)

    def push(self, payload: Mapping[str, Any]) -> Piece:
        """What an event adds, possibly nothing.

        Raises:
            WireError: the request cannot be served as it is.
            EngineError: the event makes no sense, or the logits were not finite.
        """
        if "error" in payload:
            raise_for_words(400, words_of(payload))
        meta = _meta(payload)
        total = int(meta.get("completion_tokens") or 0)
        is_first = self._tokens.seen == 0
        entries = self._tokens.news(meta.get("output_token_logprobs") or [], total)
        top = self._top.news(meta.get("output_top_logprobs") or [], total)
        end = _end(meta)
        if end.reason is not None and self._tokens.seen != total:
            msg = f"the server sampled {total} tokens and sent log-probs of {self._tokens.seen}"
            raise EngineError(msg)
        return Piece(
            token_ids=tuple(int(entry[1]) for entry in entries),
            logprobs=tuple(finite(entry[0]) for entry in entries),
            top_logprobs=tuple(
                tuple((int(token), float(logprob)) for logprob, token, *_ in alternatives or ())
                for alternatives in top
            ),
            end=end,
            cached_tokens=int(meta.get("cached_tokens") or 0) if is_first else 0,
            weight_versions=self._labels(meta, total, len(entries)),
            sampler_logprobs=self._told(meta, total),
        )

    def _labels(self, meta: Mapping[str, Any], total: int, count: int) -> tuple[str | None, ...]:
        each = meta.get("output_token_versions")
        if each is not None:
            return tuple(str(label) for label in self._versions.news(each, total))
        end = self._tokens.seen
        return tuple(_label(meta, position) for position in range(end - count, end))

    def _told(self, meta: Mapping[str, Any], total: int) -> tuple[float, ...] | None:
        told = meta.get(SAMPLER_FIELD)
        return None if told is None else tuple(map(float, self._sampler.news(told, total)))


def finite(logprob: object) -> float:
    """A log-prob; JSON has null for one that is no number.

    Raises:
        UnreadableError: it is none.
    """
    if not isinstance(logprob, int | float) or not math.isfinite(logprob):
        raise UnreadableError(_NOT_FINITE)
    return float(logprob)


def words_of(payload: object) -> str:
    """What a server says in an error, whatever form it has."""
    match payload:
        case {"error": {"message": str(words)}} | {"error": str(words)}:
            return words
        case {"message": str(words)} | {"detail": str(words)} | {"error_message": str(words)}:
            return words
        case str(words):
            return words.strip()
        case _:
            return str(payload)


def raise_for_words(status: int, words: str) -> None:
    """Turn a refusal of a request into the error that its sender has to see.

    Raises:
        WireError: 4xx, the request cannot be served; too long has OpenAI's code for it.
    """
    code = "context_length_exceeded" if any(mark in words for mark in _TOO_LONG) else None
    raise WireError(words, status=status, code=code, param="messages" if code else None)


def is_busy(error: EngineError) -> bool:
    """Whether a server refused, or gave a reply up, only for now."""
    return isinstance(error, RefusedError | InterruptError) and error.status in _BUSY


def _priority(priority: int, dialect: Dialect) -> dict[str, object]:
    if not dialect.takes_priority:
        return {}
    return {"priority": priority if dialect.low_priority_first else -priority}


def _meta(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = payload.get("meta_info")
    if not isinstance(meta, Mapping):
        msg = f"the server's answer has no meta_info: {str(payload)[:200]}"
        raise EngineError(msg)
    return meta


def _label(meta: Mapping[str, Any], position: int) -> str | None:
    """What the weights of the reply's token at `position` are called; None: it is not told."""
    for span in meta.get("weight_versions") or ():
        match span:
            case {"version": label, "start": int(start), "end": int(end)}:
                if start <= position < end:
                    return str(label)
    label = meta.get("weight_version")
    return None if label is None else str(label)


def _end(meta: Mapping[str, Any]) -> End:
    """Why it ended, if it did.

    Raises:
        WireError: it cannot be served.
        EngineError: the logits were not finite, or the reason is unknown.
    """
    match meta.get("finish_reason"):
        case None:
            return End()
        case {"type": "stop", "matched": matched} if matched == _NAN:
            raise UnreadableError(_NOT_FINITE)
        case {"type": "stop", "matched": int(token)}:
            return End(FinishReason.STOP, token)
        case {"type": "stop"}:
            return End(FinishReason.STOP)
        case {"type": "length"}:
            return End(FinishReason.LENGTH)
        case {"type": "abort", **rest}:
            words = str(rest.get("message") or "the server aborted the request")
            status = rest.get("status_code")
            if status == 400:
                raise_for_words(400, words)
            return End(aborted=words, status=status if isinstance(status, int) else None)
        case other:
            msg = f"the server ended a reply for an unknown reason: {other}"
            raise EngineError(msg)
