"""The tables of one index in PostgreSQL: who made them, for what, and with which columns."""

from __future__ import annotations

from typing import Literal, LiteralString

import msgspec
import numpy as np
import psycopg
from pgvector import HalfVector, Vector
from psycopg.sql import SQL, Composable, Composed, Identifier
from psycopg.sql import Literal as Quoted

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import IndexDamaged, StoreRefused
from embedhouse.ports import Sides

__all__ = ["Mark", "Tables", "VectorKind", "check_mark"]

VectorKind = Literal["halfvec", "vector"]
_LAYOUT = 1
_MARK = "embedhouse index "
# Rows up to this size stay whole: the default moves the vectors of most out of the table, and each would be fetched
# from elsewhere.
_ROW_BYTES = 8160


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The comment on a table that is an index of a house: what is in it."""

    owner: str
    name: str
    dimensions: int
    vectors: VectorKind
    sides: Sides
    analyzer: str
    layout: int = _LAYOUT

    @property
    def has_vectors(self) -> bool:
        """Whether it answers searches by meaning."""
        return self.sides != "lexical"

    @property
    def has_words(self) -> bool:
        """Whether it answers searches by words."""
        return self.sides != "dense"

    @property
    def vector_type(self) -> Composed:
        """`halfvec(384)` or the like."""
        kind = SQL("halfvec") if self.vectors == "halfvec" else SQL("vector")
        return SQL("{}({})").format(kind, Quoted(self.dimensions))

    @property
    def vector_bytes(self) -> int:
        """Of one vector."""
        return self.dimensions * (2 if self.vectors == "halfvec" else 4)

    def value_of(self, vector: Vectors) -> HalfVector | Vector:
        """The vector as it is kept and asked for: of length 1."""
        unit = (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)
        return HalfVector(unit) if self.vectors == "halfvec" else Vector(unit)

    def text(self) -> str:
        """As it is written."""
        return _MARK + msgspec.json.encode(self).decode()

    @staticmethod
    def parse(comment: str | None) -> Mark | None:
        """The mark; None for a comment that is none, or of another layout."""
        if comment is None or not comment.startswith(_MARK):
            return None
        try:
            found = msgspec.json.decode(comment.removeprefix(_MARK), type=Mark)
        except msgspec.DecodeError:
            return None
        return found if found.layout == _LAYOUT else None


class Tables:
    """The names of an index's objects, and the statements that make, find and drop them. `table` may be used in
    statements as `{table}`, and the table of statistics as `{statistics}`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.table = Identifier(name)
        self.statistics = Identifier(f"{name}_terms")
        self.graph_name = f"{name}_graph"
        self.graph = Identifier(self.graph_name)

    def sql(self, text: LiteralString, **parts: Composable) -> Composed:
        """The statement, with the two tables and other parts put in."""
        return SQL(text).format(table=self.table, statistics=self.statistics, **parts)

    def find(self, session: psycopg.Connection[tuple[object, ...]], store: str) -> Mark | None:
        """The mark of what is there; None where nothing is. Errors: StoreRefused where it is not a house's."""
        found = session.execute(
            "SELECT obj_description(oid, 'pg_class'), relkind::text FROM pg_class WHERE oid = to_regclass(%s)",
            (self.name,),
        ).fetchone()
        if found is None:
            return None
        mark = Mark.parse(None if found[0] is None else str(found[0]))
        if mark is None or found[1] != "r":
            raise StoreRefused(
                store=store,
                reason=f"{self.name!r} exists there and is not an index of this version of Embedhouse; it is not "
                "touched",
                remedy="Rename it, or name another database or schema (?options=-csearch_path%3DSCHEMA).",
            )
        return mark

    def make(self, session: psycopg.Connection[tuple[object, ...]], mark: Mark) -> None:
        """Make the tables and the indexes that writing keeps; the graph comes with `optimise`."""
        for statement in self._statements(mark):
            session.execute(statement)

    def _statements(self, mark: Mark) -> list[Composed]:
        vector = SQL(", vector {} NOT NULL").format(mark.vector_type) if mark.has_vectors else SQL("")
        words = (
            ", words tsvector NOT NULL, counts jsonb NOT NULL, length integer NOT NULL" if mark.has_words else ""
        )
        statements = [
            self.sql(
                "CREATE TABLE {table} (key bigint PRIMARY KEY, namespace text NOT NULL,"
                " document_id text NOT NULL, terms jsonb NOT NULL, ranges jsonb NOT NULL{vector}{words})"
                " WITH (toast_tuple_target = {row_bytes})",
                vector=vector,
                words=SQL(words),
                row_bytes=Quoted(_ROW_BYTES),
            ),
            self.sql("COMMENT ON TABLE {table} IS {mark}", mark=Quoted(mark.text())),
            self._index("namespaces", "btree (namespace)"),
            self._index("metadata", "gin (terms)"),
            self.sql(
                'CREATE TABLE {statistics} (term text COLLATE "C" NOT NULL, documents bigint NOT NULL,'
                " length bigint NOT NULL)"
            ),
            self.sql("COMMENT ON TABLE {statistics} IS {mark}", mark=Quoted(f"statistics of {self.name}")),
            self.sql("CREATE INDEX {index} ON {statistics} (term)", index=Identifier(f"{self.name}_by_term")),
        ]
        return [*statements, self._index("words", "gin (words)")] if mark.has_words else statements

    def _index(self, suffix: str, over: LiteralString) -> Composed:
        name = Identifier(f"{self.name}_{suffix}")
        return self.sql("CREATE INDEX {index} ON {table} USING {over}", index=name, over=SQL(over))

    def graph_of(self, mark: Mark, *, links: int, width: int) -> Composed:
        """The statement that builds the graph, where there is none, while others read and write."""
        return self.sql(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS {graph} ON {table} USING hnsw (vector {operators})"
            " WITH (m = {links}, ef_construction = {width})",
            graph=self.graph,
            operators=SQL("halfvec_cosine_ops") if mark.vectors == "halfvec" else SQL("vector_cosine_ops"),
            links=Quoted(links),
            width=Quoted(width),
        )

    def drop(self, session: psycopg.Connection[tuple[object, ...]]) -> None:
        """Delete the tables with all that belongs to them."""
        session.execute(self.sql("DROP TABLE IF EXISTS {table}, {statistics}"))


def check_mark(found: Mark, wanted: Mark, store: str) -> None:
    """Errors: IndexDamaged where the index was made for something else. Either kind of vectors will do."""
    same = msgspec.structs.replace(wanted, vectors=found.vectors)
    if found != same:
        raise IndexDamaged(path=f"{store}, table {found.name}", reason=f"it is {found}, and {same} is needed")
