"""Several processes on one ledger: nothing is lost, nothing done twice, nothing that was deleted comes back."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_house import HashEmbedder, vector_of
from postgres_server import fresh_database
from shared_houses import SharedStore, assert_index_is_exact, open_shared_house
from sqlalchemy import text as sql

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import StoreUnavailable, UnknownCollection, UnknownDocument
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.domain.spaces import Lane, Role
from embedhouse.house import House
from embedhouse.ledger.changes import EVERYTHING

NOTES = "notes"


class HeldEmbedder(HashEmbedder):
    """Embeds documents only while `go` is set; `asked` says that it is about to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go = threading.Event()

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        self.asked.set()
        assert self.go.wait(30.0)
        return super().embed(texts, role=role, lane=lane, deadline=deadline)


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as made:
        yield made


@pytest.fixture
def store() -> SharedStore:
    return SharedStore()


@pytest.fixture
def houses(url: str, store: SharedStore, tmp_path: Path) -> Iterator[tuple[House, House]]:
    with (
        open_shared_house(tmp_path / "one", url, store) as one,
        open_shared_house(tmp_path / "two", url, store) as two,
    ):
        one.collections.create(NOTES)
        yield one, two


def _documents(*numbers: int, version: int = 0) -> list[Document]:
    return [Document(id=f"d{number}", text=f"Text {number} of version {version}.") for number in numbers]


def test_collection_that_another_process_made_is_there(houses: tuple[House, House]) -> None:
    one, two = houses
    two.documents.upsert(NOTES, _documents(1))
    assert one.search(NOTES, "Text 1", mode="lexical").hits[0].document_id == "d1"
    assert_index_is_exact(one, NOTES)


def test_collection_that_another_process_deleted_is_gone(houses: tuple[House, House], store: SharedStore) -> None:
    one, two = houses
    two.documents.upsert(NOTES, _documents(1))
    one.collections.delete(NOTES)
    assert store.indexes == {}
    with pytest.raises(UnknownCollection):
        two.search(NOTES, "Text")
    with pytest.raises(UnknownCollection):
        two.documents.upsert(NOTES, _documents(2))


def test_collection_of_the_same_name_made_anew_is_another(houses: tuple[House, House]) -> None:
    one, two = houses
    two.documents.upsert(NOTES, _documents(1))
    one.collections.delete(NOTES)
    one.collections.create(NOTES)
    assert two.search(NOTES, "Text", mode="lexical").hits == []
    two.documents.upsert(NOTES, _documents(2))
    assert [each.id for each in one.documents.list(NOTES).documents] == ["d2"]
    assert_index_is_exact(one, NOTES)


def test_ensure_by_many_at_once_makes_one_collection(houses: tuple[House, House]) -> None:
    start = threading.Barrier(8)

    def ensure(house: House) -> str:
        start.wait()
        return house.collections.ensure("made").name

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ensure, houses * 4)) == {"made"}
    assert [info.name for info in houses[0].collections.list()] == ["made", NOTES]


def test_writers_of_the_same_documents_neither_fail_nor_mix(houses: tuple[House, House]) -> None:
    def write(writer: int) -> None:
        order = random.Random(writer)
        for step in range(6):
            numbers = order.sample(range(12), 6)
            house = houses[(writer + step) % 2]
            if step == 3:
                house.documents.delete(NOTES, ids=[f"d{number}" for number in numbers])
            elif step == 4:
                for each in house.documents.list(NOTES).documents[:2]:
                    with contextlib.suppress(UnknownDocument):  # another writer has deleted it meanwhile
                        house.documents.update_metadata(NOTES, each.id, {"step": step}, replace=True)
            else:
                house.documents.upsert(NOTES, _documents(*numbers, version=10 * writer + step))

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(write, writer) for writer in range(4)]:
            future.result(timeout=60)
    assert _deadlocks(houses[0]) == 0
    keys = assert_index_is_exact(houses[0], NOTES)
    stored = houses[1].documents.list(NOTES, with_text=True).documents
    assert len(keys) == len(stored)
    for each in stored:
        hits = houses[1].search(NOTES, each.text, k=20, mode="dense").hits
        assert hits[0].document_id == each.id
        assert hits[0].text == each.text


def test_what_postgresql_cannot_hold_is_a_failure_of_that_document_alone(houses: tuple[House, House]) -> None:
    order = random.Random(1)
    longest = "".join(chr(order.randrange(0x10000, 0x1F000)) for _ in range(512))
    bad = {
        "too long": Document(id=longest + "x", text="Some text."),
        "nul in source": Document(id="b", text="Some text.", source="a\0b"),
        "nul in text": Document(id="c", text="a\0b"),
        "nul in metadata": Document(id="d", text="Some text.", metadata={"a": "b\0c"}),
    }
    good = Document(id=longest, text="Unlike the others.", title="ﬀ 東京", metadata={"ü": "🙂" * 3000})
    report = houses[0].documents.upsert(NOTES, [*bad.values(), good])
    assert (report.added, len(report.failures)) == (1, len(bad))
    found = houses[1].documents.get(NOTES, longest)
    assert (found.text, found.title, found.metadata) == (good.text, good.title, good.metadata)
    assert houses[1].search(NOTES, "others", mode="lexical").hits[0].document_id == longest


def _deadlocks(house: House) -> int:
    time.sleep(1.2)  # sessions tell their counts once a second
    query = sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with house._parts.database.read() as ledger:
        return int(ledger.execute(query).scalar_one())


def test_metadata_that_many_merge_at_once_is_all_there(houses: tuple[House, House]) -> None:
    houses[0].documents.upsert(NOTES, _documents(1))

    def merge(number: int) -> None:
        houses[number % 2].documents.update_metadata(NOTES, "d1", {f"k{number}": number})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(merge, range(16)))
    assert houses[1].documents.get(NOTES, "d1").metadata == {f"k{number}": number for number in range(16)}
    found = houses[0].search(NOTES, "Text", mode="lexical", filter={"k7": 7, "k8": 8})
    assert [hit.document_id for hit in found.hits] == ["d1"]


def test_processes_share_the_work_and_embed_each_chunk_once(url: str, store: SharedStore, tmp_path: Path) -> None:
    embedders = [HashEmbedder(seconds_per_batch=0.02) for _ in range(3)]
    houses = [open_shared_house(tmp_path / str(n), url, store, each) for n, each in enumerate(embedders)]
    houses[0].collections.create(NOTES)
    houses[0]._shelf.get(NOTES).writer.upsert(_documents(*range(3000)))
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda house: house._shelf.get(NOTES).live_indexer.drain(Deadline(60.0)), houses))
    assert sum(each.embedded_chunks for each in done) == 3000
    assert all(each.embedded_chunks for each in done)
    called = [text for each in embedders for text in each.calls]
    assert len(called) == len(set(called)) == 3000
    assert_index_is_exact(houses[1], NOTES)
    for house in houses:
        house.close()


def test_waiting_for_indexed_waits_for_what_another_process_works_on(
    url: str, store: SharedStore, tmp_path: Path
) -> None:
    slow = HeldEmbedder()
    with (
        open_shared_house(tmp_path / "one", url, store, slow) as one,
        open_shared_house(tmp_path / "two", url, store) as two,
        ThreadPoolExecutor(2) as threads,
    ):
        one.collections.create(NOTES)
        two._shelf.get(NOTES).writer.upsert(_documents(1))
        working = threads.submit(one._shelf.get(NOTES).live_indexer.drain, Deadline(60.0))
        assert slow.asked.wait(30.0)
        waiting = threads.submit(two._shelf.get(NOTES).finish, EVERYTHING, Deadline(60.0))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        slow.go.set()
        assert working.result(timeout=30).embedded_chunks == 1
        assert waiting.result(timeout=30).embedded_chunks == 0
        assert_index_is_exact(two, NOTES)


def test_work_of_a_process_that_died_is_taken_over_and_waited_for(
    url: str, store: SharedStore, tmp_path: Path
) -> None:
    dead = HeldEmbedder()
    house = open_shared_house(tmp_path / "dead", url, store, dead, lease_s=1.0)
    with open_shared_house(tmp_path / "two", url, store, lease_s=1.0) as two, ThreadPoolExecutor(1) as threads:
        two.collections.create(NOTES)
        two._shelf.get(NOTES).writer.upsert(_documents(1, 2))
        working = threads.submit(house._shelf.get(NOTES).live_indexer.drain, Deadline(60.0))
        assert dead.asked.wait(30.0)
        assert house._parts.leases is not None
        house._parts.leases._closing.set()  # its heart stands still from here on
        two.documents.upsert(NOTES, _documents(1, 2))  # not changed, and waited for
        assert_index_is_exact(two, NOTES)
        before = sorted(store.indexes.values(), key=id)[0].info().count
        dead.go.set()  # and now it wakes up
        working.result(timeout=30)
        assert before == 2
        assert_index_is_exact(two, NOTES)
        house.close()


def test_slow_process_that_lost_its_leases_brings_nothing_back(
    url: str, store: SharedStore, tmp_path: Path
) -> None:
    slow = HeldEmbedder()
    house = open_shared_house(tmp_path / "slow", url, store, slow, lease_s=1.0)
    with open_shared_house(tmp_path / "two", url, store, lease_s=1.0) as two, ThreadPoolExecutor(1) as threads:
        two.collections.create(NOTES)
        two._shelf.get(NOTES).writer.upsert(_documents(1, 2, 3))
        working = threads.submit(house._shelf.get(NOTES).live_indexer.drain, Deadline(60.0))
        assert slow.asked.wait(30.0)
        assert house._parts.leases is not None
        house._parts.leases._closing.set()
        time.sleep(1.1)
        two.documents.upsert(NOTES, _documents(2, version=1))
        two.documents.delete(NOTES, ids=["d1"])
        two.documents.update_metadata(NOTES, "d3", {"new": True})
        expected = assert_index_is_exact(two, NOTES)
        slow.go.set()
        working.result(timeout=30)
        assert assert_index_is_exact(two, NOTES) == expected
        hits = two.search(NOTES, "Text version", mode="lexical", filter={"new": True}).hits
        assert [hit.document_id for hit in hits] == ["d3"]
        house.close()


def test_deletion_waits_for_the_write_under_way_and_wins(houses: tuple[House, House], store: SharedStore) -> None:
    one, two = houses
    one.documents.upsert(NOTES, _documents(0))
    (index,) = store.indexes.values()
    writing, go = threading.Event(), threading.Event()

    def hold() -> None:
        index.before_write = lambda: None
        writing.set()
        assert go.wait(30.0)

    index.before_write = hold
    with ThreadPoolExecutor(2) as threads:
        adding = threads.submit(one.documents.upsert, NOTES, _documents(1))
        assert writing.wait(30.0)
        deleting = threads.submit(two.documents.delete, NOTES, ids=["d1"])
        with pytest.raises(TimeoutError):
            deleting.result(timeout=0.3)
        go.set()
        adding.result(timeout=30)
        assert deleting.result(timeout=30) == 1
    assert len(assert_index_is_exact(two, NOTES)) == 1


def test_write_whose_transaction_was_cut_off_leaves_no_stray(
    houses: tuple[House, House], store: SharedStore, url: str
) -> None:
    one, two = houses
    one.documents.upsert(NOTES, _documents(0))
    (index,) = store.indexes.values()

    def cut_and_delete() -> None:
        index.before_write = lambda: None
        with two._parts.database.write() as ledger:
            # Whoever holds document rows is in the middle of this write.
            ledger.execute(
                sql(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE state = 'idle in transaction' AND pid <> pg_backend_pid() AND query LIKE '%chunk%'"
                )
            )
        two._shelf.get(NOTES).writer.delete([_pk(two, "d1")], DEFAULT_NAMESPACE)

    index.before_write = cut_and_delete
    with pytest.raises(StoreUnavailable):
        one.documents.upsert(NOTES, _documents(1))
    assert list(index.keys()) != []
    assert len(assert_index_is_exact(two, NOTES)) == 1


def _pk(house: House, document_id: str) -> int:
    with house._parts.database.read() as ledger:
        return int(ledger.execute(sql("SELECT pk FROM document WHERE id = :id"), {"id": document_id}).scalar_one())


def test_deleted_vectors_leave_the_running_sum_once_though_their_worker_dies(
    houses: tuple[House, House], store: SharedStore
) -> None:
    one, two = houses
    one.documents.upsert(NOTES, _documents(1, 2))
    (index,) = store.indexes.values()

    def die() -> None:
        index.before_write = lambda: None
        index._held.clear()  # the deletion reached the index, and its worker died before it could say so
        raise StoreUnavailable(store="the index", reason="the test says so")

    index.before_write = die
    with pytest.raises(StoreUnavailable):
        one.documents.delete(NOTES, ids=["d1", "d2"])
    assert_index_is_exact(two, NOTES)


def test_missing_index_is_replaced_by_one_process_and_followed_by_the_other(
    houses: tuple[House, House], store: SharedStore
) -> None:
    one, two = houses
    one.documents.upsert(NOTES, _documents(*range(20)))
    assert len(two.search(NOTES, "Text", k=50, mode="lexical").hits) == 20
    for house in houses:
        house._shelf.get(NOTES).live.slot.rest()
    store.indexes.clear()
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda house: house.search(NOTES, "Text", k=50, mode="lexical").hits, houses))
    assert max(len(hits) for hits in found) == 20
    assert len(store.indexes) == 1
    for house in houses:
        assert len(assert_index_is_exact(house, NOTES)) == 20
        assert len(house.search(NOTES, "Text", k=50, mode="lexical").hits) == 20


def test_mean_vector_is_that_of_all_processes(houses: tuple[House, House]) -> None:
    def write(number: int) -> None:
        houses[number % 2].documents.upsert(NOTES, _documents(*range(10 * number, 10 * number + 10)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(8)))
    assert_index_is_exact(houses[0], NOTES)
    from embedhouse.ledger import collections

    opened = houses[0]._shelf.get(NOTES)
    with houses[0]._parts.database.read() as ledger:
        mean = collections.mean_vector(ledger, opened.live.generation.id)
    expected = sum(vector_of(document.text) for document in _documents(*range(80))) / 80
    assert mean == pytest.approx(expected, abs=1e-5)
