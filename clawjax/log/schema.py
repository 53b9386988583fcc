"""The turn log's tables, declared once.

Rows are only ever added, until somebody wants a turn forgotten. What moves are cursors, counters,
abstentions, whose place the first verdict that says something takes (`clawjax.log.adding`),
and claims: a claim is a training step's reservation of a turn, and becomes an outcome when that
step is durable. People may change their minds: a label that is taken back stays with the time of
that, and the verdict of module `human`, which labels make, follows them (`clawjax.review.queue`).
What a step recalls is taken back with its claims where the step came to nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "SCHEMA_VERSION",
    "UPGRADED_BY_ADDING",
    "claims",
    "counters",
    "cursors",
    "forgotten",
    "links",
    "metadata",
    "next_states",
    "outcomes",
    "owners",
    "recalled",
    "review_items",
    "review_labels",
    "review_leases",
    "turns",
    "verdicts",
]

SCHEMA_VERSION = 7
"""Kept in the cursor `schema`; a log of a version that is not understood is refused."""

UPGRADED_BY_ADDING = frozenset({2, 3, 4, 5, 6})
"""Versions that only lack tables and columns. Opening such a log adds them; rows stay as they are.

2 has no `links`: its turns were placed, but why was not kept. 3 has no `forgotten`. 4 has no review
queue, and no `components` and no `revision` of verdicts. 5 has no `owners`. 6 has no `recalled`:
what its steps learnt from again is not known. A column added later is nullable.
"""

metadata = MetaData()

turns = Table(
    "turns",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String, unique=True, nullable=False),
    Column("session_id", String, nullable=False, index=True),
    Column("parent_turn_id", String),
    Column("response_id", String, nullable=False),
    Column("choice", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("model", String, nullable=False),
    Column("messages", Text, nullable=False),
    Column("tools_json", Text),
    Column("reply", Text, nullable=False),
    Column("prompt_ids", LargeBinary, nullable=False),
    Column("response_ids", LargeBinary, nullable=False),
    Column("sampler_logprobs", LargeBinary, nullable=False),
    Column("sampler_logprobs_t1", LargeBinary, nullable=False),
    Column("token_versions", Text, nullable=False),
    Column("sampling", Text, nullable=False),
    Column("finish_reason", String, nullable=False),
    Column("arrived_at", Float, nullable=False),
    Column("finished_at", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Index("turns_by_response", "response_id", "choice"),
    Index("turns_by_arrival", "kind", "arrived_at"),
    sqlite_autoincrement=True,
)

next_states = Table(
    "next_states",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("arrived_at", Float, nullable=False),
    Column("messages", Text, nullable=False),
    Column("score", Float),
    UniqueConstraint("turn_id", "kind", "arrived_at"),
    sqlite_autoincrement=True,
)

links = Table(
    "links",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("turn_kind_reason", String, nullable=False),
    Column("origin", Text, nullable=False),
    Column("of_turn_id", String),
    Column("at", Integer),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("module", String, primary_key=True),
    Column("score", Float),
    Column("judged_at", Float, nullable=False),
    Column("hints", Text, nullable=False),
    Column("step_labels", Text, nullable=False),
    Column("votes", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("prompt_digest", String),
    Column("components", Text),
    Column("revision", Text),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("decided_at", Float, nullable=False),
    Column("trained_version", Integer),
    Column("drop_reason", String),
)

claims = Table(
    "claims",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("step", Integer, nullable=False, index=True),
)

recalled = Table(
    "recalled",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    sqlite_with_rowid=False,
)

forgotten = Table(
    "forgotten",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String, unique=True, nullable=False),
    Column("forgotten_at", Float, nullable=False),
    Column("trained_version", Integer),
    sqlite_autoincrement=True,
)

review_items = Table(
    "review_items",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("reasons", Text, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("held_until", Float, nullable=False),
    Column("people", Integer, nullable=False),
    Column("closed_at", Float),
    Index("review_items_by_state", "closed_at", "asked_at"),
)

review_leases = Table(
    "review_leases",
    metadata,
    Column("turn_id", String, primary_key=True),
    Column("reviewer", String, primary_key=True),
    Column("expires_at", Float, nullable=False),
)

review_labels = Table(
    "review_labels",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("turn_id", String, nullable=False, index=True),
    Column("reviewer", String, nullable=False),
    Column("is_skip", Boolean, nullable=False),
    Column("score", Float),
    Column("steps", Text, nullable=False),
    Column("hints", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("labelled_at", Float, nullable=False),
    Column("undone_at", Float),
    sqlite_autoincrement=True,
)

owners = Table(
    "owners",
    metadata,
    Column("owner_id", String, primary_key=True),
    Column("run", Text, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", Integer, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Integer, nullable=False),
)
