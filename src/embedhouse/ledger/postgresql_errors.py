"""What PostgreSQL or its driver reported, as a typed error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy.exc import TimeoutError as PoolTimeout

from embedhouse.domain.errors import (
    DiskFull,
    EmbedhouseError,
    InvalidInput,
    Overloaded,
    ReadOnly,
    StorageError,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.ledger.place import LedgerContended

__all__ = ["ledger_error"]

_NO_DATABASE = "3D000"
_OWN_DATABASE = "Give Embedhouse a database of its own, or a schema: ?options=-csearch_path%3DSCHEMA in the URL."
_GRANT = "Let the user read, write and make tables: GRANT ALL ON SCHEMA public TO USER."
_CREATE = "Make it with `createdb`, or name another one in ledger_url."
_SET_IT = "Set it in ledger_url, in PGPASSWORD or in ~/.pgpass."


def ledger_error(cause: BaseException, name: str, *, secret: str, connections: int) -> EmbedhouseError:
    """The error that a statement, a commit or the way to the server ended with. `secret`, a password, is in none.

    StoreUnavailable: cut off, too slow, or not there (LedgerContended: lost to another transaction);
    StoreUnauthorized; StoreRefused: no such database, no rights, tables that are not ours; DiskFull; ReadOnly;
    InvalidInput: text that PostgreSQL cannot hold; Overloaded: every connection is in use.
    """
    if isinstance(cause, PoolTimeout):
        what = f"{connections} connections to the ledger (ledger_pool) are in use"
        return Overloaded(what=what, retry_after_s=1)
    reason = _words(cause, secret)
    state = getattr(cause, "sqlstate", None) or ""
    made = _BY_STATE.get(state) or _BY_CLASS.get(state[:2])
    store = f"The ledger {name}"
    if made is not None:
        return made(store, reason)
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | OSError):
        return _unconnected(cause, store, reason)
    if isinstance(cause, psycopg.DataError):
        return InvalidInput(reason=f"PostgreSQL cannot hold it: {reason}")
    return StorageError(reason=f"{store}: {reason}")


def _unconnected(cause: BaseException, store: str, reason: str) -> EmbedhouseError:
    """The driver gives no code for what went wrong before a session began."""
    attempt: Any = getattr(cause, "pgconn", None)
    if attempt is not None and (attempt.needs_password or attempt.used_password) and "password" in reason:
        return StoreUnauthorized(store=store, reason=reason, remedy=_SET_IT)
    if "no pg_hba.conf entry" in reason or "authentication failed" in reason or "role " in reason:
        return StoreUnauthorized(store=store, reason=reason, remedy=_SET_IT)
    if "database " in reason and "does not exist" in reason:
        return StoreRefused(store=store, reason=reason, remedy=_CREATE)
    return StoreUnavailable(store=store, reason=reason)


def _words(cause: BaseException, secret: str) -> str:
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # What follows the first line is context; of an attempt at several hosts, the last one's failure is the reason.
    reason = lines[-1] if lines and lines[0].endswith(":") else (lines[0] if lines else type(cause).__name__)
    reason = reason.replace(secret, "***") if secret else reason
    return reason.rstrip(".")


def _refused(remedy: str) -> Callable[[str, str], EmbedhouseError]:
    return lambda store, reason: StoreRefused(store=store, reason=reason, remedy=remedy)


def _unavailable(store: str, reason: str) -> EmbedhouseError:
    return StoreUnavailable(store=store, reason=reason)


def _contended(store: str, reason: str) -> EmbedhouseError:
    return LedgerContended(store=store, reason=reason)


def _unauthorized(store: str, reason: str) -> EmbedhouseError:
    return StoreUnauthorized(store=store, reason=reason, remedy=_SET_IT)


_BY_STATE: dict[str, Callable[[str, str], EmbedhouseError]] = {
    "25006": lambda store, _: ReadOnly(path=f"{store}: it is a standby, or set to be read-only, so it"),
    "25P03": _unavailable,
    "40001": _contended,
    "40P01": _contended,
    "55P03": _contended,
    "53100": lambda store, _: DiskFull(path=store),
    "57014": _unavailable,
    "42501": _refused(_GRANT),
    # A table, column or index that is not what our migrations made.
    "42P07": _refused(_OWN_DATABASE),
    "42703": _refused(_OWN_DATABASE),
    "42P01": _refused(_OWN_DATABASE),
    "42P16": _refused(_OWN_DATABASE),
    _NO_DATABASE: _refused(_CREATE),
}
_BY_CLASS: dict[str, Callable[[str, str], EmbedhouseError]] = {
    "08": _unavailable,
    "53": _unavailable,
    "57": _unavailable,
    "58": _unavailable,
    "28": _unauthorized,
    "22": lambda _, reason: InvalidInput(reason=f"PostgreSQL cannot hold it: {reason}"),
}
