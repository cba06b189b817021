"""The ledger's connection: transactions on a file, or on a server that several processes share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from embedhouse.domain.errors import MissingExtra
from embedhouse.ledger.place import LedgerContended
from embedhouse.ledger.schema import check_version, migrate
from embedhouse.ledger.sqlite import SqliteFile

if TYPE_CHECKING:
    from embedhouse.ledger.postgresql import LedgerServer, PostgresDatabase

__all__ = ["Database"]

Result = TypeVar("Result")

_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.02


class Database:
    """Read and write transactions on one ledger. Thread-safe: each block has a connection of its own."""

    def __init__(self, place: Path | LedgerServer, *, migrates: bool = True) -> None:
        """`migrates` false: beside a process that holds the house, and may be of another version.

        Errors: StorageError; on a server those of ledger.postgresql_errors, InvalidSetting and MissingExtra.
        """
        self._place = SqliteFile(place) if isinstance(place, Path) else _server(place)
        self.name: str = self._place.name
        self.is_shared: bool = self._place.is_shared
        self.migrated: Sequence[int] = ()
        """The migrations that opening it applied."""
        try:
            with self._translated():
                if migrates:
                    self.migrated = migrate(self._place.writer, self.name)
                else:
                    check_version(self._place.reader, self.name)
        except BaseException:
            self.close()
            raise

    @property
    def server(self) -> PostgresDatabase | None:
        """Where the ledger is on a server; None: it is a file."""
        return None if isinstance(self._place, SqliteFile) else self._place

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot: everything inside sees one state of the ledger, and never waits for a writer."""
        with self._translated(), self._place.reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing, and on disk when the block ends. In a file writers are one at a time; on a server each
        statement sees what was committed before it, and what must not change meanwhile is to be locked."""
        with self._translated(), self._place.writer.begin() as connection:
            yield connection

    def persist(self, step: Callable[[], Result]) -> Result:
        """Run a step again, a few times, while its `write` loses to other transactions: nothing of it was written
        then. The step must begin with what it reads of the ledger. Errors: those of the step."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return step()
            except LedgerContended:
                time.sleep(random.uniform(0.5, 1.0) * _FIRST_PAUSE_S * 2**attempt)  # noqa: S311
        return step()

    def close(self) -> None:
        """Close every connection."""
        self._place.writer.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeout, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise self._place.error(cause) from error


def _server(place: LedgerServer) -> PostgresDatabase:
    try:
        from embedhouse.ledger.postgresql import PostgresDatabase
    except ModuleNotFoundError as error:
        raise MissingExtra(what="A ledger on PostgreSQL", extra="postgresql") from error
    return PostgresDatabase(place)
