"""What the tables of an earlier version lack is added, or only lent to who reads.

Invariant: rows stay as they are; a column that is added later is nullable.
"""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateColumn

from clawjax.log.schema import metadata

__all__ = ["add_missing", "lend_missing"]


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


def lend_missing(connection: sqlite3.Connection) -> None:
    """Have tables that are not there read as empty, and columns as null, on this connection alone.

    SQLite finds what is temporary before what is in the file, and writes nothing of it there.
    """
    for table in metadata.sorted_tables:
        name, wanted = table.name, [column.name for column in table.columns]
        known = {row[1] for row in connection.execute(f"PRAGMA main.table_info({name})")}
        if not known:
            connection.execute(f"CREATE TEMP TABLE {name} ({', '.join(wanted)})")
        elif not known.issuperset(wanted):
            columns = ", ".join(each if each in known else f"NULL AS {each}" for each in wanted)
            view = f"SELECT {columns} FROM main.{name}"  # noqa: S608 - names of our own schema
            connection.execute(f"CREATE TEMP VIEW {name} AS {view}")
