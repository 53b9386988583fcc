"""How rows get into the turn log: added, never changed, but for verdicts that say nothing.

Invariant: what is in the log is not taken back. Of two records with one key the first counts; of
two verdicts of a module on a turn, the first that says something (`clawjax.verdicts.first_said`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from clawjax.log import codec
from clawjax.log.schema import verdicts
from clawjax.records import Verdict
from clawjax.verdicts import says_something

__all__ = ["add", "add_new"]

_KEY = ("turn_id", "module")


def add(connection: Connection, record: codec.Record) -> None:
    """Add a record; a known key changes nothing, unless an abstention is under it.

    A turn is judged again where more came after it, and what a module has to say then counts.
    """
    table, values = codec.row(record)
    if not isinstance(record, Verdict) or not says_something(record):
        add_new(connection, table, [values])
        return
    insert = _dialect(connection).insert(verdicts)
    said = {name: insert.excluded[name] for name in values if name not in _KEY}
    connection.execute(
        insert.on_conflict_do_update(index_elements=_KEY, set_=said, where=_says_nothing()), values
    )


def add_new(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Add the rows whose keys are not there."""
    if rows:
        connection.execute(_dialect(connection).insert(table).on_conflict_do_nothing(), rows)


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _says_nothing() -> sa.ColumnElement[bool]:
    """Of a row of `verdicts`: what `says_something` denies of its record."""
    labels = sa.func.replace(sa.func.replace(verdicts.c.step_labels, "null", ""), ",", "")
    return sa.and_(
        verdicts.c.score.is_(None),
        verdicts.c.revision.is_(None),
        verdicts.c.hints == "[]",
        labels == "[]",
    )
