"""A turn log on a real SQLite file, and on PostgreSQL where there is one."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from clawjax.log.store import SqlTurnLog

POSTGRES = os.environ.get("CLAWJAX_TEST_POSTGRES")
"""An empty database to test on as well, e.g. postgresql://postgres@127.0.0.1/test."""


@pytest.fixture(params=["sqlite", *(["postgres"] if POSTGRES else [])])
def url(request, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/turns.db"
        return
    engine = sa.create_engine(POSTGRES)
    schema = f"test_{uuid.uuid4().hex}"
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield str(sa.make_url(POSTGRES).set(query={"options": f"-csearch_path={schema}"}))
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture
def log(url: str):
    log = SqlTurnLog.open(url)
    yield log
    log.close()
