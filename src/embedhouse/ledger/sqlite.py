"""The ledger as a file: SQLite with WAL and synchronous=FULL, writers one at a time."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from embedhouse.domain.errors import StorageError
from embedhouse.domain.storage import storage_error

__all__ = ["SqliteFile"]

_BUSY_TIMEOUT_S = 30.0


class SqliteFile:
    """Implements ledger.place.Place. Errors: StorageError where the folder cannot be made."""

    is_shared = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        self.reader = _engine(path)
        self.writer = self.reader.execution_options(house_writes=True)

    def error(self, cause: BaseException) -> StorageError:
        """See Place."""
        return storage_error(cause, self._path)


def _engine(path: Path) -> Engine:
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
