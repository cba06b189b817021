"""Houses whose collections are on a Qdrant server: moved there, on it for one side alone, and rebuilt when lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from qdrant_stub import QdrantStub

from embedhouse.domain.documents import Document
from embedhouse.house import House

DOCUMENTS = [
    Document(id=f"d{n}", text=f"Text number {n} tells of topic{n % 7}.", metadata={"n": n, "name": f"x{n}"})
    for n in range(60)
]
QUERIES = ["number 17", "topic3", "number 4 topic4"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[QdrantStub]:
    with QdrantStub(tmp_path / "qdrant") as made:
        yield made
        assert made.complaints == []


def _stores(server: QdrantStub) -> dict[str, dict[str, dict[str, str]]]:
    return {"stores": {"cluster": {"kind": "qdrant", "url": server.url}}}


def _answers(house: House) -> list[list[tuple[str, float]]]:
    return [
        [(hit.document_id, round(hit.score, 2)) for hit in house.search("notes", query, k=5, mode=mode).hits]
        for query in QUERIES
        for mode in ("dense", "lexical", "hybrid")
    ]


def _filled(house: House) -> House:
    house.collections.ensure("notes")
    house.documents.upsert("notes", DOCUMENTS)
    return house


def test_house_moves_a_collection_to_qdrant(tmp_path: Path, server: QdrantStub) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "house", embedder, **_stores(server)) as house:
        before = _answers(_filled(house))
        embedder.calls.clear()
        house.upgrades.move("notes", "cluster")
        assert [call for call in embedder.calls if call.startswith("Text")] == []
        assert len(server.aliases) == 1
        assert _answers(house) == before
        only = {"n": {"$gte": 57}, "name": {"$lt": "x59"}}
        found = house.search("notes", "tells", k=50, filter=only).hits
        assert sorted(hit.document_id for hit in found) == ["d57", "d58"]
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        assert house.search("notes", "zebra", mode="lexical").hits[0].document_id == "new"
        house.documents.delete("notes", ids=["new"])
    with open_fake_house(tmp_path / "house", embedder, **_stores(server)) as house:
        house.index_waiting()
        assert _answers(house) == before
        assert house.verify("notes").clean


def test_house_keeps_each_side_of_a_collection_where_it_was_told(tmp_path: Path, server: QdrantStub) -> None:
    with open_fake_house(tmp_path / "one") as house:
        expected = _answers(_filled(house))
    server.version = "1.16.0"  # enough for the side without words
    two = {"store": "cluster", "lexical_store": "embedded", **_stores(server)}
    with open_fake_house(tmp_path / "two", **two) as house:
        assert _answers(_filled(house)) == expected
    (collection,) = server.collections.values()
    assert "t" not in collection.schema


def test_house_removes_its_indexes_with_the_collection(tmp_path: Path, server: QdrantStub) -> None:
    with open_fake_house(tmp_path / "house", store="cluster", **_stores(server)) as house:
        _filled(house)
        assert len(server.collections) == 1
        house.collections.delete("notes")
        assert (server.collections, server.aliases) == ({}, {})


def test_house_builds_an_index_again_that_was_dropped_on_the_server(tmp_path: Path, server: QdrantStub) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "house", embedder, store="cluster", **_stores(server)) as house:
        before = _answers(_filled(house))
    (name,) = list(server.collections)
    server._delete(name)
    embedder.calls.clear()
    with open_fake_house(tmp_path / "house", embedder, store="cluster", **_stores(server)) as house:
        house.index_waiting()
        assert _answers(house) == before
    assert [call for call in embedder.calls if call.startswith("Text")] == []
