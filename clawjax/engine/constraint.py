"""Which tokens a grammar allows next, reply by reply; on the host.

Owns llguidance. Its vocabulary is this project's own (`ChatTokenizer.piece`), so a grammar speaks
of exactly the bytes that become visible text; special tokens are in no grammar, except that those
which end a reply are allowed where the grammar may end, and alone where it must.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache

import llguidance
import numpy as np
from llguidance.numpy import fill_next_token_bitmask

from clawjax.engine.grammar import compiled
from clawjax.engine.sampling import no_mask
from clawjax.errors import WireError
from clawjax.models.tokenizer import ChatTokenizer
from clawjax.records import Grammar

__all__ = ["Constraint", "Grammars", "masks"]

_KEPT = 16
"""Grammars that need not be read again: a request is checked before it is begun, and agents send
the same tools each time."""
_THREADS = 2
"""In which grammars are read. They are not those that everybody needs, for the log above all."""


class Constraint:
    """Where one reply is in its grammar."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        """Begin a reply."""
        self._matcher = matcher

    @property
    def trouble(self) -> str | None:
        """Why it can say nothing more (the grammar is too complex, say); None while it can."""
        return self._matcher.get_error() if self._matcher.is_error() else None

    def fill(self, mask: np.ndarray, row: int) -> None:
        """Write what may come next into row `row` of `mask`, `[R, ceil(V / 32)]` of bits."""
        fill_next_token_bitmask(self._matcher, mask, row)

    def take(self, token: int) -> None:
        """A token was drawn."""
        self._matcher.consume_token(token)


class Grammars:
    """Makes constraints over one vocabulary."""

    def __init__(self, tokenizer: ChatTokenizer, vocab_size: int) -> None:
        """Nothing is computed before the first grammar; `vocab_size` is that of the logits."""
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._begun = lru_cache(_KEPT)(self._begin)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grammar")

    async def begin(self, grammar: Grammar, scope: str | None = None) -> Constraint:
        """`constraint` in a thread; who waits for another's grammar blocks nobody else.

        Raises:
            WireError: as for `constraint`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.constraint, grammar, scope)

    def close(self) -> None:
        """No more grammars are read; what is being read ends by itself."""
        self._threads.shutdown(wait=False)

    def constraint(self, grammar: Grammar, scope: str | None = None) -> Constraint:
        """Begin a reply. Takes milliseconds, for large schemas up to a second the first time.

        What was read for another `scope` is read again, as in `GenerateRequest.cache_scope`.

        Raises:
            WireError: it is not a grammar, or uses what is not supported.
        """
        return Constraint(self._begun(grammar, scope).deep_copy())

    def _begin(self, grammar: Grammar, _: str | None) -> llguidance.LLMatcher:
        matcher = llguidance.LLMatcher(self._vocabulary, compiled(grammar), log_level=0)
        if matcher.is_error():
            reason = matcher.get_error().strip().partition("\n")[0]
            msg = f"The {grammar.kind} cannot be used as a grammar: {reason}."
            raise WireError(msg, code="invalid_grammar", param="grammar")
        return matcher

    @cached_property
    def _vocabulary(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Vocabulary(self._tokenizer, self._vocab_size)),
            eos_token=sorted(self._tokenizer.eos_ids),
        )


class _Vocabulary:
    """A tokenizer as `llguidance.TokenizerWrapper` wants it, with a token for each logit.

    Models pad their tables, Qwen2.5 by 271 rows: tokens without bytes, which no grammar allows. A
    wrapped vocabulary has the size of its list, whatever `n_vocab` says.
    """

    def __init__(self, tokenizer: ChatTokenizer, vocab_size: int) -> None:
        ids = range(min(tokenizer.vocab_size, vocab_size))
        padding = [b""] * (vocab_size - len(ids))
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = None
        self.tokens = [tokenizer.piece(i) for i in ids] + padding
        self.special_token_ids = [i for i in ids if tokenizer.is_special(i)]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))


def masks(constraints: Sequence[Constraint | None], vocab: int) -> np.ndarray | None:
    """What each row may draw, as `sampling.no_mask`; None where none is constrained."""
    if not any(constraints):
        return None
    mask = no_mask(len(constraints), vocab)
    for row, constraint in enumerate(constraints):
        if constraint is not None:
            constraint.fill(mask, row)
    return mask
