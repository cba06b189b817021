"""The ledger's connection: SQLite with WAL and synchronous=FULL, writers one at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from embedhouse.domain.storage import storage_error
from embedhouse.ledger.schema import check_version, migrate

__all__ = ["Database"]

_BUSY_TIMEOUT_S = 30.0


class Database:
    """Read and write transactions on one ledger. Thread-safe: each block has a connection of its own."""

    def __init__(self, path: Path, *, migrates: bool = True) -> None:
        """`migrates` false: beside a process that holds the house, and may be of another version."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        self._engine = _sqlite_engine(path)
        self._writer = self._engine.execution_options(house_writes=True)
        with self._translated():
            if migrates:
                migrate(self._writer, str(path))
            else:
                check_version(self._engine, str(path))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: everything inside sees one state of the ledger, and never waits for a writer."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing, and on disk when the block ends."""
        with self._translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise storage_error(cause, self.path) from error


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=16,
        max_overflow=48,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # We begin transactions ourselves: the driver's own rules begin them too late.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-16384",
        "mmap_size=1073741824",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a writer takes its lock at once, instead of failing when a read turns into a write.
    writes = connection.get_execution_options().get("house_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
