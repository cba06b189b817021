"""What PostgreSQL reports, as the errors of a store."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from embedhouse.domain.errors import (
    EmbedhouseError,
    IndexDamaged,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)

__all__ = ["is_cut_off", "is_transient", "label_of", "store_error"]

_CREDENTIALS = (
    "Set the user in the store's url, and the password in PGPASSWORD, in ~/.pgpass or in the variable that "
    "api_key_env names."
)
_DATABASE = "Make the database with `createdb`, or name another one in the store's url."
_ROOM = "Free some space there, or give it more; what was acknowledged is safe and is written then."
_RIGHTS = "Let the user make tables: GRANT USAGE, CREATE ON SCHEMA public TO USER."
_WRITABLE = (
    "Name the primary server, not a standby; or undo default_transaction_read_only for this database and user."
)

_RENAME = "It is not touched: rename it, or name another database or schema (?options=-csearch_path%3DSCHEMA)."

_UNAUTHORIZED = {"28000", "28P01"}
_REFUSED = {"3D000": _DATABASE, "42501": _RIGHTS, "25006": _WRITABLE, "53100": _ROOM, "42P07": _RENAME}
# Damage of data and of indexes, and a table of ours that is gone or was changed.
_DAMAGED = {"XX001", "XX002", "42P01", "42703", "42883"}
# What may go well when it is done again: starting up or shutting down, two writers of one key, a failed lock.
_TRANSIENT = {"57P01", "57P02", "57P03", "40001", "40P01", "23505", "55P03", "53300"}
_CUT_OFF = {"57P01", "57P02", "57P03"}


def label_of(conninfo: str) -> str:
    """The server as it may be printed. Errors: StoreRefused for what is not an address of PostgreSQL."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # The driver's words may hold a piece of the password.
        raise StoreRefused(
            store="PostgreSQL",
            reason="its url cannot be read",
            remedy="Write it as postgresql://USER@HOST:5432/DATABASE, with % and other special characters encoded.",
        ) from None
    place = str(parts.get("host") or parts.get("hostaddr") or "the local socket")
    if port := parts.get("port"):
        place += f":{port}"
    return f"PostgreSQL at {place}/{parts.get('dbname') or ''}".rstrip("/")


def is_cut_off(error: BaseException) -> bool:
    """Whether it says that connections to the server are broken, or cannot be made."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    state = getattr(error, "sqlstate", None)
    return isinstance(error, psycopg.OperationalError) and (state is None or state in _CUT_OFF or state[:2] == "08")


def is_transient(error: BaseException) -> bool:
    """Whether the same, asked again, may succeed."""
    if isinstance(error, StoreUnavailable):
        return True
    return is_cut_off(error) or getattr(error, "sqlstate", None) in _TRANSIENT


def store_error(error: BaseException, store: str, password: str = "") -> EmbedhouseError:
    """The house's error for what the driver or the server said; the password is in none."""
    state = getattr(error, "sqlstate", None) or ""
    reason = _words(error, password)
    if state in _UNAUTHORIZED:
        return StoreUnauthorized(store=store, reason=reason, remedy=_CREDENTIALS)
    if state in _REFUSED:
        return StoreRefused(store=store, reason=reason, remedy=_REFUSED[state])
    if state in _DAMAGED:
        return IndexDamaged(path=store, reason=reason)
    if is_transient(error) or state[:2] in ("53", "57"):
        return _unconnected(error, store, reason)
    return IndexDamaged(path=store, reason=f"{state} {reason}".strip())


def _unconnected(error: BaseException, store: str, reason: str) -> EmbedhouseError:
    """Before a session begins the server's refusal has no code that the driver hands on, only words."""
    attempt: Any = getattr(error, "pgconn", None)
    asked = attempt is not None and (attempt.needs_password or attempt.used_password)
    if (asked and "password" in reason) or "no pg_hba.conf entry" in reason or "authentication failed" in reason:
        return StoreUnauthorized(store=store, reason=reason, remedy=_CREDENTIALS)
    if "does not exist" in reason and "role" in reason:
        return StoreUnauthorized(store=store, reason=reason, remedy=_CREDENTIALS)
    if "does not exist" in reason and "database" in reason:
        return StoreRefused(store=store, reason=reason, remedy=_DATABASE)
    return StoreUnavailable(store=store, reason=reason)


def _words(error: BaseException, password: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Of attempts at several addresses the last one's failure follows a headline that ends in a colon.
    reason = lines[-1] if lines and lines[0].endswith(":") else (lines[0] if lines else type(error).__name__)
    for secret in (password, urlsplit(password).password if "://" in password else None):
        reason = reason.replace(secret, "***") if secret else reason
    return reason.rstrip(".")
