"""What the engine accepts: every limit of a request, checked before it takes a slot.

Invariant: a request that passes can be served as it is; nothing is cut or corrected, except that
the reply ends where the context does. Imports no jax: engines elsewhere have the same limits.
"""

from __future__ import annotations

from clawjax.errors import WireError
from clawjax.protocols import GenerateRequest, ScoreRequest

__all__ = ["MAX_TOP_LOGPROBS", "check_scoring", "reply_limit"]

MAX_TOP_LOGPROBS = 20
"""Alternatives per token, at most; OpenAI's limit."""


def reply_limit(request: GenerateRequest, vocab_size: int, context_length: int) -> int:
    """Check a request and return how many tokens its reply may have.

    Raises:
        WireError: the first limit that it breaks.
    """
    sampling = request.sampling
    _require(0 <= sampling.temperature <= 2, "temperature", sampling.temperature, "0 to 2")
    _require(0 < sampling.top_p <= 1, "top_p", sampling.top_p, "above 0, up to 1")
    _require(0 <= sampling.min_p <= 1, "min_p", sampling.min_p, "0 to 1")
    _require(sampling.top_k >= 0, "top_k", sampling.top_k, "0 (off) or more")
    tokens = sampling.max_response_tokens
    _require(tokens >= 1, "max_tokens", tokens, "1 or more")
    _require(
        0 <= request.top_logprobs <= MAX_TOP_LOGPROBS,
        "top_logprobs",
        request.top_logprobs,
        f"0 to {MAX_TOP_LOGPROBS}",
    )
    if sampling.grammar is not None and sampling.ignore_eos:
        msg = "ignore_eos cannot be used with a grammar, which says where the reply ends: leave it."
        raise WireError(msg, code="invalid_value", param="ignore_eos")
    _check_prompt(request.prompt_ids, vocab_size, context_length)
    return min(tokens, context_length - len(request.prompt_ids))


def check_scoring(request: ScoreRequest, vocab_size: int, context_length: int) -> None:
    """Check a request to score.

    Raises:
        WireError: the first limit that it breaks.
    """
    if not request.response_ids:
        msg = "There is nothing to score: send at least one response token."
        raise WireError(msg, param="response_ids")
    _check_prompt(request.prompt_ids, vocab_size, context_length)
    total = len(request.prompt_ids) + len(request.response_ids)
    if total > context_length:
        msg = (
            f"This model's maximum context length is {context_length} tokens. However, prompt and "
            f"response have {total} tokens. Please score a shorter response."
        )
        raise WireError(msg, code="context_length_exceeded", param="response_ids")
    _check_vocabulary(request.response_ids, vocab_size, "response_ids")


def _check_prompt(prompt_ids: tuple[int, ...], vocab_size: int, context_length: int) -> None:
    if not prompt_ids:
        msg = "The prompt is empty: send at least one token."
        raise WireError(msg, param="messages")
    if len(prompt_ids) >= context_length:
        msg = (
            f"This model's maximum context length is {context_length} tokens. However, your "
            f"messages resulted in {len(prompt_ids)} tokens. Please reduce the length of the "
            "messages."
        )
        raise WireError(msg, code="context_length_exceeded", param="messages")
    _check_vocabulary(prompt_ids, vocab_size, "messages")


def _check_vocabulary(ids: tuple[int, ...], vocab_size: int, param: str) -> None:
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = next(token for token in ids if not 0 <= token < vocab_size)
        msg = f"Token id {wrong} is not in the vocabulary: ids are 0 to {vocab_size - 1}."
        raise WireError(msg, param=param)


def _require(condition: bool, name: str, value: float, allowed: str) -> None:
    """Refuse a parameter; a NaN satisfies no condition."""
    if not condition:
        msg = f"Invalid value for '{name}': {value}. Use {allowed}."
        raise WireError(msg, code="invalid_value", param=name)
