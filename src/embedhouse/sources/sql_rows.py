"""The statements that read a table or a query, page by page after a cursor, never by offset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    case,
    cast,
    column,
    func,
    inspect,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
    type_coerce,
)
from sqlalchemy import Text as SqlText
from sqlalchemy.types import NullType

from embedhouse.domain.errors import InvalidInput, SourceRefused
from embedhouse.sources.rows import check_columns
from embedhouse.sources.sql_settings import SqlSourceSettings

__all__ = ["SIZE", "Relation"]

SIZE = "embedhouse_size"
"""Label of the column that holds a row's length in characters."""

_NAMES_SHOWN = 50
# Where `length` counts characters of text, and a cast to text is cheap.
_MEASURES_TEXT = ("sqlite", "postgresql")
_REMEDY = "Name a table or columns that exist."


class Relation:
    """The table or query on one connection's database, with statements over it. Values come as the driver has them:
    a value that cannot be converted must not end the run.

    Errors: SourceRefused, which names what exists.
    """

    def __init__(self, connection: Connection, settings: SqlSourceSettings, name: str, max_characters: int) -> None:
        self._name = name
        self._max_characters = max_characters
        self._measures = connection.dialect.name in _MEASURES_TEXT
        self._from, there = self._found(connection, settings)
        try:
            check_columns(settings.columns, there, settings.table or "the query")
        except InvalidInput as error:
            raise SourceRefused(source=name, reason=str(error), remedy=_REMEDY) from None
        columns = self._from.c
        self._id: ColumnElement[Any] = columns[settings.shape.id_column]
        version = settings.version_column
        self._version: ColumnElement[Any] | None = None if version is None else columns[version]
        self.names = settings.columns
        self._texts = settings.shape.text_columns
        self._selected = [self._read(each) for each in self.names]

    def by_id(self, after: Any | None, limit: int) -> Select[Any]:
        """Rows in the order of ids, after that id."""
        query = self._rows().where(self._id.is_not(None)).order_by(self._id).limit(limit)
        return query if after is None else query.where(self._id > after)

    def by_version(self, start: Any, upto: Any, after: tuple[Any, Any] | None, limit: int) -> Select[Any]:
        """Rows whose version lies between the two, both included, in the order of versions, then ids; after the
        (version, id) of the last one read."""
        assert self._version is not None
        query = self._rows().where(self._id.is_not(None), self._version <= upto)
        query = query.order_by(self._version, self._id).limit(limit)
        if after is None:
            return query.where(self._version >= start)
        version, row_id = after
        return query.where(or_(self._version > version, and_(self._version == version, self._id > row_id)))

    def without_version(self, after: Any | None, limit: int) -> Select[Any]:
        """Rows whose version is NULL, as by_id."""
        assert self._version is not None
        return self.by_id(after, limit).where(self._version.is_(None))

    def of_ids(self, ids: Sequence[Any]) -> Select[Any]:
        """The rows of these ids, in the order of ids."""
        return self._rows().where(self._id.in_(ids)).order_by(self._id)

    def ids(self, deleted: str | None, after: Any | None, limit: int) -> Select[Any]:
        """(id, what the column `deleted` holds) in the order of ids, after that id."""
        mark = literal(None) if deleted is None else self._from.c[deleted]
        query = select(self._id, mark).where(self._id.is_not(None)).order_by(self._id).limit(limit)
        return query if after is None else query.where(self._id > after)

    def newest_version(self) -> Select[Any]:
        """The greatest version, and the database's own time."""
        assert self._version is not None
        newest: ColumnElement[Any] = func.max(self._version, type_=NullType())
        now: ColumnElement[Any] = type_coerce(func.current_timestamp(), NullType())
        return select(newest, now)

    def count_without_id(self) -> Select[Any]:
        """How many rows have no id."""
        return select(func.count()).select_from(self._from).where(self._id.is_(None))

    def as_dict(self, row: Row[Any]) -> dict[str, Any]:
        """A row of `by_id` and the like by column names, with its size as SIZE."""
        return dict(zip((*self.names, SIZE), row, strict=True))

    def _rows(self) -> Select[Any]:
        return select(*self._selected, self._size().label(SIZE)).select_from(self._from)

    def _found(self, connection: Connection, settings: SqlSourceSettings) -> tuple[FromClause, list[str]]:
        if settings.query:
            return _query(connection, settings.query)
        schema, name = self._table_name(connection, settings.table)
        described = inspect(connection).get_columns(name, schema=schema)
        # SQLite has no truth values: only what its column was declared as says that a number is one.
        sqlite = connection.dialect.name == "sqlite"
        columns = [
            column(each["name"], Boolean() if sqlite and isinstance(each["type"], Boolean) else NullType())
            for each in described
        ]
        return table(name, *columns, schema=schema), [each["name"] for each in described]

    def _table_name(self, connection: Connection, given: str) -> tuple[str | None, str]:
        schema, _, name = given.rpartition(".")
        inspector = inspect(connection)
        for place in ((None, given), (schema, name)) if schema else ((None, given),):
            if inspector.has_table(place[1], schema=place[0]):
                return place
        known = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
        shown = ", ".join(known[:_NAMES_SHOWN]) + (", ..." if len(known) > _NAMES_SHOWN else "")
        reason = f"there is no table {given}; there are {shown or 'none at all'}"
        raise SourceRefused(source=self._name, reason=reason, remedy=_REMEDY)

    def _read(self, name: str) -> ColumnElement[Any]:
        """The column; a text over the limit is left where it is, so that it never crosses the wire."""
        found: ColumnElement[Any] = self._from.c[name]
        if not self._measures or name not in self._texts:
            return found.label(name)
        return case((self._length(name) <= self._max_characters, found), else_=None).label(name)

    def _size(self) -> ColumnElement[Any]:
        if not self._measures:
            return literal_column("0")
        return reduce(add, [func.coalesce(self._length(name), 0) for name in self._texts])

    def _length(self, name: str) -> ColumnElement[Any]:
        return func.length(cast(self._from.c[name], SqlText))


def _query(connection: Connection, query: str) -> tuple[FromClause, list[str]]:
    # Colons and percent signs of the query are its own, not ours.
    escaped = text(query.strip().rstrip(";").replace(":", "\\:"))
    described = select(text("*")).select_from(escaped.columns().subquery("q")).limit(0)
    there = list(connection.execute(described).keys())
    return escaped.columns(*[column(name, NullType()) for name in there]).subquery("q"), there
