"""Stores in PostgreSQL for tests, and what tests do there behind a store's back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from postgres_server import PostgresServer, fresh_database
from psycopg import sql

from embedhouse.domain.stores import Option, StoreSettings
from embedhouse.indexes.pgvector.store import PgvectorStore

__all__ = ["connect", "execute", "foreign_table", "maybe_own_server"]


def connect(url: str, owner: str, api_key: str = "", **options: Option) -> PgvectorStore:
    settings = StoreSettings(kind="postgresql", url=url, api_key=api_key, options=options)
    return PgvectorStore.connect(settings, owner=owner)


@contextmanager
def maybe_own_server() -> Iterator[tuple[str, PostgresServer | None]]:
    """An empty database, and its server where that may be stopped: not the one of EMBEDHOUSE_TEST_POSTGRES_URL."""
    if named := os.environ.get("EMBEDHOUSE_TEST_POSTGRES_URL"):
        with fresh_database(named) as url:
            yield url, None
    else:
        with PostgresServer() as server:
            yield server.url, server


def execute(url: str, statement: Any, *params: object) -> list[tuple[Any, ...]]:
    """The rows, if there are any."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement, params or None)
        return found.fetchall() if found.description else []


def foreign_table(url: str, name: str) -> Callable[[], bool]:
    """Make a table of someone else; the function says whether it is as it was."""
    table = sql.Identifier(name)
    execute(url, sql.SQL("CREATE TABLE {} AS SELECT 'theirs' AS content").format(table))
    return lambda: execute(url, sql.SQL("SELECT content FROM {}").format(table)) == [("theirs",)]
