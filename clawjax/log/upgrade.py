"""What the tables of an earlier version lack is added.

Invariant: rows stay as they are; a column that is added later is nullable.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn

from clawjax.log.schema import metadata

__all__ = ["add_missing"]


def add_missing(connection: Connection) -> None:
    """Create the tables, and the columns of tables, that are not there."""
    metadata.create_all(connection)
    inspector = sa.inspect(connection)
    quote = connection.dialect.identifier_preparer.quote
    for table in metadata.sorted_tables:
        known = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(
                    f"ALTER TABLE {quote(table.name)} ADD COLUMN {definition}"
                )
