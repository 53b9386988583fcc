"""Rows that a model can read, encoded once; those that it cannot are counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from clawjax.data.preferences import Preference, Rated, Row, RowError, preferences_of
from clawjax.learner.offline.encoding import Encoded, encode_prompt, encode_reply
from clawjax.records import Message
from clawjax.rendering.prompts import Prompts

__all__ = [
    "Material",
    "examples_of",
    "pairs_of",
    "questions_of",
    "read_material",
    "replies_of",
]


class Material(NamedTuple):
    """What can be learnt from."""

    rows: Sequence[Row]
    replies: Mapping[Row, Sequence[Encoded]]
    """By row: of a pair chosen and rejected, of a rated reply itself, of a question the prompt with
    an empty response."""
    skipped: Mapping[str, int]
    """Rows left out, by reason."""


def pairs_of(rows: Iterable[Row], *, min_margin: float = 0.0) -> list[Preference]:
    """The pairs there are, and those that rated replies to the same prompt make.

    Args:
        rows: any.
        min_margin: least difference of scores that makes a pair.
    """
    found = list(rows)
    return [
        *(r for r in found if isinstance(r, Preference) and _says(r, min_margin)),
        *preferences_of([r for r in found if isinstance(r, Rated)], min_margin=min_margin),
    ]


def examples_of(rows: Iterable[Row]) -> list[Rated]:
    """Replies worth imitating: those that were liked, and those that were chosen; each once."""
    found = [row if isinstance(row, Rated) else _chosen(row) for row in rows]
    return list({(r.prompt, r.reply): r for r in reversed(found) if r.is_liked}.values())[::-1]


def questions_of(rows: Iterable[Row]) -> list[Row]:
    """One row for each prompt, whatever its replies are."""
    return list({(row.prompt, row.tools_json): row for row in reversed(list(rows))}.values())[::-1]


def _says(pair: Preference, min_margin: float) -> bool:
    """Whether one reply is better by so much, or by nobody knows how much."""
    return pair.margin is None or pair.margin >= min_margin


def _chosen(row: Preference) -> Rated:
    return Rated(
        prompt=row.prompt,
        reply=row.chosen,
        score=1.0,
        provenance=row.provenance,
        user=row.user,
        source=row.source,
        tools_json=row.tools_json,
    )


def read_material(
    prompts: Prompts, rows: Sequence[Row], *, max_tokens: int, answer_tokens: int = 0
) -> Material:
    """Encode rows.

    Args:
        prompts: what the model reads.
        rows: pairs, examples or questions.
        max_tokens: of prompt and reply together.
        answer_tokens: above 0: rows are questions, whose answers may be so long.
    """
    encoded: dict[Row, tuple[Encoded, ...]] = {}
    skipped: Counter[str] = Counter()
    for row in rows:
        try:
            found = _encoded(prompts, row, is_question=answer_tokens > 0)
        except RowError as error:
            skipped[error.reason] += 1
            continue
        if max(exchange.length for exchange in found) + answer_tokens > max_tokens:
            skipped[f"it has more than {max_tokens} tokens (learner.max_tokens, the context)"] += 1
            continue
        encoded[row] = found
    return Material([row for row in rows if row in encoded], encoded, dict(skipped))


def _encoded(prompts: Prompts, row: Row, *, is_question: bool) -> tuple[Encoded, ...]:
    if is_question:
        return (Encoded(encode_prompt(prompts, row.prompt, row.tools_json), ()),)
    return tuple(
        encode_reply(prompts, row.prompt, reply, row.tools_json) for reply in replies_of(row)
    )


def replies_of(row: Row) -> tuple[Message, ...]:
    """The better one first."""
    return (row.chosen, row.rejected) if isinstance(row, Preference) else (row.reply,)
