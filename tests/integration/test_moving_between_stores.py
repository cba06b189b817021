"""A house's collections on stores that run in other processes: moved there and back, and on two at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from postgres_server import fresh_database

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import InvalidSetting
from embedhouse.house import House

DOCUMENTS = [
    Document(id=f"d{n}", text=f"Text number {n} tells of topic{n % 7}.", metadata={"n": n}) for n in range(60)
]
QUERIES = ["number 17", "topic3", "tells of topic5", "number 4 topic4"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with fresh_database() as made:
        yield made


def _settings(url: str) -> dict[str, object]:
    return {"stores": {"pg": {"kind": "postgresql", "url": url}}}


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


@pytest.mark.parametrize("cache", ["sqlite", "none"])
def test_collection_is_moved_to_postgresql_and_back_without_a_model_call(
    tmp_path: Path, url: str, cache: str
) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder, cache=cache, **_settings(url)) as house:
        before = _answers(_filled(house))
        embedder.calls.clear()
        house.upgrades.move("notes", "pg")
        assert [call for call in embedder.calls if call.startswith("Text")] == []
        assert house.collections.get("notes").store == "pg"
        assert _answers(house) == before
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        assert house.search("notes", "zebra", mode="lexical").hits[0].document_id == "new"
        house.documents.delete("notes", ids=["new"])
    with open_fake_house(tmp_path, embedder, cache=cache, **_settings(url)) as house:
        house.index_waiting()
        assert _answers(house) == before
        _wait_until_level(house)
        house.upgrades.rollback("notes")
        assert house.collections.get("notes").store == "embedded"
        assert _answers(house) == before
        house.upgrades.drop("notes")
        house.collections.delete("notes")


def test_collection_on_two_stores_asks_each_for_its_side(tmp_path: Path, url: str) -> None:
    with open_fake_house(tmp_path / "one") as house:
        expected = _answers(_filled(house))
    with open_fake_house(tmp_path / "two", store="pg", lexical_store="embedded", **_settings(url)) as house:
        assert _answers(_filled(house)) == expected
        info = house.collections.get("notes")
        assert (info.store, info.lexical_store) == ("pg", "embedded")
    with open_fake_house(tmp_path / "two", **_settings(url)) as house:
        assert _answers(house) == expected
        house.upgrades.move("notes", "embedded")
        assert house.collections.get("notes").lexical_store == ""
        assert _answers(house) == expected


def test_store_that_the_settings_do_not_have_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        with pytest.raises(InvalidSetting, match="there is no store 'nowhere'"):
            house.upgrades.move("notes", "nowhere")
        with pytest.raises(InvalidSetting, match="password"):
            house.upgrades.move("notes", "postgresql://me:secret@127.0.0.1/x")
        with pytest.raises(InvalidSetting, match="there is no store 'nowhere'"):
            house.collections.create("others", store="nowhere")
        assert [info.name for info in house.collections.list()] == ["notes"]
        assert len(house.upgrades.status("notes").generations) == 1


def _wait_until_level(house: House) -> None:
    import time

    give_up = time.monotonic() + 30
    while any(each.pending_chunks for each in house.upgrades.status("notes").generations):
        assert time.monotonic() < give_up
        time.sleep(0.05)
