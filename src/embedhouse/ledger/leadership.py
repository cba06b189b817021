"""What one process at a time may do with a ledger that several share: advisory locks of PostgreSQL.

A file has one process that writes it, which then leads in everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from embedhouse.ledger.database import Database

if TYPE_CHECKING:
    import psycopg

__all__ = ["Leadership", "alone", "in_turn", "leader", "leading", "try_to_lead"]

_HOLDER = """
SELECT activity.application_name FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locktype = 'advisory' AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32) + objid::bigint = %(lock)s AND objsubid = 1
"""


class Leadership:
    """Held until `release`, or until this process or its connection ends. Thread-safe."""

    def __init__(self, session: psycopg.Connection[Any] | None) -> None:
        self._session = session
        self._lock = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Whether it still is: a connection that was cut has lost it."""
        with self._lock:
            if self._session is None:
                return True
            with contextlib.suppress(Exception):
                self._session.execute("SELECT 1")
            return not self._session.closed

    def release(self) -> None:
        """Let another process lead."""
        with self._lock:
            if self._session is not None:
                self._session.close()


def try_to_lead(database: Database, what: str) -> Leadership | None:
    """Lead in `what`, or None: another process does. Errors: those of the ledger."""
    if database.server is None:
        return Leadership(None)
    session = database.server.connect()
    try:
        row = session.execute("SELECT pg_try_advisory_lock(%s)", [_number(what)]).fetchone()
    except BaseException as error:
        session.close()
        raise database.server.error(error) from error
    if row is not None and row[0]:
        return Leadership(session)
    session.close()
    return None


@contextmanager
def leading(database: Database, what: str) -> Iterator[bool]:
    """Whether this process leads in `what` while the block runs."""
    leadership = try_to_lead(database, what)
    try:
        yield leadership is not None
    finally:
        if leadership is not None:
            leadership.release()


@contextmanager
def in_turn(database: Database, what: str) -> Iterator[None]:
    """One process at a time runs the block; others wait, however long. Not to be nested for the same `what`."""
    if database.server is None:
        yield
        return
    session = database.server.connect()
    with contextlib.closing(session):
        try:
            session.execute(
                "SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false)"
            )
            session.execute("SELECT pg_advisory_lock(%s)", [_number(what)])
        except BaseException as error:
            raise database.server.error(error) from error
        yield


def leader(database: Database, what: str) -> str:
    """Who leads: "PID on HOST"; empty when nobody does, or it cannot be told."""
    if database.server is None:
        return ""
    session = database.server.connect()
    with contextlib.closing(session):
        row = session.execute(_HOLDER, {"lock": _number(what)}).fetchone()
    return "" if row is None else str(row[0]).removeprefix("embedhouse ")


def alone(connection: Connection, what: str) -> None:
    """Until the transaction ends no other process does `what`; waits for one that does."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _number(what)})


def _number(what: str) -> int:
    digest = hashlib.sha256(f"embedhouse {what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # PostgreSQL's are signed, and shown in two halves
