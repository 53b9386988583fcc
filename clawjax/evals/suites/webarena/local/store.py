"""The database of both sites, in memory, and who is signed in.

Invariant: `World.begin` makes the same world whatever happened before, and the tokens of the one
before are worth nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["DATA", "Row", "World", "changed_rows"]

DATA = Path(__file__).parents[3] / "data" / "web_local"
"""Schema, first rows and tasks."""

Row = dict[str, Any]
_DIGEST = 12


class World:
    """One database for shop and forum."""

    def __init__(self) -> None:
        """Begin."""
        self._schema = (DATA / "schema.sql").read_text(encoding="utf-8")
        self._seed = json.loads((DATA / "seed.json").read_text(encoding="utf-8"))
        self._lock = threading.Lock()
        self._database = self._fresh()
        self._users: dict[str, str] = {}
        self.admin_password = secrets.token_urlsafe(16)
        """Of the shop's API; only checks know it."""
        self._admin_token = secrets.token_urlsafe(16)

    def begin(self) -> None:
        """Forget everything that happened."""
        fresh = self._fresh()
        with self._lock:
            self._database.close()
            self._database = fresh
            self._users.clear()

    def rows(self, query: str, *values: Any) -> list[Row]:
        """What a query finds."""
        with self._lock:
            return [dict(row) for row in self._database.execute(query, values)]

    def row(self, query: str, *values: Any) -> Row | None:
        """The first row that it finds."""
        return next(iter(self.rows(query, *values)), None)

    def change(self, statement: str, *values: Any) -> int:
        """Carry out a change; the id of an inserted row."""
        with self._lock:
            return self._database.execute(statement, values).lastrowid or 0

    def sign_in(self, site: str, user: str) -> str:
        """A token that says who somebody is."""
        token = secrets.token_urlsafe(16)
        self._users[f"{site} {token}"] = user
        return token

    def user(self, site: str, token: str | None) -> str | None:
        """Whose token it is."""
        return self._users.get(f"{site} {token}")

    def admin_token(self, password: str) -> str | None:
        """For the shop's API."""
        return self._admin_token if secrets.compare_digest(password, self.admin_password) else None

    def is_admin(self, header: str) -> bool:
        """Whether a request's `Authorization` is the administrator's."""
        return secrets.compare_digest(header.encode(), f"Bearer {self._admin_token}".encode())

    def digests(self) -> dict[str, str]:
        """A digest per row, by `table[id]`."""
        return {
            f"{table}[{row['id']}]": hashlib.sha256(
                json.dumps(row, sort_keys=True).encode()
            ).hexdigest()[:_DIGEST]
            for table in self._seed
            for row in self.rows(f"SELECT * FROM {table}")
        }

    def _fresh(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        database.row_factory = sqlite3.Row
        database.executescript(self._schema)
        for table, rows in self._seed.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                database.execute(
                    f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
                )
        return database


def changed_rows(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Rows that were added, changed or removed, from two `World.digests`."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
