"""The named API keys of a home, whether or not a process holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedhouse.domain.errors import HouseLocked
from embedhouse.house.keys import ApiKeys
from embedhouse.ledger.database import Database
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.paths import ledger_path

__all__ = ["has_keys", "open_keys"]


@contextmanager
def open_keys(home: Path) -> Iterator[ApiKeys]:
    """The home's keys. A server that holds it sees within a second what is changed here.

    Errors: those of the ledger; Conflict where the process that holds the home is of an older version.
    """
    database = _open_ledger(home)
    try:
        yield ApiKeys(database)
    finally:
        database.close()


def has_keys(home: Path) -> bool:
    """Whether there is a named key."""
    if not ledger_path(home).exists():
        return False
    with open_keys(home) as keys:
        return keys.any


def _open_ledger(home: Path) -> Database:
    try:
        lock = HouseLock(home)
    except HouseLocked:
        return Database(ledger_path(home), migrates=False)
    try:
        return Database(ledger_path(home))
    finally:
        lock.release()
