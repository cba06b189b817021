"""Documents of several namespaces through all that a house does with them, on each kind of ledger and store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_house import HashEmbedder, open_fake_house, vector_of
from postgres_server import fresh_database

from embedhouse import Document
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.models import attributed
from embedhouse.domain.namespaces import Namespaces
from embedhouse.house import House
from embedhouse.ledger.changes import EVERYTHING
from embedhouse.ports import Candidates, Index, IndexEntry
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.sql_settings import SqlSourceSettings

NAMESPACES = ["default", "acme", "beta"]
KINDS = ["embedded", "pgvector", "shared"]


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    if request.param == "embedded":
        yield {}
        return
    with fresh_database() as url:
        store = {"store": "pg", "stores": {"pg": {"kind": "postgresql", "url": url}}}
        yield store if request.param == "pgvector" else store | {"ledger_url": url}


@pytest.fixture
def house(tmp_path: Path, embedder: HashEmbedder, settings: dict[str, object]) -> Iterator[House]:
    with open_fake_house(tmp_path / "home", embedder, **settings) as opened:
        opened.collections.create("notes")
        for namespace in NAMESPACES:
            opened.documents.upsert("notes", documents(namespace), namespace=namespace)
        yield opened


def documents(namespace: str, count: int = 4) -> list[Document]:
    return [
        Document(id=f"d{number}", text=f"Page {number} of {namespace} is about topic{number}.")
        for number in range(count)
    ]


def found(house: House, namespaces: Namespaces = None, query: str = "topic1") -> list[tuple[str, str]]:
    result = house.search("notes", query, k=100, mode="dense", documents=True, namespaces=namespaces)
    return sorted((hit.namespace, hit.document_id) for hit in result.hits)


def held(house: House) -> list[tuple[str, str]]:
    return [(view.namespace, view.id) for view in house.documents.list("notes", limit=1000).documents]


def places(*namespaces: str, count: int = 4) -> list[tuple[str, str]]:
    return sorted((namespace, f"d{number}") for namespace in namespaces for number in range(count))


def agrees(house: House) -> None:
    """Ledger and index hold the same, in each namespace."""
    assert found(house) == held(house)
    for namespace in NAMESPACES:
        own = [place for place in held(house) if place[0] == namespace]
        assert found(house, [namespace]) == own


def test_same_ids_are_documents_of_their_own(house: House) -> None:
    assert held(house) == places(*NAMESPACES)
    agrees(house)
    for namespace in NAMESPACES:
        assert house.documents.get("notes", "d1", namespace=namespace).text.startswith(f"Page 1 of {namespace} ")
        alike = house.search.more_like("notes", "d1", k=100, namespaces=[namespace])
        assert sorted((hit.namespace, hit.document_id) for hit in alike.hits) == [
            place for place in places(namespace) if place[1] != "d1"
        ]
    assert len(house.documents.upsert("notes", documents("acme"), namespace="acme").failures) == 0


def test_lexical_search_is_bound_too(house: House) -> None:
    hits = house.search("notes", "topic2", mode="lexical", namespaces=["acme", "beta"]).hits
    assert sorted((hit.namespace, hit.document_id) for hit in hits) == [("acme", "d2"), ("beta", "d2")]
    hybrid = house.search("notes", "topic2", k=50, namespaces=["acme"]).hits
    assert {hit.namespace for hit in hybrid} == {"acme"}


def test_batch_of_several_namespaces_is_written_to_each(house: House) -> None:
    batch = [Document(id="new", text=f"New in {namespace}.", namespace=namespace) for namespace in NAMESPACES]
    report = house.documents.upsert("notes", [*batch, Document(id="bad", text="Where?", namespace="a b")])
    assert (report.added, [failure.id for failure in report.failures]) == (3, ["bad"])
    assert house.documents.upsert("notes", batch).unchanged == 3
    agrees(house)


def test_replacing_deleting_and_tagging_stay_within_a_namespace(house: House) -> None:
    house.documents.upsert("notes", [Document(id="d0", text="Another page.", namespace="acme")])
    house.documents.update_metadata("notes", "d1", {"tag": "x"}, namespace="acme")
    assert house.documents.delete("notes", ids=["d2", "none"], namespace="acme") == 1
    assert house.documents.delete("notes", ids=["d2"]) == 1
    tagged = house.search("notes", "page", k=50, mode="dense", filter={"tag": "x"}).hits
    assert [(hit.namespace, hit.document_id) for hit in tagged] == [("acme", "d1")]
    assert held(house) == [
        place for place in places(*NAMESPACES) if place not in (("acme", "d2"), ("default", "d2"))
    ]
    assert house.documents.get("notes", "d0", namespace="beta").text.startswith("Page 0 of beta")
    agrees(house)


def test_tenant_that_leaves_takes_everything_along(house: House) -> None:
    assert house.documents.delete("notes", filter={}, namespace="beta") == 4
    assert held(house) == places("default", "acme")
    agrees(house)


def test_index_that_is_lost_is_built_anew_in_each_namespace(
    tmp_path: Path, house: House, settings: dict[str, object], embedder: HashEmbedder
) -> None:
    opened = house._shelf.get("notes").live
    name = opened.current_name()
    opened.slot.rest()
    opened.store.drop(name)
    agrees(house)
    house.documents.delete("notes", ids=["d0"], namespace="acme")
    agrees(house)
    assert house.verify("notes").clean


def test_compaction_keeps_each_in_its_namespace(house: House) -> None:
    house.collections.compact("notes")
    agrees(house)
    house.documents.delete("notes", ids=["d3"], namespace="beta")
    agrees(house)


def test_next_generation_has_the_namespaces_of_this_one(house: House) -> None:
    before = {namespace: found(house, [namespace]) for namespace in NAMESPACES}
    if house.collections.get("notes").store == "embedded":
        pytest.skip("one store alone: the move is tried from the other one")
    house.upgrades.move("notes", "embedded") if not house.settings.ledger_url else house.collections.compact(
        "notes"
    )
    assert {namespace: found(house, [namespace]) for namespace in NAMESPACES} == before
    house.documents.delete("notes", ids=["d3"], namespace="beta")
    house.documents.upsert("notes", [Document(id="d9", text="Late.", namespace="acme")])
    agrees(house)


def test_verify_repairs_each_in_its_namespace(house: House) -> None:
    opened = house._shelf.get("notes").live
    stray = IndexEntry(key=10**6, document_id="beta\x1fd0", vector=vector_of("stray"), text="stray", metadata={})
    with opened.slot.borrow() as index:
        keys = list(index.keys())
        for namespace in NAMESPACES:
            index.write(namespace=namespace, deletes=keys[:1], deadline=Deadline.never())
        index.write(namespace="beta", upserts=[stray], deadline=Deadline.never())
        assert sorted(index.keys()) == [*keys[1:], 10**6]
    assert house.verify("notes").counts == {"missing": 1, "orphaned": 1}
    assert house.verify("notes", repair=True).clean
    with opened.slot.borrow() as index:
        assert sorted(index.keys()) == keys
    agrees(house)


def test_folder_is_indexed_and_pruned_within_a_namespace(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.md").write_text(f"The file {name}.\n")
    for namespace in ("acme", "beta"):
        assert house.index("notes", [folder], namespace=namespace).write.added == 2
    (folder / "two.md").unlink()
    plan = house.plan_index("notes", [folder], namespace="acme", prune=True)
    assert (plan.new, plan.unchanged, plan.deleted) == (0, 1, 1)
    assert house.index("notes", [folder], namespace="acme", prune=True).write.deleted == 1
    assert {("acme", "one.md"), ("beta", "one.md"), ("beta", "two.md")} <= set(held(house))
    assert ("acme", "two.md") not in held(house)
    agrees(house)
    with pytest.raises(InvalidInput):
        house.index("notes", [folder], namespace="a b")


def test_sources_fill_and_empty_the_namespace_that_they_are_bound_to(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(house.sources._environ, "SHOP", f"sqlite:///{tmp_path / 'shop.db'}")  # type: ignore[arg-type]
    shop = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    shop.execute("CREATE TABLE pages (id TEXT PRIMARY KEY, text TEXT)")
    shop.executemany("INSERT INTO pages VALUES (?, ?)", [("d1", "A row."), ("row", "Another row.")])
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "d2").write_text("not read")
    (folder / "row.md").write_text("A file.\n")
    house.sources.bind("notes", SqlSourceSettings(table="pages", url_env="SHOP", namespace="gamma"))
    house.sources.bind("notes", FolderSourceSettings(path=str(folder), namespace="delta"))
    report = house.sync("notes")
    assert report.in_step
    assert {("gamma", "d1"), ("gamma", "row"), ("delta", "row.md")} <= set(held(house))
    assert house.documents.get("notes", "d1", namespace="acme").text.startswith("Page 1 of acme")
    shop.execute("DELETE FROM pages WHERE id = 'd1'")
    shop.execute("UPDATE pages SET text = 'Changed.' WHERE id = 'row'")
    assert house.sync("notes", allow_mass_delete=True).in_step
    assert [place for place in held(house) if place[0] == "gamma"] == [("gamma", "row")]
    assert house.documents.get("notes", "row", namespace="gamma").text == "Changed."
    assert ("acme", "d1") in held(house)
    agrees(house)
    shop.close()


def test_export_of_namespaces_is_imported_into_them(house: House, tmp_path: Path, embedder: HashEmbedder) -> None:
    pytest.importorskip("pyarrow")
    house.export("notes", tmp_path / "some", namespaces=["acme", "beta"])
    embedder.calls.clear()
    house.import_(tmp_path / "some", "copies")
    assert embedder.calls == []
    copied = house.documents.list("copies", limit=100).documents
    assert [(view.namespace, view.id) for view in copied] == places("acme", "beta")
    hits = house.search("copies", "topic1", k=50, mode="dense", namespaces=["beta"]).hits
    assert {hit.namespace for hit in hits} == {"beta"}


def test_same_text_is_embedded_once_for_each_namespace(house: House, embedder: HashEmbedder) -> None:
    embedder.calls.clear()
    reports = [
        house.documents.upsert("notes", [Document(id=each, text="One text for all.", namespace=namespace)])
        for namespace, each in (("acme", "x"), ("beta", "x"), ("default", "x"), ("acme", "y"))
    ]
    assert [report.cached_chunks for report in reports] == [0, 0, 0, 1]
    assert embedder.calls == ["One text for all."] * 3


def test_bound_caller_hears_of_its_own_chunks_alone_when_it_indexes_others_too(house: House) -> None:
    opened = house._shelf.get("notes")
    for namespace in ("acme", "beta"):
        opened.writer.upsert([Document(id="z", text=f"Waiting words of {namespace}.", namespace=namespace)])
    with attributed(namespaces=["acme"]):
        done = opened.finish(EVERYTHING, Deadline.never())
    assert (done.changes, done.embedded_chunks, done.cached_chunks, done.tokens) == (2, 1, 0, 4)
    agrees(house)


def test_time_does_not_tell_what_another_tenant_has_embedded(tmp_path: Path) -> None:
    slow_s = 0.3
    with open_fake_house(tmp_path, HashEmbedder(seconds_per_batch=slow_s)) as house:
        took = []
        for namespace in ("beta", "acme", "acme"):
            began = time.perf_counter()
            with attributed(namespaces=[namespace]):
                house.models.embed(["What beta plans."])
            took.append(time.perf_counter() - began)
    assert min(took[:2]) >= slow_s > took[2]


def test_counts_of_a_bound_caller_are_those_of_its_namespaces(house: House) -> None:
    house.documents.upsert("notes", [Document(id="more", text="More.", namespace="acme")], wait="accepted")
    with attributed(namespaces=["beta", "default"]):
        info = house.collections.get("notes")
    assert (info.documents, info.chunks, info.pending_chunks, info.dead_letters) == (8, 8, 0, 0)


def test_search_of_a_caller_that_names_nothing_asks_the_index_for_no_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Namespaces] = []
    with open_fake_house(tmp_path) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", documents("default"))
        with house._shelf.get("notes").live.slot.borrow() as index:
            kind, search = type(index), type(index).search_dense

        def noted(self: Index, *given: Any, namespaces: Namespaces = None, **named: Any) -> Candidates:
            asked.append(namespaces)
            return search(self, *given, namespaces=namespaces, **named)

        monkeypatch.setattr(kind, "search_dense", noted)
        found(house)
        found(house, ["default"])
        with attributed(namespaces=["acme"]):
            assert found(house) == []
    assert asked == [None, ["default"], ("acme",)]
