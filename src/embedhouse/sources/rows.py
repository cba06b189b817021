"""Rows and events as documents: which columns are the id, the title, the text and the metadata."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.errors import InvalidInput, TooLarge, UnreadableSource

__all__ = ["RowShape", "check_columns", "is_marked_deleted", "row_id", "row_to_document"]

_Column = Annotated[str, Meta(min_length=1)]
_NOT_DELETED = frozenset({"", "0", "f", "false", "n", "no"})
_PLAIN = (str, int, float, bool)


class RowShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the columns of a row mean.

    The text is that of `text_columns` in their order, those that are empty left out, a blank line between them.
    A change in `title_column` or `text_columns` embeds a document again; in `metadata_columns` it does not; in
    other columns it does nothing. `deleted_column`: the row counts as deleted where it holds anything but NULL,
    false, 0, an empty string, "f", "false", "n" or "no" (a time of deletion, say). `id_prefix` is put in front of
    ids, so that two tables with the same ids fit into one collection.
    """

    id_column: _Column = "id"
    text_columns: Annotated[tuple[_Column, ...], Meta(min_length=1)] = ("text",)
    title_column: str | None = None
    metadata_columns: tuple[_Column, ...] = ()
    deleted_column: str | None = None
    id_prefix: str = ""

    @property
    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        optional = [name for name in (self.title_column, self.deleted_column) if name]
        return list(dict.fromkeys([self.id_column, *self.text_columns, *optional, *self.metadata_columns]))


def check_columns(wanted: Sequence[str], there: Sequence[str], what: str) -> None:
    """Errors: InvalidInput that names the columns that are missing, and those that exist."""
    missing = [name for name in wanted if name not in there]
    if missing:
        known = ", ".join(there) or "none"
        plural = "s" if len(missing) > 1 else ""
        raise InvalidInput(reason=f"{what} has no column{plural} {', '.join(missing)}; it has {known}")


def row_id(value: object, prefix: str, where: str) -> str:
    """A row's id as a document's. Errors: UnreadableSource."""
    if isinstance(value, str) and value.strip():
        return prefix + value
    if isinstance(value, int | uuid.UUID) and not isinstance(value, bool):
        return f"{prefix}{value}"
    if isinstance(value, decimal.Decimal) and value == value.to_integral_value():
        return f"{prefix}{int(value)}"
    raise UnreadableSource(
        source=where, reason=f"its id is {value!r}; an id must be a string, a whole number or a UUID"
    )


def row_to_document(
    row: Mapping[str, Any], shape: RowShape, *, source: str, where: str, max_text_bytes: int
) -> Document:
    """A row as a document; `where` names it in messages. What the text itself may be is checked when it is
    written. Errors: UnreadableSource (id, text), TooLarge."""
    document_id = row_id(row[shape.id_column], shape.id_prefix, where)
    parts = [_words(row[name], name, where) for name in shape.text_columns]
    text = "\n\n".join([part for part in parts if part.strip()])
    title = (
        " ".join(_words(row[shape.title_column], shape.title_column, where).split()) if shape.title_column else ""
    )
    text = text or title
    if not text:
        columns = ", ".join(shape.text_columns)
        raise UnreadableSource(source=where, reason=f"it has no text: {columns} NULL or empty")
    # A character has at most four bytes.
    if 4 * len(text) > max_text_bytes and (size := len(text.encode("utf-8", "replace"))) > max_text_bytes:
        raise TooLarge(
            what=where,
            size=f"{size:,} bytes",
            limit=f"{max_text_bytes:,} bytes",
            remedy="Split it into several documents, or raise max_text_bytes.",
        )
    metadata: Metadata = {}
    for name in shape.metadata_columns:
        if (value := row[name]) is not None:
            metadata[name] = value if type(value) in _PLAIN else _as_json(value, name, where)
    return Document(id=document_id, text=text, title=title, metadata=metadata, source=source)


def is_marked_deleted(row: Mapping[str, Any], shape: RowShape) -> bool:
    """Whether the row's own column says that it is deleted."""
    if shape.deleted_column is None:
        return False
    value = row[shape.deleted_column]
    return bool(value) and str(value).strip().lower() not in _NOT_DELETED


def _words(value: object, column: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool):
        return str(value)
    raise UnreadableSource(source=where, reason=f"its column {column} holds {type(value).__name__}, not text")


def _as_json(value: object, column: str, where: str) -> Any:
    """A column's value as JSON has it."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | dt.timedelta):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _as_json(item, column, where) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(item, column, where) for item in value]
    if value is None or isinstance(value, _PLAIN):
        return value
    raise UnreadableSource(
        source=where, reason=f"its column {column} holds {type(value).__name__}, which JSON does not have"
    )
