"""The ledger's schema, brought up to date without opening the house."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from embedhouse.domain.errors import HouseLocked
from embedhouse.ledger.database import Database
from embedhouse.ledger.schema import migrations
from embedhouse.settings import Settings
from embedhouse.wiring.ledger import ledger_place
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.paths import ledger_path

__all__ = ["Migrated", "migrate_ledger"]


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """The schema that the `ledger` has now, and the migrations that were applied for it."""

    ledger: str
    schema: int
    applied: list[int]


def migrate_ledger(settings: Settings) -> Migrated:
    """Make the ledger if it is not there, and apply what it lacks. On a server any number of processes may do so at
    once: one does, the others wait.

    Errors: LedgerTooNew, those of the ledger; Conflict where an older process holds the home.
    """
    with _opened(settings) as database:
        return Migrated(ledger=database.name, schema=migrations()[-1][0], applied=list(database.migrated))


@contextlib.contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    database = Database(ledger_place(settings)) if settings.ledger_url else _in_file(settings)
    try:
        yield database
    finally:
        database.close()


def _in_file(settings: Settings) -> Database:
    path = ledger_path(settings.home)
    try:
        lock = HouseLock(settings.home)
    except HouseLocked:  # by a process that migrated it when it started, or is older
        return Database(path, migrates=False)
    try:
        return Database(path)
    finally:
        lock.release()
