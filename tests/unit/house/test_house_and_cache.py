"""What the house keeps up whatever its vector cache does."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, open_fake_house
from redis_server import free_port

from embedhouse.cache.embedder import text_sha256
from embedhouse.domain.documents import Document
from embedhouse.house import House
from embedhouse.indexing import compaction
from embedhouse.indexing.old_vectors import write_vectors
from embedhouse.ledger import chunks
from embedhouse.ports import Index

DOCUMENTS = [Document(id=f"d{number}", text=f"Text number {number} of many.") for number in range(60)]


def _indexed(house: House) -> dict[str, np.ndarray]:
    opened = house._shelf.get("notes").live
    with house._parts.database.read() as ledger:
        keys = list(chunks.chunk_keys(ledger, opened.generation.id))
        current = chunks.current_chunks(ledger, keys)
    with opened.slot.borrow() as index:
        assert sorted(index.keys()) == keys
        found = index.vectors(keys)
    return {current[key].chunk.document_id: found[key] for key in keys}


def _unreachable_redis() -> dict[str, object]:
    return {"cache": "redis", "redis_url": f"redis://127.0.0.1:{free_port()}/0"}


def _without_cache() -> dict[str, object]:
    return {"cache": "none"}


settings_of = pytest.mark.parametrize("settings_of", [_without_cache, _unreachable_redis])


@settings_of
def test_index_is_optimised_from_the_old_one_without_a_model_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_of: Callable[[], dict[str, object]]
) -> None:
    taken_over: list[int] = []

    def write(path: Path, index: Index, keys: Sequence[int], dimensions: int) -> set[int]:
        taken_over.append(len(keys))
        return write_vectors(path, index, keys, dimensions)

    monkeypatch.setattr(compaction, "_MIN_UNOPTIMISED", 10)
    monkeypatch.setattr(compaction, "write_vectors", write)
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder, **settings_of()) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        before = _indexed(house)
        embedder.calls.clear()
        house.collections.compact("notes")
        after = _indexed(house)
        assert embedder.calls == []
        assert taken_over == [60]
        assert before.keys() == after.keys()
        for document_id, vector in before.items():
            np.testing.assert_allclose(after[document_id], vector, atol=1e-6)
        assert house.status().clean
        assert house.search("notes", DOCUMENTS[7].text, k=1).hits[0].document_id == "d7"
    assert list(tmp_path.rglob("*.vectors")) == []


@settings_of
def test_lost_index_costs_model_calls_and_nothing_else(
    tmp_path: Path, settings_of: Callable[[], dict[str, object]]
) -> None:
    with open_fake_house(tmp_path, **settings_of()) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
    shutil.rmtree(tmp_path / "indexes")
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder, **settings_of()) as house:
        house.search("notes", "text", mode="lexical")
        house.documents.upsert("notes", [Document(id="new", text="New.")])
        assert len(_indexed(house)) == 61
        assert sorted(embedder.calls) == sorted([*(each.text for each in DOCUMENTS), "New."])


@pytest.mark.timeout(60)
def test_cache_over_its_size_keeps_what_an_index_is_built_from(tmp_path: Path) -> None:
    one_entry = 20 + SPACE.dimensions * 4 + 150
    limit = {"cache_max_bytes": 100 * one_entry}
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder, **limit) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        for number in range(200):
            house.search("notes", f"query {number}", mode="dense")
        while house.status().cache.evicted < 160:  # queries are written behind
            time.sleep(0.01)
        vectors = house.status().cache.vectors
        assert vectors is not None
        assert vectors <= 100
    shutil.rmtree(tmp_path / "indexes")
    embedder.calls.clear()
    with open_fake_house(tmp_path, embedder, **limit) as house:
        house.search("notes", "query 199")
        house.documents.upsert("notes", [Document(id="new", text="New.")])
        assert len(_indexed(house)) == 61
        assert embedder.calls == ["New."]


def test_hash_of_a_chunk_is_its_key_in_the_cache(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", [Document(id="a", title="The title", text="# Head\n\nThe text.")])
        opened = house._shelf.get("notes").live
        with house._parts.database.read() as ledger:
            stored = [one for block in chunks.stream_chunks(ledger, opened.generation.id, 10) for one in block]
        assert stored
        for one in stored:
            assert one.chunk.context
            assert one.chunk.hash == text_sha256(SPACE, "document", one.chunk.embedded_text)
        hashes = [one.chunk.hash for one in stored]
        assert house._parts.cache.get(SPACE.fingerprint, "document", hashes, SPACE.dimensions).found.all()
