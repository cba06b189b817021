"""A house whose collection is moved to Pinecone, written to and searched there."""

from __future__ import annotations

from pathlib import Path

import msgspec
from fake_house import HashEmbedder, open_fake_house
from pinecone_stub import PineconeStub

from embedhouse.domain.documents import Document
from embedhouse.house import House

DOCUMENTS = [
    Document(id=f"d{n}", text=f"Text number {n} tells of topic{n % 7}.", metadata={"n": n, "name": f"x{n}"})
    for n in range(60)
]
QUERIES = ["number 17", "topic3", "number 4 topic4"]


def _answers(house: House) -> list[list[tuple[str, float]]]:
    return [
        [(hit.document_id, round(hit.score, 2)) for hit in house.search("notes", query, k=5, mode=mode).hits]
        for query in QUERIES
        for mode in ("dense", "lexical", "hybrid")
    ]


def test_house_keeps_a_collection_on_pinecone(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with PineconeStub() as stub:
        stub.search_lag_s = stub.fetch_lag_s = 0.05
        stores = {"stores": {"cloud": msgspec.to_builtins(stub.settings())}}
        with open_fake_house(tmp_path, embedder, **stores) as house:
            house.collections.ensure("notes")
            house.documents.upsert("notes", DOCUMENTS)
            before = _answers(house)
            embedder.calls.clear()
            house.upgrades.move("notes", "cloud")
            assert [call for call in embedder.calls if call.startswith("Text")] == []
            assert _answers(house) == before
            found = house.search("notes", "tells", k=50, filter={"n": {"$gte": 57}, "name": {"$lt": "x59"}}).hits
            assert sorted(hit.document_id for hit in found) == ["d57", "d58"]
            house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
            assert house.search("notes", "zebra", mode="lexical").hits[0].document_id == "new"
            house.documents.delete("notes", ids=["new"])
            assert house.search("notes", "zebra", mode="lexical").hits == []
        with open_fake_house(tmp_path, embedder, **stores) as house:
            house.index_waiting()
            assert _answers(house) == before
            assert house.verify("notes").clean
        assert stub.complaints == []
