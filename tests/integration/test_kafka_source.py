"""Changes from a topic into a house, through a broker that speaks Kafka's protocol."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_house import HashEmbedder, open_fake_house
from kafka_broker import OPTIONS, KafkaBroker

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import (
    Cancelled,
    InvalidSetting,
    SourceRefused,
    SourceUnavailable,
)
from embedhouse.domain.syncing import SourceSync
from embedhouse.house import House
from embedhouse.sources.kafka import KafkaSource
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.rows import RowShape

NEVER = Deadline.never()


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with KafkaBroker() as started:
        yield started


@pytest.fixture
def topic(broker: KafkaBroker) -> str:
    return broker.topic()


@pytest.fixture
def house(tmp_path: Path, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SOURCE_KAFKA_SERVERS", broker.servers)
    with open_fake_house(tmp_path / "home", HashEmbedder()) as opened:
        yield opened


def _settings(topic: str, **options: Any) -> KafkaSourceSettings:
    return KafkaSourceSettings(topic=topic, options=OPTIONS, **options)


def _sync(house: House) -> SourceSync:
    (only,) = house.sync("notes").sources
    return only


def _ids(house: House) -> set[str]:
    return {each.id for each in house.documents.list("notes", limit=1000).documents}


def _upsert(document_id: str, text: str = "Words.", **fields: Any) -> dict[str, Any]:
    return {"op": "upsert", "id": document_id, "text": text, **fields}


def test_kafka_sync_drains_the_topic_and_goes_on_where_it_stopped(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    for number in range(20):
        broker.send(topic, _upsert(f"d{number}", f"Words of {number}."), partition=number % 4)
    broker.flush()
    house.sources.bind("notes", _settings(topic, group=f"g-{topic}"))
    done = _sync(house)
    assert (done.outcome, done.read, done.added) == ("ok", 20, 20)
    assert broker.committed(topic, f"g-{topic}") == [5, 5, 5, 5]
    assert house.search("notes", "seven 7.", mode="lexical").hits[0].document_id == "d7"
    broker.send(topic, {"op": "delete", "id": "d1"}, partition=1)
    broker.send(topic, _upsert("d2", "Anew."), partition=2)
    broker.send(topic, None, key="d3", partition=3)
    broker.flush()
    done = _sync(house)
    assert (done.read, done.updated, done.deleted) == (3, 1, 2)
    assert _ids(house) == {f"d{number}" for number in range(20)} - {"d1", "d3"}
    assert _sync(house).read == 0


def test_kafka_source_writes_and_deletes_in_its_namespace_alone(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    house.collections.ensure("notes")
    house.documents.upsert("notes", [Document(id="a", text="Of all."), Document(id="b", text="Of all.")])
    for event in (_upsert("a", namespace="default"), _upsert("c"), {"op": "delete", "id": "b"}):
        broker.send(topic, event)
    broker.flush()
    house.sources.bind("notes", _settings(topic, namespace="acme"))
    done = _sync(house)
    assert (done.added, done.deleted) == (2, 0)
    broker.send(topic, {"op": "delete", "id": "a"})
    broker.flush()
    assert _sync(house).deleted == 1
    listed = house.documents.list("notes").documents
    assert [(each.namespace, each.id) for each in listed] == [("acme", "c"), ("default", "a"), ("default", "b")]
    assert house.documents.get("notes", "a").text == "Of all."


def test_kafka_events_that_are_late_repeated_or_out_of_order_do_nothing(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    house_events = [
        _upsert("a", "Version five.", version=5),
        _upsert("a", "Version three, late.", version=3),
        _upsert("a", "Version five again, other words.", version=5),
        {"op": "delete", "id": "b", "version": 9},
        _upsert("b", "Late after its deletion.", version=8),
        _upsert("c", "First."),
        _upsert("c", "Second."),
    ]
    for event in house_events:
        broker.send(topic, event)
    broker.flush()
    house.sources.bind("notes", _settings(topic))
    done = _sync(house)
    assert (done.read, done.added, done.ignored) == (7, 2, 4)
    for event in house_events[1:5]:
        broker.send(topic, event)
    broker.flush()
    done = _sync(house)
    assert (done.read, done.added, done.updated, done.deleted, done.ignored) == (4, 0, 0, 0, 4)
    assert house.documents.get("notes", "a").text == "Version five."
    assert house.documents.get("notes", "c").text == "Second."
    assert _ids(house) == {"a", "c"}


def test_kafka_events_without_version_are_ordered_by_time_over_partitions(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    broker.send(topic, _upsert("a", "Newer."), partition=1, sent_at_ms=2_000_000)
    broker.send(topic, _upsert("a", "Older."), partition=2, sent_at_ms=1_000_000)
    broker.flush()
    house.sources.bind("notes", _settings(topic))
    _sync(house)
    assert house.documents.get("notes", "a").text == "Newer."


def test_kafka_poison_becomes_dead_letters_with_topic_partition_and_offset(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    broker.send(topic, _upsert("good"), partition=3)
    broker.send(topic, b"{broken", partition=3)
    broker.send(topic, {"op": "upsert", "text": "Without an id."}, partition=3)
    broker.send(topic, _upsert("empty", "  "), partition=3)
    broker.flush()
    house.sources.bind("notes", _settings(topic), name="changes")
    done = _sync(house)
    assert (done.outcome, done.added, len(done.failures)) == ("partial", 1, 3)
    letters = house.sources.dead_letters("notes", "changes")
    assert [(one.topic, one.partition, one.offset, one.document_id) for one in letters] == [
        (topic, 3, 1, ""),
        (topic, 3, 2, ""),
        (topic, 3, 3, "empty"),
    ]
    assert [one.code for one in letters] == ["unreadable_source", "unreadable_source", "invalid_text"]
    assert _sync(house).read == 0
    broker.send(topic, _upsert("empty", "Not any more."), partition=3)
    broker.flush()
    assert _sync(house).outcome == "ok"
    left = house.sources.dead_letters("notes", "changes")
    assert [one.offset for one in left] == [1, 2]
    assert house.sources.drop_dead_letters("notes", "changes", [one.id for one in left]) == 2
    assert house.sources.list("notes")[0].dead_letters == 0


def test_kafka_debezium_changes_of_a_table(house: House, broker: KafkaBroker, topic: str) -> None:
    def change(op: str, number: int, body: str | None, lsn: int) -> None:
        row = {"id": number, "body": body, "year": 2024}
        value = {"op": op, "source": {"lsn": lsn}, "after": row if op != "d" else None, "before": {"id": number}}
        broker.send(
            topic, {"schema": {}, "payload": value}, key=f'{{"payload": {{"id": {number}}}, "schema": {{}}}}'
        )
        if op == "d":
            broker.send(topic, None, key=f'{{"payload": {{"id": {number}}}, "schema": {{}}}}')

    change("r", 1, "One.", 10)
    change("c", 2, "Two.", 11)
    change("u", 1, "One anew.", 12)
    change("d", 2, None, 13)
    broker.flush()
    shape = RowShape(text_columns=("body",), metadata_columns=("year",))
    house.sources.bind("notes", _settings(topic, envelope="debezium", shape=shape, version_field="source.lsn"))
    done = _sync(house)
    assert (done.outcome, done.added) == ("ok", 1)
    found = house.documents.get("notes", "1")
    assert (found.text, found.metadata) == ("One anew.", {"year": 2024})
    assert _ids(house) == {"1"}


def test_kafka_watch_follows_the_topic(house: House, broker: KafkaBroker, topic: str) -> None:
    broker.send(topic, _upsert("first"))
    broker.flush()
    house.sources.bind("notes", _settings(topic))
    deadline = Deadline.never()
    ended: list[BaseException] = []

    def watch() -> None:
        try:
            house.watch("notes", deadline=deadline)
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        _wait_for(lambda: "first" in _ids(house))
        broker.send(topic, _upsert("second", "A quokka."))
        broker.flush()
        _wait_for(lambda: "second" in _ids(house))
        _wait_for(lambda: bool(house.search("notes", "quokka", mode="lexical").hits))
    finally:
        deadline.cancel()
        thread.join(timeout=30)
    assert ended


def _wait_for(condition: Any, seconds: float = 40.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_kafka_workers_of_a_group_share_the_partitions_and_take_over(broker: KafkaBroker, topic: str) -> None:
    environ = {"SOURCE_KAFKA_SERVERS": broker.servers}
    for number in range(40):
        broker.send(topic, _upsert(f"d{number}"), partition=number % 4)
    broker.flush()
    seen: dict[str, list[str]] = {"one": [], "two": []}
    stops = {name: Deadline.never() for name in seen}

    def work(name: str) -> None:
        source = KafkaSource(name, _settings(topic, batch_events=5), environ, group=f"g-{topic}")
        try:
            for messages in source.batches(stops[name], forever=True):
                if messages:
                    events = [source.read(message) for message in messages]
                    seen[name] += [event.document_id for event in events if event]
                    source.commit(messages)
        except Cancelled:
            pass
        finally:
            source.close()

    threads = {name: threading.Thread(target=work, args=(name,)) for name in seen}
    for thread in threads.values():
        thread.start()
    try:
        _wait_for(lambda: len({*seen["one"], *seen["two"]}) == 40)
        time.sleep(4)  # both are members now
        for number in range(40, 80):
            broker.send(topic, _upsert(f"d{number}"), partition=number % 4)
        broker.flush()
        _wait_for(lambda: len({*seen["one"], *seen["two"]}) == 80)
        shared = [len([each for each in seen[name] if int(each[1:]) >= 40]) for name in seen]
        assert min(shared) > 0
        stops["one"].cancel()
        threads["one"].join(timeout=30)
        for number in range(80, 120):
            broker.send(topic, _upsert(f"d{number}"), partition=number % 4)
        broker.flush()
        _wait_for(lambda: len({*seen["one"], *seen["two"]}) == 120)
    finally:
        for name, thread in threads.items():
            stops[name].cancel()
            thread.join(timeout=30)


def test_kafka_topic_that_does_not_exist_is_named_with_those_that_do(
    house: House, broker: KafkaBroker, topic: str
) -> None:
    broker.send(topic, _upsert("a"))
    broker.flush()
    with pytest.raises(SourceRefused, match=rf"no topic no-such-topic; there are .*{topic}"):
        house.sources.bind("notes", _settings("no-such-topic"))


def test_kafka_broker_that_is_not_there_is_unavailable(
    house: House, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.sources.kafka._ANSWER_TIMEOUT_S", 1.0)
    source = KafkaSource("x", _settings(topic), {"SOURCE_KAFKA_SERVERS": "127.0.0.1:1"}, group="g")
    with pytest.raises(SourceUnavailable):
        source.check()
    source.close()


def test_kafka_broker_that_goes_away_ends_the_drain_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedhouse.sources.kafka._SILENCE_TIMEOUT_S", 1.0)
    monkeypatch.setattr("embedhouse.sources.kafka._ASSIGNMENT_TIMEOUT_S", 2.0)
    source = KafkaSource("x", _settings("t"), {"SOURCE_KAFKA_SERVERS": "127.0.0.1:1"}, group="g")
    with pytest.raises(SourceUnavailable):
        list(source.batches(NEVER))
    source.close()


def test_kafka_variables_and_options_that_are_wrong_are_named() -> None:
    with pytest.raises(InvalidSetting, match="SOURCE_KAFKA_SERVERS"):
        KafkaSource("x", _settings("t"), {}, group="g")
    secret = _settings("t", options_env={"sasl.password": "KAFKA_PASSWORD"})
    with pytest.raises(InvalidSetting, match="KAFKA_PASSWORD"):
        KafkaSource("x", secret, {"SOURCE_KAFKA_SERVERS": "127.0.0.1:1"}, group="g")
    wrong = KafkaSourceSettings(topic="t", options={"no.such.option": "1"})
    with pytest.raises(InvalidSetting, match=r"no\.such\.option"):
        KafkaSource("x", wrong, {"SOURCE_KAFKA_SERVERS": "127.0.0.1:1"}, group="g")
