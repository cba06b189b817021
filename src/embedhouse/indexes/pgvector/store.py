"""Indexes in PostgreSQL with pgvector: one table for each, HNSW over half-precision vectors, BM25 over a tsvector.

docs/decisions/stores.md says why a table for each; docs/how-to/stores.md what a server must have, and the options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import psycopg
from psycopg.rows import TupleRow

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import CapabilityMissing, InvalidSetting, StoreRefused
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.naming import object_name, options_of
from embedhouse.indexes.pgvector.index import GraphSettings, PgvectorIndex
from embedhouse.indexes.pgvector.link import Link, Session
from embedhouse.indexes.pgvector.schema import Mark, Tables, VectorKind, check_mark
from embedhouse.ports import IndexSpec

__all__ = ["PgvectorStore"]

T = TypeVar("T")

_OLDEST_SERVER = 140_000
_OLDEST_EXTENSION = (0, 8)
_MOST_DIMENSIONS: dict[VectorKind, int] = {"halfvec": 4_000, "vector": 2_000}
_INSTALL = (
    "Install pgvector 0.8 or later there (the package postgresql-NN-pgvector, or a provider's setting), and "
    "let a user who may do so run: CREATE EXTENSION vector"
)
_ALREADY_THERE = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject)


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    vectors: VectorKind = "halfvec"
    pool_min: int = 1
    pool_max: int = 10
    ef_search: int = 256
    graph_from: int = 5_000
    build_memory_mb: int = 1_024


class PgvectorStore:
    """The indexes of one house in one database. Thread-safe."""

    def __init__(self, link: Link, owner: str, options: _Options) -> None:
        self._link = link
        self._owner = owner
        self._vectors = options.vectors
        self._graph = GraphSettings(
            ef_search=options.ef_search, graph_from=options.graph_from, build_memory_mb=options.build_memory_mb
        )

    @classmethod
    def connect(cls, settings: StoreSettings, *, owner: str) -> PgvectorStore:
        """The store, once the server is found fit.

        Errors: InvalidSetting; StoreUnavailable; StoreUnauthorized; StoreRefused for a server that is too old or
        has no pgvector.
        """
        options = options_of(settings, _Options)
        _check_options(options)
        link = Link(settings, pool_min=options.pool_min, pool_max=options.pool_max)
        with link.connected() as session:
            _check_server(session, link.name)
        return cls(link, owner, options)

    def exists(self, name: str) -> bool:
        """Whether the index of that name is there."""
        return self._find(self._tables(name)) is not None

    def open(self, spec: IndexSpec) -> PgvectorIndex:
        """The index, made if it is not there. Errors: see ports.Store."""
        tables = self._tables(spec.name)
        wanted = self._mark(spec, tables)
        found = self._find(tables)
        if found is None:
            self._check_dimensions(spec)
            found = self._locked(lambda session: self._made(session, tables, wanted), "making an index")
        check_mark(found, wanted, self._link.name)
        return PgvectorIndex(self._link, tables, found, spec.lexical, self._graph)

    def _mark(self, spec: IndexSpec, tables: Tables) -> Mark:
        return Mark(
            owner=self._owner,
            name=tables.name,
            dimensions=spec.dimensions,
            vectors=self._vectors,
            sides=spec.sides,
            analyzer=spec.lexical.analyzer,
        )

    def _check_dimensions(self, spec: IndexSpec) -> None:
        most = _MOST_DIMENSIONS[self._vectors]
        if spec.sides != "lexical" and spec.dimensions > most:
            other = ' vectors = "halfvec" takes 4000.' if self._vectors == "vector" else ""
            raise CapabilityMissing(
                part=f"pgvector's graph over {self._vectors}",
                capability=f"{spec.dimensions} dimensions (at most {most})",
                remedy=f"Use a model of fewer dimensions, or cut its vectors with `dimensions`.{other}",
            )

    def _made(self, session: psycopg.Connection[TupleRow], tables: Tables, wanted: Mark) -> Mark:
        found = tables.find(session, self._link.name)
        if found is None:
            tables.make(session, wanted)
        return found or wanted

    def drop(self, name: str) -> None:
        """Delete the index of that name, if it is there. Errors: StoreRefused where it is not a house's."""
        tables = self._tables(name)

        def drop(session: psycopg.Connection[TupleRow]) -> None:
            if tables.find(session, self._link.name) is not None:
                tables.drop(session)

        self._locked(drop, "dropping an index")

    def close(self) -> None:
        """Close every connection."""
        self._link.close()

    def _tables(self, name: str) -> Tables:
        return Tables(object_name(self._owner, name))

    def _find(self, tables: Tables) -> Mark | None:
        return self._link.run(
            lambda session: tables.find(session, self._link.name), Deadline.never(), "looking for an index"
        )

    def _locked(self, work: Callable[[Session], T], doing: str) -> T:
        """Do it while no other process makes or drops an index of this house."""

        def alone(session: Session) -> T:
            with session.changing():
                session.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"embedhouse {self._owner}",)
                )
                return work(session)

        return self._link.run(alone, Deadline.never(), doing)


def _check_options(options: _Options) -> None:
    wrong = ""
    if not 0 <= options.pool_min <= options.pool_max or options.pool_max < 1:
        wrong = "pool_min is 0 or more, and pool_max at least 1 and not below pool_min"
    elif not 1 <= options.ef_search <= 1_000:
        wrong = "ef_search is 1 to 1000"
    elif options.graph_from < 0 or options.build_memory_mb < 1:
        wrong = "graph_from is 0 or more, and build_memory_mb at least 1"
    if wrong:
        raise InvalidSetting(name="stores", origin="the options of postgresql", reason=wrong)


def _check_server(session: psycopg.Connection[TupleRow], store: str) -> None:
    found = session.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
        " current_setting('server_encoding')"
    ).fetchone()
    assert found is not None
    number, version, encoding = found
    if number < _OLDEST_SERVER:
        reason, remedy = f"it is PostgreSQL {version}, and 14 or later is needed", "Upgrade it."
        raise StoreRefused(store=store, reason=reason, remedy=remedy)
    if encoding != "UTF8":
        reason = f"the database is encoded in {encoding}, and UTF8 is needed"
        raise StoreRefused(store=store, reason=reason, remedy="Make one with `createdb -E UTF8 -T template0`.")
    _check_extension(session, store)


def _check_extension(session: psycopg.Connection[TupleRow], store: str) -> None:
    version = _extension_version(session)
    if version is None:
        try:
            session.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except _ALREADY_THERE:
            pass  # another process was quicker
        except psycopg.Error as error:
            reason = f"it has no extension `vector`, and making it failed: {str(error).splitlines()[0]}"
            raise StoreRefused(store=store, reason=reason, remedy=_INSTALL) from error
        version = _extension_version(session) or "of no version"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST_EXTENSION:
        raise StoreRefused(
            store=store,
            reason=f"its extension `vector` is {version}, and 0.8 or later is needed for searches with filters",
            remedy="Install a newer pgvector there, then run: ALTER EXTENSION vector UPDATE",
        )


def _extension_version(session: psycopg.Connection[TupleRow]) -> str | None:
    found = session.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return None if found is None else str(found[0])
