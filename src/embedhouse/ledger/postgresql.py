"""The ledger on PostgreSQL: any number of processes read and write it at once."""

from __future__ import annotations

import os
import socket
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from embedhouse.domain.errors import EmbedhouseError, InvalidSetting, StoreRefused
from embedhouse.ledger.postgresql_errors import ledger_error

__all__ = ["LedgerServer", "PostgresDatabase"]

_OLDEST = 140_000
_CONNECT_S = 10
_POOL_WAIT_S = 30.0
_RECYCLE_S = 1800
_NAME_BYTES = 63
_EACH_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "30s",
    "statement_timeout": "300s",
    # A process that stands still must not keep others out of what it has locked.
    "idle_in_transaction_session_timeout": "120s",
    # So that the server notices within a minute that a machine is gone, and lets go of its locks.
    "tcp_keepalives_idle": "20",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class LedgerServer(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger on PostgreSQL: `postgresql://USER:PASSWORD@HOST/DATABASE`, and whatever else libpq takes.

    connections: how many one process opens at most. origin: where the URL was set.
    """

    url: str
    connections: int = 10
    origin: str = "argument"

    def __repr__(self) -> str:
        return f"LedgerServer({_shown(_parsed(self))!r})"


class PostgresDatabase:
    """Implements ledger.place.Place.

    Reads are REPEATABLE READ and read-only: a snapshot. Writes are READ COMMITTED: they lock what they change.
    Errors: InvalidSetting for a URL that PostgreSQL cannot have; nothing is connected yet.
    """

    is_shared = True

    def __init__(self, server: LedgerServer) -> None:
        given = _parsed(server)
        self.name = _shown(given)
        self._password = str(given.get("password") or os.environ.get("PGPASSWORD") or "")
        self._connections = server.connections
        self._arguments: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "application_name": _process_name(),
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            **given,
            "client_encoding": "utf8",
        }
        self.writer = self._engine(server.connections)
        self.reader = self.writer.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True, postgresql_deferrable=False
        )

    def connect(self) -> psycopg.Connection[Any]:
        """A connection outside of the pool, in autocommit: for locks that are held for long. Errors: those of
        `error`."""
        try:
            connection = psycopg.connect(**self._arguments, autocommit=True)
            self._prepare(connection, None)
        except psycopg.Error as error:
            raise self.error(error) from error
        return connection

    def error(self, cause: BaseException) -> EmbedhouseError:
        """See Place."""
        return ledger_error(cause, self.name, secret=self._password, connections=self._connections)

    def _engine(self, connections: int) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(**self._arguments),
            isolation_level="READ COMMITTED",
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_POOL_WAIT_S,
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_S,
            pool_use_lifo=True,
        )
        event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, connection: psycopg.Connection[Any], _record: Any) -> None:
        info = connection.info
        if info.server_version < _OLDEST:
            self._refuse(
                connection,
                f"it is PostgreSQL {info.server_version // 10_000}",
                f"Use {_OLDEST // 10_000} or newer.",
            )
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            self._refuse(
                connection,
                f"the database's encoding is {encoding}",
                "Make one with: CREATE DATABASE embedhouse ENCODING 'UTF8' TEMPLATE template0",
            )
        settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _EACH_SESSION.items())
        was, connection.autocommit = connection.autocommit, True
        connection.execute(f"SELECT {settings}".encode())
        connection.autocommit = was

    def _refuse(self, connection: psycopg.Connection[Any], reason: str, remedy: str) -> None:
        connection.close()
        raise StoreRefused(store=f"The ledger {self.name}", reason=reason, remedy=remedy)


def _parsed(server: LedgerServer) -> dict[str, Any]:
    reason = "it is not a URL of PostgreSQL: postgresql://USER:PASSWORD@HOST/DATABASE"
    if not server.url.startswith(("postgresql://", "postgres://")):
        raise InvalidSetting(name="ledger_url", origin=server.origin, reason=reason)
    try:
        given: dict[str, Any] = dict(conninfo_to_dict(server.url))
    except psycopg.Error:  # whose words may hold the password
        raise InvalidSetting(name="ledger_url", origin=server.origin, reason=reason) from None
    if not all(port.isdecimal() for port in str(given.get("port") or "0").split(",")):
        raise InvalidSetting(name="ledger_url", origin=server.origin, reason="its port is not a number")
    return given


def _shown(given: dict[str, Any]) -> str:
    """As it may be printed: whatever else the URL holds may be a secret."""
    user, host, port = (str(given.get(name) or "") for name in ("user", "host", "port"))
    place = f"{user}@{host}" if user else host
    return f"postgresql://{place}{f':{port}' if port else ''}/{given.get('dbname') or ''}"


def _process_name() -> str:
    """By which other processes, and whoever looks at pg_stat_activity, know this one."""
    name = f"embedhouse {os.getpid()} on {socket.gethostname()}"
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")
