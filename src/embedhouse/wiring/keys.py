"""The named API keys of a home, whether or not a process holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedhouse.domain.errors import HouseLocked
from embedhouse.house.keys import ApiKeys
from embedhouse.ledger.database import Database
from embedhouse.settings import Settings
from embedhouse.wiring.ledger import ledger_place
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.paths import ledger_path

__all__ = ["has_keys", "open_keys"]


@contextmanager
def open_keys(settings: Settings) -> Iterator[ApiKeys]:
    """The house's keys. A server that holds it sees within a second what is changed here.

    Errors: those of the ledger; Conflict where the process that holds the home is of an older version.
    """
    database = _open_ledger(settings)
    try:
        yield ApiKeys(database)
    finally:
        database.close()


def has_keys(settings: Settings) -> bool:
    """Whether there is a named key. Errors: those of the ledger."""
    if not settings.ledger_url and not ledger_path(settings.home).exists():
        return False
    with open_keys(settings) as keys:
        return keys.any


def _open_ledger(settings: Settings) -> Database:
    place = ledger_place(settings)
    if settings.ledger_url:
        return Database(place)
    try:
        lock = HouseLock(settings.home)
    except HouseLocked:
        return Database(place, migrates=False)
    try:
        return Database(place)
    finally:
        lock.release()
