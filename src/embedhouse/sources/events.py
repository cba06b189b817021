"""Messages of a topic as changes of documents."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import msgspec

from embedhouse.domain.documents import Document, check_length
from embedhouse.domain.errors import UnreadableSource
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.rows import is_marked_deleted, row_id, row_to_document

__all__ = ["Event", "Message", "read_event"]

_INT64 = 2**63
_OPERATIONS = {"upsert": True, "delete": False}
_ROW_WRITTEN = frozenset({"c", "u", "r"})
# Marks that a connector writes beside changes of rows.
_NO_CHANGE = frozenset({"m"})


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """As the broker has it. `sent_at_ms` since the epoch; 0 where it is not known."""

    topic: str
    partition: int
    offset: int
    sent_at_ms: int
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """As messages name it."""
        return f"{self.topic}, partition {self.partition}, offset {self.offset}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A change: the document, or None where it is deleted. `version`: what the event itself says; None: nothing."""

    document_id: str
    document: Document | None
    version: int | None


def read_event(
    message: Message, settings: KafkaSourceSettings, *, source: str, max_text_bytes: int
) -> Event | None:
    """The change that a message brings; None where it brings none. Errors: UnreadableSource (not JSON, no id, no
    text), TooLarge."""
    reader = _Reader(message, settings, source, max_text_bytes)
    if settings.envelope == "debezium":
        return reader.debezium()
    return reader.row() if settings.envelope == "row" else reader.document()


class _Reader:
    def __init__(self, message: Message, settings: KafkaSourceSettings, source: str, max_text_bytes: int) -> None:
        self._message = message
        self._settings = settings
        self._source = source
        self._max_text_bytes = max_text_bytes

    def document(self) -> Event:
        """The envelope of our own."""
        prefix = self._settings.shape.id_prefix
        if self._message.value is None:
            return Event(document_id=row_id(self._key(), prefix, self._where), document=None, version=None)
        fields = self._object(self._message.value, "value")
        operation = fields.get("op", "upsert")
        if operation not in _OPERATIONS:
            raise self._bad(f"its op is {operation!r}; it must be upsert or delete")
        given = fields["id"] if fields.get("id") is not None else self._key()
        document_id = row_id(given, prefix, self._where)
        version = self._version(fields)
        if not _OPERATIONS[operation]:
            return Event(document_id=document_id, document=None, version=version)
        text, title, metadata = fields.get("text"), fields.get("title") or "", fields.get("metadata") or {}
        if not isinstance(text, str) or not isinstance(title, str) or not isinstance(metadata, dict):
            raise self._bad("it needs a text; text and title must be strings, and metadata an object")
        check_length(text, self._max_text_bytes, self._where)
        document = Document(id=document_id, text=text, title=title, metadata=metadata, source=self._source)
        return Event(document_id=document_id, document=document, version=version)

    def row(self) -> Event:
        """A plain row."""
        if self._message.value is None:
            key = self._key_field()
            return Event(document_id=row_id(key, self._prefix, self._where), document=None, version=None)
        fields = self._object(self._message.value, "value")
        return self._row_event(fields, self._version(fields))

    def debezium(self) -> Event | None:
        """A row's change as Debezium tells it. What comes after a deletion, for compaction, has no value."""
        if self._message.value is None:
            return None
        payload = self._payload(self._object(self._message.value, "value"))
        operation = payload.get("op")
        if operation in _NO_CHANGE:
            return None
        version = self._version(payload)
        if operation in _ROW_WRITTEN and isinstance(payload.get("after"), dict):
            return self._row_event(payload["after"], version)
        if operation != "d":
            raise self._bad(f"its op is {operation!r}; only c, r, u and d change one document")
        before = payload.get("before")
        column = self._settings.shape.id_column
        key = before[column] if isinstance(before, dict) and before.get(column) is not None else self._key_field()
        return Event(document_id=row_id(key, self._prefix, self._where), document=None, version=version)

    def _row_event(self, row: dict[str, Any], version: int | None) -> Event:
        shape = self._settings.shape
        fields = dict.fromkeys(shape.columns) | row
        if fields[shape.id_column] is None:
            fields[shape.id_column] = self._key_field()
        if is_marked_deleted(fields, shape):
            document_id = row_id(fields[shape.id_column], shape.id_prefix, self._where)
            return Event(document_id=document_id, document=None, version=version)
        document = row_to_document(
            fields, shape, source=self._source, where=self._where, max_text_bytes=self._max_text_bytes
        )
        return Event(document_id=document.id, document=document, version=version)

    @property
    def _prefix(self) -> str:
        return self._settings.shape.id_prefix

    @property
    def _where(self) -> str:
        return self._message.place

    def _bad(self, reason: str) -> UnreadableSource:
        return UnreadableSource(source=self._where, reason=reason)

    def _key(self) -> object:
        """The message's key as an id."""
        if not self._message.key:
            raise self._bad("it has no id, and the message no key")
        try:
            return self._message.key.decode()
        except UnicodeDecodeError:
            raise self._bad("it has no id, and the message's key is not UTF-8") from None

    def _key_field(self) -> object:
        """The id column of the message's key, or the key itself where it is no object."""
        text = self._key()
        try:
            key = msgspec.json.decode(str(text))
        except msgspec.DecodeError:
            return text
        if not isinstance(key, dict):
            return key
        key = self._payload(key)
        column = self._settings.shape.id_column
        if key.get(column) is None:
            raise self._bad(f"it has no id: neither the row nor the message's key has {column}")
        return key[column]

    @staticmethod
    def _payload(value: dict[str, Any]) -> dict[str, Any]:
        payload = value.get("payload")
        return payload if isinstance(payload, dict) and "schema" in value else value

    def _object(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._bad(f"its {what} is not a JSON object in UTF-8 ({error})") from None

    def _version(self, fields: dict[str, Any]) -> int | None:
        """What stands at `version_field`; times count in microseconds."""
        value: Any = fields
        for name in filter(None, self._settings.version_field.split(".")):
            value = value.get(name) if isinstance(value, dict) else None
        if value is None or value is fields:
            return None
        version = _as_version(value)
        if version is None or not -_INT64 <= version < _INT64:
            raise self._bad(f"its version is {value!r}; it must be a whole number or a time in ISO 8601")
        return version


def _as_version(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if not isinstance(value, str):
        return None
    try:
        number = decimal.Decimal(value)
        return int(number) if number.is_finite() and number == number.to_integral_value() else None
    except decimal.InvalidOperation:
        return _microseconds(value)


def _microseconds(text: str) -> int | None:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
    return (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
