"""What a reader found, as documents: ids, titles, metadata, checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from embedhouse.domain.documents import Document, Metadata, check_text
from embedhouse.domain.errors import TooLarge, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["check_file_size", "check_size", "file_item", "row_document"]

_ID_FIELDS = ("_id", "id")
_TITLE_FIELDS = ("title",)
_TEXT_FIELDS = ("text", "contents", "content", "body")


def file_item(file: FileToRead, text: str, title: str, settings: ReadSettings) -> Iterator[SourceItem]:
    """A file that is one document. Its metadata does not enter the content hash."""
    source = str(file.path)
    if not text.strip():
        raise UnreadableSource(source=source, reason="it holds no text")
    check_size(len(text.encode("utf-8", "replace")), source, settings)
    check_text(text, source)
    stat = file.path.stat()
    metadata: Metadata = {
        "path": file.name,
        "format": file.format,
        "modified": datetime.fromtimestamp(stat.st_mtime, UTC).isoformat(timespec="seconds"),
        "size_bytes": stat.st_size,
    }
    title = " ".join(title.replace("\x00", " ").split()) or file.path.stem
    document = Document(id=file.name, text=text, title=title, metadata=metadata, source=source)
    yield SourceItem(document=document, source=source)


def check_file_size(file: FileToRead, settings: ReadSettings) -> None:
    """Raise `TooLarge` before a file that is text throughout is read."""
    check_size(file.path.stat().st_size, str(file.path), settings)


def check_size(size: int, what: str, settings: ReadSettings) -> None:
    """Raise `TooLarge` for a text over the limit."""
    if size > settings.max_text_bytes:
        raise TooLarge(
            what=what,
            size=f"{size:,} bytes",
            limit=f"{settings.max_text_bytes:,} bytes",
            remedy="Split it into several documents, or raise max_text_bytes.",
        )


def row_document(
    fields: Mapping[str, Any], *, file: FileToRead, number: int, where: str, settings: ReadSettings
) -> Document:
    """A row as a document. A row without text but with a title has its title as text; an object in the field
    `metadata` is metadata itself. Errors: UnreadableSource, InvalidText, TooLarge; `where` names the row."""
    rest = dict(fields)
    id_field = _field(rest, settings.id_field, _ID_FIELDS, where)
    title_field = _field(rest, settings.title_field, _TITLE_FIELDS, where)
    text_field = _field(rest, settings.text_field, _TEXT_FIELDS, where, needed=True)
    document_id = _id(rest.pop(id_field), where) if id_field else f"{file.name}#{number}"
    title = _words(rest.pop(title_field), title_field, where) if title_field else ""
    text = _words(rest.pop(text_field), text_field, where) if text_field else ""
    text = text if text.strip() else title
    check_size(len(text), where, settings)
    for checked in (text, document_id, title) if title else (text, document_id):
        check_text(checked, where)
    return Document(id=document_id, text=text, title=title, metadata=_metadata(rest), source=str(file.path))


def _field(
    fields: Mapping[str, Any], named: str | None, usual: tuple[str, ...], where: str, *, needed: bool = False
) -> str | None:
    wanted = (named,) if named is not None else usual
    found = next((name for name in wanted if name in fields), None)
    if found is None and needed:
        raise UnreadableSource(
            source=where,
            reason=f"it has no field {' or '.join(wanted)}, only {', '.join(map(str, fields)) or 'none'}; name the "
            "field that holds the text with --text-field",
        )
    return found


def _id(value: object, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnreadableSource(source=where, reason=f"its id is {value!r}; an id must be a string or a whole number")


def _words(value: object, field: str | None, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise UnreadableSource(source=where, reason=f"its field {field} holds {type(value).__name__}, not text")


def _metadata(rest: dict[str, Any]) -> Metadata:
    nested = rest.get("metadata")
    if isinstance(nested, dict):
        rest = {**{name: value for name, value in rest.items() if name != "metadata"}, **nested}
    return {name: value for name, value in rest.items() if value is not None}
