"""MySQL as the database tasks see it, on sqlite: dialect, collation, messages and the table hash.

Every column is TEXT under a case- and accent-blind collation, as upstream creates them. Numbers
read back may be written in another way than MySQL does (5.0 for 5); labels and hashes do not depend
on it. Invariant: nothing outside of the database in memory can be read or written.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clawjax.evals.suites.agentbench.dbbench.dialect import Meta, SqlError, translate
from clawjax.evals.suites.agentbench.dbbench.functions import FUNCTIONS

__all__ = ["MySQL", "row_hash", "table_hash"]

OUTPUT_CHARS = 800
"""Longer results are cut, with `[TRUNCATED]`."""
GROUP_CONCAT_BYTES = 1024
"""MySQL's default `group_concat_max_len`: what is hashed of a large table ends there."""

_STATEMENT_S = 20.0
_FORBIDDEN = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}
_SYNTAX = (
    "1064 (42000): You have an error in your SQL syntax; check the manual that corresponds to your "
    "MySQL server version for the right syntax to use near {0} at line 1"
)
_LATE = "3024 (HY000): Query execution was interrupted, maximum statement execution time exceeded"
_UNKNOWN_COLUMN = "1054 (42S22): Unknown column '{0}' in 'field list'"
_COUNT = "1136 (21S01): Column count doesn't match value count at row 1"
_ERRORS = [
    (re.compile(pattern), message)
    for pattern, message in (
        (r"no such table: (?:main\.)?(.*)", "1146 (42S02): Table '{db}.{0}' doesn't exist"),
        (r"no such column: (.*)", _UNKNOWN_COLUMN),
        (r".* has no column named (.*)", _UNKNOWN_COLUMN),
        (r"no such function: (.*)", "1305 (42000): FUNCTION {db}.{0} does not exist"),
        (r"table [`\"]?(.*?)[`\"]? already exists", "1050 (42S01): Table '{0}' already exists"),
        (r"\d+ values for \d+ columns", _COUNT),
        (r"table .* has \d+ columns but \d+ values .*", _COUNT),
        (r"interrupted", _LATE),
        (r"near (.*): syntax error", _SYNTAX),
    )
]


class MySQL:
    """One database with its tables."""

    def __init__(self, tables: Sequence[Mapping[str, Any]]) -> None:
        """Create it.

        Args:
            tables: as published: `table_name` and `table_info` with `columns` and `rows`. The
                database is called like the first one.
        """
        self.tables = tables
        self.name = str(tables[0]["table_name"])
        self._deadline = 0.0
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.create_collation("mysql", _collate)
        for name, (count, function) in FUNCTIONS.items():
            self._database.create_function(name, count, function, deterministic=True)
        self._database.execute("attach ':memory:' as information_schema")
        self._database.set_authorizer(_authorize)
        self._database.set_progress_handler(self._is_late, 10_000)
        self._deadline = time.monotonic() + _STATEMENT_S
        for table in tables:
            self._create(table)
        self._describe_schema()

    def execute(self, statement: str) -> str:
        """What upstream's connector prints: rows as a list of tuples, or the error."""
        text = self._result(statement)
        return text if len(text) <= OUTPUT_CHARS else f"{text[:OUTPUT_CHARS]}[TRUNCATED]"

    def fingerprint(self) -> str | None:
        """Hash of all tables as published; None where one no longer has its columns."""
        try:
            hashes = [self._hash(table) for table in self.tables]
        except sqlite3.Error:
            return None
        return "_".join(sorted(hashes))

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def _result(self, statement: str) -> str:
        self._deadline = time.monotonic() + _STATEMENT_S
        try:
            translated = translate(statement, self.name)
            if isinstance(translated, Meta):
                return str(self._meta(translated))
            rows = self._database.execute(translated).fetchall()
            if self._database.in_transaction:
                self._database.execute("commit")
        except SqlError as error:
            return str(error)
        except sqlite3.Error as error:
            return _as_mysql(str(error), self.name)
        return str(rows)

    def _create(self, table: Mapping[str, Any]) -> None:
        columns = [column["name"] for column in table["table_info"]["columns"]]
        declared = ", ".join(f"{_quoted(name)} TEXT COLLATE mysql" for name in columns)
        name = _quoted(table["table_name"])
        self._database.execute(f"create table {name} ({declared})")
        marks = ", ".join("?" * len(columns))
        rows = [[_cell(value) for value in row] for row in table["table_info"]["rows"]]
        self._database.executemany(f"insert into {name} values ({marks})", rows)

    def _describe_schema(self) -> None:
        run = self._database.execute
        run("create table information_schema.tables (table_schema text, table_name text)")
        run(
            "create table information_schema.columns (table_schema text, table_name text, "
            "column_name text, ordinal_position integer, data_type text)"
        )
        for table in self.tables:
            name = table["table_name"]
            run("insert into information_schema.tables values (?, ?)", (self.name, name))
            for place, column in enumerate(table["table_info"]["columns"], 1):
                row = (self.name, name, column["name"], place, "text")
                run("insert into information_schema.columns values (?, ?, ?, ?, ?)", row)

    def _meta(self, asked: Meta) -> list[tuple[Any, ...]]:
        match asked.what:
            case "databases":
                known = ("information_schema", "mysql", "performance_schema", "sys", self.name)
                return [(name,) for name in sorted(known)]
            case "tables":
                found = "select name from sqlite_master where type='table' order by name"
                return self._database.execute(found).fetchall()
            case "columns":
                rows = self._database.execute(
                    f"pragma table_info({_quoted(asked.table)})"
                ).fetchall()
                if not rows:
                    raise SqlError(f"1146 (42S02): Table '{self.name}.{asked.table}' doesn't exist")
                return [(row[1], "text", "YES", "", None, "") for row in rows]
            case "use":
                if asked.table.lower() != self.name.lower():
                    raise SqlError(f"1049 (42000): Unknown database '{asked.table}'")
                return []
        raise SqlError(f"1235 (42000): SHOW {asked.what} is not supported here")

    def _hash(self, table: Mapping[str, Any]) -> str:
        self._deadline = time.monotonic() + _STATEMENT_S
        columns = ", ".join(_quoted(each["name"]) for each in table["table_info"]["columns"])
        rows = self._database.execute(f"select {columns} from {_quoted(table['table_name'])}")
        return table_hash(rows)

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def row_hash(cells: Iterable[Any]) -> str:
    """`substring(md5(concat_ws(',', cells)), 1, 5)`: NULLs are left out."""
    text = ",".join(str(cell) for cell in cells if cell is not None)
    return _md5(text)[:5]


def table_hash(rows: Iterable[Iterable[Any]]) -> str:
    """`md5(group_concat(rowhash order by rowhash))`; `None` as text where there is no row."""
    hashes = sorted(row_hash(row) for row in rows)
    if not hashes:
        return "None"
    return _md5(",".join(hashes)[:GROUP_CONCAT_BYTES])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _collate(one: str, other: str) -> int:
    a, b = _folded(one), _folded(other)
    return (a > b) - (a < b)


def _folded(text: str) -> str:
    parts = unicodedata.normalize("NFKD", text)
    return "".join(c for c in parts if not unicodedata.combining(c)).casefold()


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


def _quoted(name: Any) -> str:
    return "`" + str(name).replace("`", "``") + "`"


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _FORBIDDEN else sqlite3.SQLITE_OK


def _as_mysql(problem: str, database: str) -> str:
    for pattern, message in _ERRORS:
        found = pattern.fullmatch(problem)
        if found:
            return message.format(*found.groups(), db=database)
    return f"1105 (HY000): {problem}"
