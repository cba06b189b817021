"""Connections to PostgreSQL: a bounded pool, time limits on both sides, and errors in the house's words."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar

import psycopg
import stamina
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow
from psycopg.sql import Composed
from psycopg_pool import ConnectionPool, PoolTimeout

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, StoreUnavailable
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.pgvector.errors import is_cut_off, is_transient, label_of, store_error

__all__ = ["Link", "Session"]

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 5
_TRIES = 5
_TRIES_TIMEOUT_S = 10.0
_POOL_WAIT_S = 1.0
_LONGEST_S = 1_000_000
# A machine that is gone without a word is noticed within about half a minute.
_KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


# What compiling a query saves, no search is long enough to win back.
_SETTINGS = {"jit": "off", "enable_indexscan": "on"}


class Session(psycopg.Connection[TupleRow]):
    """A connection that stops waiting when its caller's deadline is over, and knows the server's settings."""

    def __init__(self, pgconn: PGconn) -> None:
        super().__init__(pgconn)
        self.deadline = Deadline.never()
        self._applied: dict[str, str] = {}

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """See psycopg.Connection.wait. Errors: DeadlineExceeded, Cancelled; the connection is closed then."""
        try:
            return super().wait(_watched(gen, self.deadline), *args, **options)
        except EmbedhouseError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Tell the server, which still works on what nobody waits for."""
        self.deadline = Deadline.never()
        with contextlib.suppress(psycopg.Error):
            self.cancel_safe(timeout=1.0)
        self.close()

    def apply(self, settings: Mapping[str, object]) -> None:
        """Give the server these settings for what follows, where they are others than before. Outside of a
        transaction. Its own time limit is a net below ours: rounded up, so that it seldom has to be told anew."""
        wanted = {**_SETTINGS, "statement_timeout": _limit_ms(self.deadline.remaining_s), **settings}
        changed = {name: str(value) for name, value in wanted.items() if self._applied.get(name) != str(value)}
        if changed:
            self.execute(
                "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS each(name, value)",
                (list(changed), list(changed.values())),
            )
            self._applied |= changed

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction."""
        self.apply({})
        with self.transaction():
            yield


def _limit_ms(remaining_s: float) -> int:
    """The next power of two in seconds; 0: no limit."""
    return 1_000 << math.ceil(remaining_s).bit_length() if remaining_s < _LONGEST_S else 0


def _watched(gen: Generator[Any, Any, T], deadline: Deadline) -> Generator[Any, Any, T]:
    ready: Any = None
    while True:
        try:
            state = gen.send(ready)
        except StopIteration as ended:
            return ended.value  # type: ignore[no-any-return]
        ready = yield state
        if not ready:  # nothing happened for a tenth of a second
            deadline.check("waiting for PostgreSQL")


class Link:
    """The way to one database. Thread-safe."""

    def __init__(self, settings: StoreSettings, *, pool_min: int, pool_max: int) -> None:
        self.name = label_of(settings.url)
        given = conninfo_to_dict(settings.url)
        self._password = settings.api_key or str(given.get("password") or "")
        own: dict[str, Any] = {
            "application_name": "embedhouse",
            "connect_timeout": _CONNECT_TIMEOUT_S,
            **_KEEPALIVE,
        }
        own = {key: value for key, value in own.items() if key not in given}
        if settings.api_key:
            own["password"] = settings.api_key
        self._conninfo = make_conninfo(settings.url, **own)
        self._suspect = False
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Session] | None = None
        self._sizes = pool_min, pool_max

    @contextlib.contextmanager
    def connected(self) -> Iterator[Session]:
        """A connection apart from the pool, for what takes long; closed after the block. Errors: those of a store,
        also for what is done with it."""
        try:
            with Session.connect(self._conninfo, autocommit=True, prepare_threshold=None) as session:
                yield session
        except psycopg.Error as error:
            raise store_error(error, self.name, self._password) from error

    def run(self, work: Callable[[Session], T], deadline: Deadline, doing: str) -> T:
        """The outcome of `work`, which is done again where that may help: it must be idempotent.

        Errors: those of a store and of the deadline; IndexDamaged for anything else that the server reports.
        """
        deadline.check(doing)
        try:
            try:
                return self._once(work, deadline)
            except (psycopg.Error, StoreUnavailable) as error:
                if not is_transient(error):
                    raise
            return self._again(work, deadline)
        except psycopg.Error as error:
            deadline.check(doing)
            raise store_error(error, self.name, self._password) from error
        except StoreUnavailable:
            deadline.check(doing)
            raise

    def _again(self, work: Callable[[Session], T], deadline: Deadline) -> T:
        limit_s = min(_TRIES_TIMEOUT_S, deadline.remaining_s)
        for attempt in stamina.retry_context(
            on=is_transient, attempts=_TRIES, timeout=limit_s, wait_initial=0.05, wait_max=1.0, wait_jitter=0.1
        ):
            with attempt:
                return self._once(work, deadline)
        raise AssertionError("retries end with an answer or an error")

    def _once(self, work: Callable[[Session], T], deadline: Deadline) -> T:
        session = self._borrow(deadline)
        session.deadline = deadline
        try:
            return work(session)
        except psycopg.Error as error:
            self._suspect |= is_cut_off(error)
            raise
        finally:
            session.deadline = Deadline.never()
            self._opened().putconn(session)

    def _borrow(self, deadline: Deadline) -> Session:
        pool = self._opened()
        while True:
            deadline.check("waiting for a connection to PostgreSQL")
            if self._suspect:
                self._find_out(pool)
            try:
                return pool.getconn(timeout=min(_POOL_WAIT_S, max(0.001, deadline.remaining_s)))
            except PoolTimeout:
                # The pool does not say why it has no connection: because all are in use, or because it gets none.
                self._suspect = pool.get_stats().get("pool_size", 0) == 0

    def _find_out(self, pool: ConnectionPool[Session]) -> None:
        """Whether the server answers, and if so, throw away the connections to what it was before. Errors: those of
        a store."""
        with self.connected():
            self._suspect = False
        pool.check()

    def _opened(self) -> ConnectionPool[Session]:
        with self._lock:
            if self._pool is None:
                least, most = self._sizes
                self._pool = ConnectionPool(
                    self._conninfo,
                    connection_class=Session,
                    kwargs={"autocommit": True, "prepare_threshold": None},
                    configure=register_vector,
                    min_size=least,
                    max_size=most,
                    # It tries again when the next caller asks, and never makes one wait for its patience to end.
                    reconnect_timeout=0.1,
                    open=True,
                )
            return self._pool

    def read(
        self,
        query: Composed,
        params: Mapping[str, Any],
        deadline: Deadline,
        doing: str,
        settings: Mapping[str, object] | None = None,
        *,
        binary: bool = False,
    ) -> list[TupleRow]:
        """The rows of one query. `settings`: of the server, for this query.
        `binary`: values come as they are kept, not as text."""

        def ask(session: Session) -> list[TupleRow]:
            session.apply(settings or {})
            with session.cursor(binary=binary) as cursor:
                return cursor.execute(query, params).fetchall()

        return self.run(ask, deadline, doing)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None
