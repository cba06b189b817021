"""A SQL table or query as a source: whole, or what changed since a mark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Row, Select

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import DuplicateId, EmbedhouseError, TooLarge, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.marks import Mark
from embedhouse.sources.rows import is_marked_deleted, row_id, row_to_document
from embedhouse.sources.sql_engine import SourceDatabase
from embedhouse.sources.sql_rows import SIZE, Relation
from embedhouse.sources.sql_settings import SqlSourceSettings

__all__ = ["SqlSource"]

_FIRST_PAGE_ROWS = 200
_CHARACTERS_PER_PAGE = 16_000_000
_IDS_PER_PAGE = 20_000
_IDS_PER_LOOKUP = 500

_Page = Callable[[Any, int], Select[Any]]


class SqlSource:
    """Rows as documents, each page in a transaction of its own, in the order of ids (or of versions, then ids).

    With a `mark` it reads only what changed since; `whole` says which. After `read`, `mark` is how far it came:
    keep it once everything that was read is safe. A row that cannot be read is an item with an error and its id; a
    row that its own column says is deleted is an item with that id and `deleted`. What ends the run is an error:
    SourceUnavailable, SourceUnauthorized, SourceRefused; then nothing may be concluded from what is missing.
    """

    def __init__(
        self,
        name: str,
        settings: SqlSourceSettings,
        environ: Mapping[str, str],
        *,
        mark: Mark | None = None,
        max_text_bytes: int = 50_000_000,
    ) -> None:
        self._name = name
        self._settings = settings
        self._max_text_bytes = max_text_bytes
        self._since = mark if settings.version_column else None
        self._database = SourceDatabase(name, settings.url_env, environ)
        self._found: Relation | None = None
        self.whole = self._since is None
        self.mark: Mark | None = mark
        self.source = f"sql:{name}"

    @property
    def reads_all_ids(self) -> bool:
        """See SqlSourceSettings."""
        return self._settings.reads_all_ids

    def check(self) -> None:
        """Errors: those of the address, the password, the table and its columns."""
        with self._database.read() as connection:
            self._relation(connection)

    def sizes(self) -> Iterable[int]:
        """Unknown."""
        return ()

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """Each row once; see the class."""
        yield from self._without_id()
        newest, now = self._newest()
        if self._since is None or newest is None or newest.kind != self._since.kind:
            self.whole = True
            yield from self._distinct(self._pages(self._relation().by_id, self._key, deadline))
            reached = newest
        else:
            self._reached = self._since
            yield from self._changed(self._since, newest, deadline)
            yield from self._items(self._pages(self._relation().without_version, self._key, deadline))
            reached = self._reached
        self.mark = reached.capped(now) if reached else None

    def ids(self, deadline: Deadline) -> Iterator[tuple[str, Any]]:
        """(a document's id, the row's own) of every row that is not marked as deleted, in the order of ids."""
        deleted = self._settings.shape.deleted_column
        after = None
        while True:
            deadline.check(f"reading the ids of source {self._name}")
            with self._database.read() as connection:
                page = connection.execute(self._relation(connection).ids(deleted, after, _IDS_PER_PAGE)).all()
            for key, mark in page:
                if (document_id := self._document_id(key)) and not self._is_deleted(mark):
                    yield document_id, key
            if len(page) < _IDS_PER_PAGE:
                return
            after = page[-1][0]

    def rows_of(self, keys: Sequence[Any], deadline: Deadline) -> Iterator[SourceItem]:
        """The rows of these ids (the rows' own)."""
        for start in range(0, len(keys), _IDS_PER_LOOKUP):
            deadline.check(f"reading source {self._name}")
            with self._database.read() as connection:
                relation = self._relation(connection)
                page = connection.execute(relation.of_ids(keys[start : start + _IDS_PER_LOOKUP])).all()
            yield from self._items(page)

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def _relation(self, connection: Connection | None = None) -> Relation:
        if self._found is None:
            if connection is None:
                with self._database.read() as opened:
                    return self._relation(opened)
            self._found = Relation(connection, self._settings, self._name, self._max_text_bytes)
            self._key = itemgetter(self._found.names.index(self._settings.shape.id_column))
        return self._found

    def _newest(self) -> tuple[Mark | None, object]:
        """The mark at the greatest version that there is, and the database's time."""
        if self._settings.version_column is None:
            return None, None
        with self._database.read() as connection:
            newest, now = connection.execute(self._relation(connection).newest_version()).one()
        return Mark.of(newest), now

    def _without_id(self) -> Iterator[SourceItem]:
        with self._database.read() as connection:
            count = int(connection.execute(self._relation(connection).count_without_id()).scalar_one())
        if count:
            column = self._settings.shape.id_column
            reason = f"{count:,} rows have no id: {column} is NULL"
            yield SourceItem(error=UnreadableSource(source=self.source, reason=reason), source=self.source)

    def _pages(self, statement: _Page, cursor: Callable[[Row[Any]], Any], deadline: Deadline) -> Iterator[Row[Any]]:
        """Rows of page after page, each after the `cursor` of the last row. Pages are small at first, and later as
        large as the rows' sizes allow."""
        after, limit = None, min(_FIRST_PAGE_ROWS, self._settings.page_rows)
        while True:
            deadline.check(f"reading source {self._name}")
            with self._database.read() as connection:
                page = connection.execute(statement(after, limit)).all()
            yield from page
            if len(page) < limit:
                return
            after, limit = cursor(page[-1]), self._page_rows(page)

    def _page_rows(self, page: Sequence[Row[Any]]) -> int:
        """How many rows the next page may have, if they are as long as these."""
        characters = sum(len(value) for row in page for value in row if isinstance(value, str))
        return max(1, min(self._settings.page_rows, _CHARACTERS_PER_PAGE * len(page) // max(1, characters)))

    def _changed(self, since: Mark, newest: Mark, deadline: Deadline) -> Iterator[SourceItem]:
        """What changed since the mark. A row that is changed while this reads may come twice: then the whole of it
        is left for the next run to look at again."""
        settings, relation = self._settings, self._relation()
        start, upto = since.start(settings.overlap_s, settings.overlap_versions), newest.version()
        version = itemgetter(relation.names.index(settings.version_column or ""))

        def page(after: Any, limit: int) -> Select[Any]:
            return relation.by_version(start, upto, after, limit)

        seen: set[int] = set()
        reached: Mark | None = since
        for row in self._pages(page, lambda row: (version(row), self._key(row)), deadline):
            mark = _hash(self._key(row))
            if mark in seen:
                reached = None
                continue
            seen.add(mark)
            yield self._item(row)
            reached = reached and Mark.of(version(row))
        self._reached = reached or since

    def _distinct(self, rows: Iterable[Row[Any]]) -> Iterator[SourceItem]:
        """Every row as an item; an error where its id was there before. Hashes are kept, not ids."""
        seen: set[int] = set()
        for row in rows:
            mark = _hash(self._key(row))
            if mark in seen:
                yield self._duplicate(self._key(row))
                continue
            seen.add(mark)
            yield self._item(row)

    def _duplicate(self, key: object) -> SourceItem:
        return SourceItem(error=DuplicateId(id=str(key)), source=self._where(key), id=self._document_id(key))

    def _items(self, rows: Iterable[Row[Any]]) -> Iterator[SourceItem]:
        return map(self._item, rows)

    def _item(self, row: Row[Any]) -> SourceItem:
        shape = self._settings.shape
        fields = self._relation().as_dict(row)
        where = self._where(fields[shape.id_column])
        try:
            if is_marked_deleted(fields, shape):
                return SourceItem(
                    id=row_id(fields[shape.id_column], shape.id_prefix, where), deleted=True, source=where
                )
            if fields[SIZE] > self._max_text_bytes:
                raise _too_large(where, fields[SIZE], self._max_text_bytes)
            document = row_to_document(
                fields, shape, source=self.source, where=where, max_text_bytes=self._max_text_bytes
            )
        except EmbedhouseError as error:
            return SourceItem(error=error, source=where, id=self._document_id(fields[shape.id_column]))
        return SourceItem(document=document, source=where)

    def _where(self, key: object) -> str:
        return f"{self.source}, row {key}"

    def _document_id(self, key: object) -> str:
        """The document's id, or an empty string where a row's is none."""
        try:
            return row_id(key, self._settings.shape.id_prefix, self.source)
        except UnreadableSource:
            return ""

    def _is_deleted(self, mark: object) -> bool:
        shape = self._settings.shape
        return shape.deleted_column is not None and is_marked_deleted({shape.deleted_column: mark}, shape)


def _hash(key: object) -> int:
    """Of whatever a database takes for a key."""
    return hash(key) if isinstance(key, int | str) else hash(repr(key))


def _too_large(where: str, characters: int, limit: int) -> TooLarge:
    return TooLarge(
        what=where,
        size=f"{characters:,} characters",
        limit=f"{limit:,} bytes",
        remedy="Split it into several documents, or raise max_text_bytes.",
    )
