"""A connection to somebody else's database: it only reads, and fails in our own words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from embedhouse.domain.errors import (
    EmbedhouseError,
    InvalidSetting,
    MissingExtra,
    SourceRefused,
    SourceUnauthorized,
    SourceUnavailable,
)
from embedhouse.sources.addresses import database_url

__all__ = ["SourceDatabase"]

_CONNECT_TIMEOUT_S = 10
_UNAUTHORIZED = ("authentication failed", "access denied", "no password supplied", "login failed")
_UNKNOWN_ROLE = re.compile(r'role "[^"]*" does not exist')
# SQLSTATE classes: connection, resources, operator's intervention, system.
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_SAMPLE_REMEDY = "Correct the source: `embedhouse source remove`, then `embedhouse source add`."


class SourceDatabase:
    """Read transactions on the database that an environment variable names.

    Errors of making one: InvalidSetting, MissingExtra, SourceRefused. Of reading: SourceUnavailable,
    SourceUnauthorized, SourceRefused.
    """

    def __init__(self, name: str, variable: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._variable = variable
        url = database_url(variable, environ, name)
        self._secret = str(url.password or "")
        self._engine = self._opened(url)

    @property
    def dialect(self) -> str:
        """As SQLAlchemy names it."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction of its own."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._typed(error) from None
        except SQLAlchemyError as error:
            raise self._refused(str(error)) from None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _opened(self, url: URL) -> Engine:
        kind = url.get_backend_name()
        if kind == "sqlite":
            _check_file(self._name, url)
        try:
            engine = create_engine(url, pool_size=2, connect_args=_connect_args(kind), hide_parameters=True)
        except NoSuchModuleError:
            reason = f"there is no database of the kind {url.drivername!r}"
            raise InvalidSetting(name=self._variable, origin="environment", reason=reason) from None
        except ImportError as error:
            raise self._driver_missing(kind, error) from None
        if kind == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        if kind == "postgresql":
            engine = engine.execution_options(postgresql_readonly=True)
        return engine

    def _driver_missing(self, kind: str, error: ImportError) -> EmbedhouseError:
        if kind == "postgresql":
            return MissingExtra(what=f"Source {self._name}, which is in PostgreSQL,", extra="postgresql")
        reason = f"its driver is not installed: pip install {error.name}"
        return InvalidSetting(name=self._variable, origin="environment", reason=reason)

    def _typed(self, error: DBAPIError) -> EmbedhouseError:
        reason = self._shown(error.orig)
        low = reason.lower()
        if any(words in low for words in _UNAUTHORIZED) or _UNKNOWN_ROLE.search(reason):
            return SourceUnauthorized(source=self._name, reason=reason, variable=self._variable)
        state = str(getattr(error.orig, "sqlstate", None) or "")
        if error.connection_invalidated or state[:2] in _TRANSIENT_CLASSES or _is_cut_off(error, state, low):
            return SourceUnavailable(source=self._name, reason=reason)
        return self._refused(reason)

    def _refused(self, reason: str) -> SourceRefused:
        return SourceRefused(source=self._name, reason=self._without_secret(reason), remedy=_SAMPLE_REMEDY)

    def _shown(self, error: BaseException | None) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return self._without_secret("; ".join(lines[:2]) or type(error).__name__).rstrip(".")

    def _without_secret(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def _is_cut_off(error: DBAPIError, state: str, reason: str) -> bool:
    """Whether the server is down or the connection broke: most drivers tell it by the class of the error alone."""
    if isinstance(error.orig, sqlite3.Error):
        return "locked" in reason or "disk i/o" in reason
    named = type(error).__name__ in ("OperationalError", "InterfaceError")
    return named and not state and "does not exist" not in reason and "unknown database" not in reason


def _connect_args(kind: str) -> dict[str, Any]:
    if kind == "sqlite":
        return {"timeout": float(_CONNECT_TIMEOUT_S)}
    return {"connect_timeout": _CONNECT_TIMEOUT_S} if kind in ("postgresql", "mysql", "mariadb") else {}


def _check_file(name: str, url: URL) -> None:
    """SQLite would make a file that is not there."""
    path = url.database or ""
    if not path.startswith("file:") and not Path(path).is_file():
        raise SourceRefused(
            source=name,
            reason=f"there is no file {path or '(none is named)'}",
            remedy="Write sqlite:// and the whole path: sqlite:////home/me/shop.db.",
        )


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA query_only=ON")
    # Text that is not UTF-8 is a fault of its row: the driver's own decoding would end the run.
    connection.text_factory = _decoded


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
