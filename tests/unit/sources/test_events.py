"""Messages of a topic as changes of documents: the three envelopes, versions, and what is none."""

import json
from typing import Any

import pytest

from embedhouse.domain.errors import EmbedhouseError, InvalidInput
from embedhouse.sources.events import Event, Message, read_event
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.rows import RowShape

ROWS = RowShape(text_columns=("body",), title_column="title", metadata_columns=("year",), deleted_column="gone")
DEBEZIUM = KafkaSourceSettings(topic="t", envelope="debezium", shape=ROWS, version_field="source.lsn")
DOCUMENTS = KafkaSourceSettings(topic="t")


def _read(value: Any, settings: KafkaSourceSettings = DOCUMENTS, key: bytes | None = None) -> Event | None:
    data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    message = Message(topic="t", partition=2, offset=7, sent_at_ms=5, key=key, value=data)
    return read_event(message, settings, source="kafka:t", max_text_bytes=100)


def _event(value: Any, settings: KafkaSourceSettings = DOCUMENTS, key: bytes | None = None) -> Event:
    found = _read(value, settings, key)
    assert found is not None
    return found


def test_document_event_is_read() -> None:
    found = _event({"id": "a", "title": "T", "text": "Words.", "metadata": {"year": 2024}, "version": 3})
    assert found.document is not None
    assert (found.document_id, found.version, found.document.text) == ("a", 3, "Words.")
    assert (found.document.title, found.document.metadata, found.document.source) == (
        "T",
        {"year": 2024},
        "kafka:t",
    )


def test_document_event_without_id_takes_the_key() -> None:
    assert _event({"text": "Words."}, key=b"k/1").document_id == "k/1"


@pytest.mark.parametrize("value", [{"id": "a", "op": "delete"}, {"op": "delete", "version": None}, None])
def test_document_event_deletes(value: Any) -> None:
    found = _event(value, key=b"a")
    assert (found.document_id, found.document) == ("a", None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"text": "Words."}, "no id"),
        ({"id": True, "text": "Words."}, "its id is True"),
        ({"id": "a"}, "needs a text"),
        ({"id": "a", "text": 3}, "needs a text"),
        ({"id": "a", "text": "Words.", "op": "merge"}, "its op is 'merge'"),
        ({"id": "a", "text": "Words.", "version": "soon"}, "its version is 'soon'"),
        ({"id": "a", "text": "Words.", "version": True}, "its version is True"),
        ({"id": "a", "text": "Words.", "version": 2**70}, "its version is"),
        ({"id": "a", "text": "x" * 200}, "the limit is 100 bytes"),
        (b"\xff\xfe", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"", "not a JSON object"),
        (None, "no id"),
    ],
)
def test_poison_is_an_error_that_names_topic_partition_and_offset(value: Any, why: str) -> None:
    with pytest.raises(EmbedhouseError, match=why) as raised:
        _read(value)
    assert "t, partition 2, offset 7" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "version"),
    [(5, 5), ("12", 12), (3.0, 3), ("1970-01-01T00:00:01Z", 1_000_000), ("1970-01-01 00:00:00.5", 500_000)],
)
def test_versions_are_numbers_and_times(given: Any, version: int) -> None:
    assert _event({"id": "a", "text": "Words.", "version": given}).version == version


def _change(op: str, after: Any = None, before: Any = None, **more: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"lsn": 99}, **more}


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("with_schema", [False, True])
def test_debezium_row_is_a_document(op: str, with_schema: bool) -> None:
    change = _change(op, {"id": 7, "title": "T", "body": "Words.", "year": 2024, "other": 1})
    found = _event({"schema": {}, "payload": change} if with_schema else change, DEBEZIUM)
    assert found.document is not None
    assert (found.document_id, found.version) == ("7", 99)
    assert (found.document.text, found.document.metadata) == ("Words.", {"year": 2024})


def test_debezium_deletion_takes_the_id_from_before_or_from_the_key() -> None:
    assert _event(_change("d", before={"id": 7}), DEBEZIUM) == Event(document_id="7", document=None, version=99)
    assert _event(_change("d"), DEBEZIUM, key=b'{"id": 8}').document_id == "8"
    assert _event(_change("d"), DEBEZIUM, key=b'{"schema": {}, "payload": {"id": 9}}').document_id == "9"


def test_debezium_soft_deletion_is_one() -> None:
    assert _event(_change("u", {"id": 7, "body": "Words.", "gone": "2024-01-01"}), DEBEZIUM).document is None


def test_debezium_tombstones_and_messages_bring_no_change() -> None:
    assert _read(None, DEBEZIUM, key=b'{"id": 7}') is None
    assert _read({"op": "m", "message": {}}, DEBEZIUM) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (_change("t"), "its op is 't'"),
        (_change("u"), "its op is 'u'"),
        ({"no": "op"}, "its op is None"),
        (_change("c", {"body": "Words."}), "no id"),
        (_change("c", {"id": 7}), "no text"),
        (_change("d"), "no id"),
    ],
)
def test_debezium_poison_is_an_error(value: Any, why: str) -> None:
    with pytest.raises(EmbedhouseError, match=why):
        _read(value, DEBEZIUM)


def test_plain_row_is_read_as_a_tables_is() -> None:
    settings = KafkaSourceSettings(topic="t", envelope="row", shape=ROWS)
    assert _event({"id": 7, "body": "Words.", "version": 2}, settings).version == 2
    assert _event({"body": "Words."}, settings, key=b"9").document_id == "9"
    assert _event(None, settings, key=b'{"id": 7}') == Event(document_id="7", document=None, version=None)


@pytest.mark.parametrize("option", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret"])
def test_secret_options_are_not_kept(option: str) -> None:
    with pytest.raises(InvalidInput, match="options_env"):
        KafkaSourceSettings(topic="t", options={option: "x"})


def test_options_that_keep_promises_cannot_be_set() -> None:
    with pytest.raises(InvalidInput, match=r"enable\.auto\.commit"):
        KafkaSourceSettings(topic="t", options={"enable.auto.commit": "true"})
