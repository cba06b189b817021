"""The write path and the facade, over a real ledger, cache and index, and a model that is a hash function."""

import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, open_fake_house, vector_of

from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import (
    Cancelled,
    CollectionExists,
    Conflict,
    DiskFull,
    DuplicateId,
    InvalidInput,
    UnknownCollection,
    UnknownDocument,
)
from embedhouse.domain.spaces import Lane, Role
from embedhouse.house import House
from embedhouse.indexes.qdrant.edge import QdrantEdgeIndex
from embedhouse.ledger import chunks, collections

LONG = "One two three four. " * 30


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def house(tmp_path: Path, embedder: HashEmbedder) -> Iterator[House]:
    with open_fake_house(tmp_path, embedder) as opened:
        opened.collections.create("notes")
        yield opened


def _document(document_id: str, text: str = "A text.", **metadata: object) -> Document:
    return Document(id=document_id, text=text, metadata=metadata)


def _indexed_vectors(house: House) -> np.ndarray:
    opened = house._shelf.get("notes").live
    with house._parts.database.read() as ledger:
        keys = list(chunks.chunk_keys(ledger, opened.generation.id))
    with opened.slot.borrow() as index:
        assert sorted(index.keys()) == keys
        found = index.vectors(keys)
    return np.stack([found[key] for key in keys])


def test_upsert_reports_added_updated_and_unchanged(house: House) -> None:
    assert house.documents.upsert("notes", [_document("a"), _document("b")]).added == 2
    report = house.documents.upsert("notes", [_document("a"), _document("b", "Another."), _document("c")])
    assert (report.added, report.updated, report.unchanged) == (1, 1, 1)


def test_upsert_of_unchanged_documents_embeds_nothing(house: House, embedder: HashEmbedder) -> None:
    house.documents.upsert("notes", [_document("a")])
    calls = len(embedder.calls)
    assert house.documents.upsert("notes", [_document("a")]).tokens == 0
    assert len(embedder.calls) == calls


def test_changed_paragraph_embeds_that_chunk_alone(house: House, embedder: HashEmbedder) -> None:
    head = "Head " + "head " * 150
    house.documents.upsert("notes", [_document("a", f"{head}\n\nTail one {'x ' * 150}")])
    embedder.calls.clear()
    house.documents.upsert("notes", [_document("a", f"{head}\n\nTail two {'x ' * 150}")])
    assert [call.startswith("Tail two") for call in embedder.calls] == [True]


def test_metadata_change_embeds_nothing_and_is_filtered_by_at_once(house: House, embedder: HashEmbedder) -> None:
    house.documents.upsert("notes", [_document("a", year=2020), _document("b", "B text.", year=2020)])
    embedder.calls.clear()
    house.documents.update_metadata("notes", "a", {"year": 2024, "tag": "new"})
    assert embedder.calls == []
    hits = house.search("notes", "text", mode="lexical", filter={"year": {"$gt": 2021}}).hits
    assert [(hit.document_id, hit.metadata) for hit in hits] == [("a", {"year": 2024, "tag": "new"})]
    house.documents.update_metadata("notes", "a", {"tag": None})
    assert house.documents.get("notes", "a").metadata == {"year": 2024}
    house.documents.update_metadata("notes", "a", {"only": 1}, replace=True)
    assert house.documents.get("notes", "a").metadata == {"only": 1}


def test_upsert_with_an_id_twice_is_refused_whole(house: House) -> None:
    with pytest.raises(DuplicateId, match="'a'"):
        house.documents.upsert("notes", [_document("a"), _document("a", "Other.")])
    assert house.documents.list("notes").documents == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (_document("x", ""), "invalid_text"),
        (_document("x", " \n\t"), "invalid_text"),
        (_document("x", "a\x00b"), "invalid_text"),
        (_document("x", "a\ud800b"), "invalid_text"),
        (_document(""), "invalid_text"),
        (_document("x" * 2000), "invalid_input"),
        (_document("x", when=object()), "invalid_input"),
        (_document("x", name="a\x00"), "invalid_input"),
        (_document("x", name="\ud800"), "invalid_input"),
        (_document("x", score=float("nan")), "invalid_input"),
        (_document("x", scores={"all": [1.0, float("inf")]}), "invalid_input"),
    ],
)
def test_bad_document_is_a_failure_and_the_rest_goes_in(house: House, bad: Document, code: str) -> None:
    report = house.documents.upsert("notes", [_document("good"), bad])
    assert (report.added, [failure.code for failure in report.failures]) == (1, [code])
    assert [each.id for each in house.documents.list("notes").documents] == ["good"]


def test_metadata_comes_back_as_json_and_stays_unchanged(house: House) -> None:
    document = _document("a", when=datetime(2026, 5, 1, tzinfo=UTC), tags=("x", "y"))
    house.documents.upsert("notes", [document])
    assert house.documents.get("notes", "a").metadata == {"when": "2026-05-01T00:00:00Z", "tags": ["x", "y"]}
    assert house.documents.upsert("notes", [document]).unchanged == 1


def test_delete_by_id_and_by_filter(house: House) -> None:
    house.documents.upsert("notes", [_document(f"d{n}", f"Text {n}.", n=n) for n in range(6)])
    assert house.documents.delete("notes", ids=["d0", "d0", "unknown"]) == 1
    assert house.documents.delete("notes", filter={"n": {"$gte": 4}}) == 2
    assert [each.id for each in house.documents.list("notes").documents] == ["d1", "d2", "d3"]
    assert len(_indexed_vectors(house)) == 3
    with pytest.raises(InvalidInput):
        house.documents.delete("notes")


def test_list_pages_through_everything_in_order(house: House) -> None:
    house.documents.upsert("notes", [_document(f"d{n:02}", even=n % 2 == 0) for n in range(25)])
    found, after = [], ""
    while True:
        page = house.documents.list("notes", limit=4, after=after, filter={"even": True})
        found += [each.id for each in page.documents]
        if page.next is None:
            break
        after = page.next
    assert found == [f"d{n:02}" for n in range(0, 25, 2)]


def test_mean_vector_follows_every_write(house: House) -> None:
    house.documents.upsert("notes", [_document(f"d{n}", f"Text number {n}. {LONG}") for n in range(20)])
    house.documents.upsert("notes", [_document(f"d{n}", f"New text {n}.") for n in range(5)])
    house.documents.delete("notes", ids=["d7", "d8"])
    house.collections.compact("notes")
    generation_id = house._shelf.get("notes").live.generation.id
    with house._parts.database.read() as ledger:
        mean = collections.mean_vector(ledger, generation_id)
    np.testing.assert_allclose(mean, _indexed_vectors(house).mean(axis=0), atol=2e-3)  # the index holds float16


def test_document_vectors_are_unit_vectors_of_the_chunks(house: House) -> None:
    house.documents.upsert("notes", [_document("a", "Short."), _document("b", LONG * 4)])
    np.testing.assert_allclose(house.documents.vector("notes", "a"), vector_of("Short."), atol=2e-3)
    for kind in ("mean", "centroid"):
        assert np.linalg.norm(house.documents.vector("notes", "b", kind=kind)) == pytest.approx(1.0, abs=1e-5)  # type: ignore[arg-type]


def test_accepted_write_is_indexed_soon(house: House) -> None:
    assert house.documents.upsert("notes", [_document("a", "A zebra.")], wait="accepted").pending_chunks == 1
    deadline = time.monotonic() + 60
    while not house.status().clean:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert house.search("notes", "zebra", mode="lexical").hits


def test_write_that_is_tried_again_is_indexed_then(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise DiskFull(path="disk")

    documents = [_document(f"d{n}", f"A zebra {n}.") for n in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr(QdrantEdgeIndex, "write", full)
        for _ in range(2):  # the second time they stand in the ledger as they are
            with pytest.raises(DiskFull):
                house.documents.upsert("notes", documents)
    assert not house.status().clean
    assert house.documents.upsert("notes", documents).unchanged == 3
    assert house.status().clean
    assert len(house.search("notes", "zebra", mode="lexical").hits) == 3


def test_document_deleted_while_it_is_embedded_does_not_come_back(tmp_path: Path) -> None:
    slow = HashEmbedder(seconds_per_batch=0.3)
    with open_fake_house(tmp_path, slow) as house:
        house.collections.create("notes")
        writer = threading.Thread(target=house.documents.upsert, args=("notes", [_document("a", "A zebra.")]))
        writer.start()
        while not house.documents.list("notes").documents:
            time.sleep(0.005)
        house.documents.delete("notes", ids=["a"])
        writer.join()
        opened = house._shelf.get("notes").live
        with opened.slot.borrow() as index:
            assert list(index.keys()) == []
        with house._parts.database.read() as ledger:
            assert collections.vector_count(ledger, opened.generation.id) == 0


class _HeldRows(HashEmbedder):
    """Embeds no text that begins with "Row" until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        if any(text.startswith("Row") for text in texts):
            assert self.let.wait(60)
        return super().embed(texts, role=role, lane=lane, deadline=deadline)


def test_single_write_does_not_wait_for_bulk_work(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"_id": "{n}", "text": "Row {n}."}}\n' for n in range(600)))
    embedder = _HeldRows()
    with open_fake_house(tmp_path / "home", embedder) as house:
        house.collections.create("notes")
        bulk = threading.Thread(target=house.index, args=("notes", [rows]))
        bulk.start()
        try:
            deadline = time.monotonic() + 60
            while not house.collections.get("notes").pending_chunks:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            house.documents.upsert("notes", [_document("single", "A zebra.")])
            assert [hit.document_id for hit in house.search("notes", "zebra", mode="lexical").hits] == ["single"]
            assert house.collections.get("notes").pending_chunks
        finally:
            embedder.let.set()
            bulk.join()
        assert house.status().clean


def test_compaction_swaps_under_searches_and_writes(house: House) -> None:
    house.documents.upsert("notes", [_document(f"d{n}", f"Fixed text {n}.") for n in range(200)])
    failures: list[BaseException] = []
    stop = threading.Event()

    def work(number: int) -> None:
        try:
            for turn in range(10_000):
                if stop.is_set():
                    return
                house.documents.upsert("notes", [_document(f"w{number}", f"Turn {turn} of writer{number}.")])
                (first, *_) = house.search("notes", f"Turn {turn} of writer{number}", mode="lexical", k=1).hits
                assert first.text == f"Turn {turn} of writer{number}."
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        house.collections.compact("notes")
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(_indexed_vectors(house)) == house.collections.get("notes").chunks == 202
    opened = house._shelf.get("notes").live
    with opened.slot.borrow() as index:
        assert index.info().unoptimised <= index.info().count
    assert len(list((house._parts.home / "indexes" / str(opened.generation.id)).iterdir())) == 1


def test_failed_compaction_leaves_the_old_index(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.documents.upsert("notes", [_document("a", "A zebra.")])
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Exception, match="could not be built"):
        house.collections.compact("notes")
    assert [hit.document_id for hit in house.search("notes", "zebra", mode="lexical").hits] == ["a"]
    house.documents.upsert("notes", [_document("b", "Another zebra.")])
    assert house.status().clean


def test_model_of_another_space_is_refused(tmp_path: Path) -> None:
    import msgspec

    with open_fake_house(tmp_path) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", [_document("a", "A zebra.")])
    for change, refused in (({"precision": "bf16"}, False), ({"revision": "2"}, True), ({"pooling": "cls"}, True)):
        other = HashEmbedder(msgspec.structs.replace(SPACE, **change))
        with open_fake_house(tmp_path, other) as house:
            if refused:
                with pytest.raises(Conflict, match="another space"):
                    house.search("notes", "zebra", mode="dense")
                assert house.search("notes", "zebra", mode="lexical").hits[0].document_id == "a"
            else:
                assert house.search("notes", "zebra", mode="dense").hits[0].document_id == "a"


def test_collection_names_and_settings_are_checked(house: House) -> None:
    with pytest.raises(CollectionExists):
        house.collections.create("notes")
    for name in ("", "../up", "a b", ".hidden", "x" * 101):
        with pytest.raises(InvalidInput):
            house.collections.create(name)
    with pytest.raises(Conflict, match="chunking"):
        house.collections.ensure("notes", chunking=ChunkingSettings(max_tokens=10))
    assert house.collections.ensure("notes").name == "notes"


def test_delete_collection_leaves_nothing(house: House) -> None:
    house.documents.upsert("notes", [_document("a")])
    house.collections.delete("notes")
    with pytest.raises(UnknownCollection):
        house.search("notes", "text")
    assert not [path for path in (house._parts.home / "indexes").rglob("*") if path.is_file()]
    house.collections.create("notes")
    assert house.search("notes", "text").hits == []


def test_unknown_document_is_named(house: House) -> None:
    with pytest.raises(UnknownDocument, match="'nope'"):
        house.documents.get("notes", "nope")


def test_index_prunes_files_that_are_gone(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text(f"File {name} of zebras.")
    assert house.index("notes", [folder]).documents == 2
    house.documents.upsert("notes", [_document("other")])
    (folder / "a.txt").unlink()
    assert house.index("notes", [folder]).write.deleted == 0
    assert house.index("notes", [folder], prune=True).write.deleted == 1
    assert [each.id for each in house.documents.list("notes").documents] == ["b.txt", "other"]


def test_cancelled_index_resumes(house: House, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"_id": "{n}", "text": "Row {n}."}}\n' for n in range(600)))
    deadline = Deadline.never()

    def stop(progress: object) -> None:
        deadline.cancel()

    with pytest.raises(Cancelled):
        house.index("notes", [rows], deadline=deadline, progress=stop)
    report = house.index("notes", [rows])
    assert (report.documents, report.chunks, report.write.pending_chunks) == (600, 600, 0)
    assert len(_indexed_vectors(house)) == 600


def test_status_counts_what_is_there(house: House) -> None:
    house.documents.upsert("notes", [_document("a")])
    status = house.status()
    assert status.clean
    assert [(each.name, each.documents, each.chunks) for each in status.collections] == [("notes", 1, 1)]
    assert status.cache.vectors == 1
