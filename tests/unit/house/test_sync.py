"""Collections kept in step with folders and SQL tables, in a house whose model is a hash function."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_house import HashEmbedder, open_fake_house

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import (
    Conflict,
    InvalidInput,
    InvalidSetting,
    NotFound,
    SourceRefused,
    UnknownCollection,
)
from embedhouse.domain.syncing import SourceSync
from embedhouse.house import House
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.rows import RowShape
from embedhouse.sources.sql_settings import SqlSourceSettings

SHAPE = RowShape(text_columns=("body",), title_column="title", metadata_columns=("year",))
SHOP = SqlSourceSettings(table="tickets", shape=SHAPE, page_rows=4)
BY_VERSION = SqlSourceSettings(table="tickets", shape=SHAPE, page_rows=4, version_column="seq", overlap_versions=2)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    connection.execute(
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY, title TEXT, body TEXT, year INTEGER, seq INTEGER, gone TEXT)"
    )
    yield connection
    connection.close()


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def house(tmp_path: Path, embedder: HashEmbedder, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SOURCE_DB_URL", f"sqlite:///{tmp_path / 'shop.db'}")
    with open_fake_house(tmp_path / "home", embedder) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "notes"
    made.mkdir()
    for name in ("a", "b", "c", "d"):
        (made / f"{name}.md").write_text(f"# Note {name}\n\nThe text of {name}.\n")
    return made


def _fill(shop: sqlite3.Connection, n: int = 10) -> None:
    rows = [(number, f"T{number}", f"Body of {number}.", 2000 + number, number) for number in range(1, n + 1)]
    shop.executemany("INSERT INTO tickets (id, title, body, year, seq) VALUES (?, ?, ?, ?, ?)", rows)


def _sync(house: House, collection: str = "notes", **options: Any) -> SourceSync:
    (only,) = house.sync(collection, **options).sources
    return only


def _counts(done: SourceSync) -> tuple[int, int, int, int]:
    return done.added, done.updated, done.unchanged, done.deleted


def _ids(house: House, collection: str = "notes") -> set[str]:
    return {each.id for each in house.documents.list(collection, limit=1000).documents}


def _bind_folder(house: House, folder: Path) -> None:
    house.sources.bind("notes", FolderSourceSettings(path=str(folder)))


def test_folder_sync_adds_changes_and_deletes(house: House, folder: Path, embedder: HashEmbedder) -> None:
    _bind_folder(house, folder)
    assert _counts(_sync(house)) == (4, 0, 0, 0)
    embedder.calls.clear()
    assert _counts(_sync(house)) == (0, 0, 4, 0)
    assert embedder.calls == []
    (folder / "a.md").write_text("# Note a\n\nAnother text.\n")
    (folder / "e.md").write_text("# Note e\n\nA fifth one.\n")
    (folder / "b.md").unlink()
    done = _sync(house)
    assert _counts(done) == (1, 1, 2, 1)
    assert done.outcome == "ok"
    assert _ids(house) == {"a.md", "c.md", "d.md", "e.md"}
    assert house.search("notes", "fifth", mode="lexical").hits[0].document_id == "e.md"


def test_folder_sync_renames_without_embedding_and_without_the_guard(
    house: House, folder: Path, embedder: HashEmbedder
) -> None:
    _bind_folder(house, folder)
    _sync(house)
    embedder.calls.clear()
    (folder / "moved").mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.md").rename(folder / "moved" / f"{name}.md")
    done = _sync(house)
    assert (_counts(done), done.renamed, done.outcome) == ((3, 0, 1, 3), 3, "ok")
    assert embedder.calls == []
    assert _ids(house) == {"moved/a.md", "moved/b.md", "moved/c.md", "d.md"}


def test_folder_that_lost_most_of_its_files_deletes_nothing_unless_allowed(house: House, folder: Path) -> None:
    _bind_folder(house, folder)
    _sync(house)
    for name in ("a", "b"):
        (folder / f"{name}.md").unlink()
    (folder / "new.md").write_text("New.")
    done = _sync(house)
    assert done.outcome == "failed"
    assert done.error is not None
    assert done.error.code == "mass_deletion"
    assert "2 of its 4 documents" in done.error.message
    assert _ids(house) == {"a.md", "b.md", "c.md", "d.md", "new.md"}
    assert not house.sync("notes").in_step
    assert _counts(_sync(house, allow_mass_delete=True)) == (0, 0, 3, 2)
    assert house.sync("notes").in_step


def test_folder_that_is_gone_or_empty_deletes_nothing(house: House, folder: Path) -> None:
    _bind_folder(house, folder)
    _sync(house)
    away = folder.rename(folder.parent / "away")
    done = _sync(house)
    assert (done.outcome, done.error and done.error.code) == ("failed", "not_found")
    folder.mkdir()
    done = _sync(house)
    assert (done.outcome, done.error and done.error.code) == ("failed", "mass_deletion")
    folder.rmdir()
    away.rename(folder)
    assert _counts(_sync(house)) == (0, 0, 4, 0)
    assert house.sources.list("notes")[0].last_outcome == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable for root")
def test_folder_below_that_cannot_be_listed_keeps_its_documents(house: House, folder: Path) -> None:
    below = folder / "below"
    below.mkdir()
    (below / "x.md").write_text("X.")
    _bind_folder(house, folder)
    _sync(house)
    below.chmod(0)
    try:
        assert _sync(house).outcome == "partial"
        assert "below/x.md" in _ids(house)
    finally:
        below.chmod(0o755)


def test_folder_file_that_became_unreadable_keeps_its_document_and_is_a_dead_letter(
    house: House, folder: Path
) -> None:
    _bind_folder(house, folder)
    _sync(house)
    text = (folder / "a.md").read_bytes()
    (folder / "a.md").write_bytes(b"\x00\x01\x02\x03" * 100)
    done = _sync(house)
    assert (done.outcome, len(done.failures)) == ("partial", 1)
    assert "a.md" in _ids(house)
    (letter,) = house.sources.dead_letters("notes", "notes")
    assert letter.place.endswith("a.md")
    assert house.sources.list("notes")[0].dead_letters == 1
    (folder / "a.md").write_bytes(text)
    assert _sync(house).outcome == "ok"
    assert house.sources.dead_letters("notes", "notes") == []


def test_sql_sync_adds_changes_and_deletes(house: House, shop: sqlite3.Connection, embedder: HashEmbedder) -> None:
    _fill(shop)
    house.sources.bind("notes", SHOP)
    assert _counts(_sync(house)) == (10, 0, 0, 0)
    embedder.calls.clear()
    report = house.sync("notes")
    assert (report.tokens, report.cached_chunks, report.sources[0].unchanged) == (0, 0, 10)
    shop.execute("UPDATE tickets SET body = 'Anew.' WHERE id = 3")
    shop.execute("DELETE FROM tickets WHERE id IN (5, 6)")
    _fill_one(shop, 11)
    assert _counts(_sync(house)) == (1, 1, 7, 2)
    assert len(embedder.calls) == 2
    assert _ids(house) == {str(number) for number in range(1, 12)} - {"5", "6"}


def _fill_one(shop: sqlite3.Connection, number: int, **columns: object) -> None:
    row = {"id": number, "title": f"T{number}", "body": f"Body of {number}.", "seq": number, **columns}
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    shop.execute(f"INSERT OR REPLACE INTO tickets ({names}) VALUES ({marks})", list(row.values()))


def test_sql_change_in_metadata_or_in_other_columns_embeds_nothing(
    house: House, shop: sqlite3.Connection, embedder: HashEmbedder
) -> None:
    _fill(shop)
    house.sources.bind("notes", SHOP)
    _sync(house)
    embedder.calls.clear()
    shop.execute("UPDATE tickets SET year = 1999 WHERE id = 4")
    shop.execute("UPDATE tickets SET gone = 'whatever'")
    assert _counts(_sync(house)) == (0, 1, 9, 0)
    assert embedder.calls == []
    assert house.documents.get("notes", "4").metadata == {"year": 1999}


def test_sql_increment_reads_little_and_finds_everything(
    house: House, shop: sqlite3.Connection, embedder: HashEmbedder
) -> None:
    _fill(shop, 20)
    house.sources.bind("notes", BY_VERSION)
    assert _counts(_sync(house)) == (20, 0, 0, 0)
    assert house.sources.list("notes")[0].mark == "20"
    embedder.calls.clear()
    shop.execute("UPDATE tickets SET body = 'Anew.', seq = 21 WHERE id = 2")
    shop.execute("DELETE FROM tickets WHERE id = 3")
    done = _sync(house)
    assert (done.read, done.updated, done.deleted) == (4, 1, 1)  # 18, 19 and 20 again, and 2
    assert len(embedder.calls) == 1
    assert house.sources.list("notes")[0].mark == "21"


def test_sql_row_that_came_with_an_old_version_is_found_by_its_id(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 20)
    house.sources.bind("notes", BY_VERSION)
    _sync(house)
    _fill_one(shop, 99, seq=1)
    assert _counts(_sync(house))[0] == 1
    assert "99" in _ids(house)


def test_sql_full_sync_finds_a_change_without_a_newer_version(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 20)
    house.sources.bind("notes", BY_VERSION)
    _sync(house)
    shop.execute("UPDATE tickets SET body = 'Unseen.' WHERE id = 2")
    assert _counts(_sync(house))[1] == 0
    assert _counts(_sync(house, full=True)) == (0, 1, 19, 0)


def test_sql_soft_deleted_rows_go_out_and_come_back(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 20)
    shape = RowShape(text_columns=("body",), deleted_column="gone")
    settings = SqlSourceSettings(table="tickets", shape=shape, version_column="seq", overlap_versions=0)
    house.sources.bind("notes", settings)
    _sync(house)
    shop.execute("UPDATE tickets SET gone = '2024-01-01', seq = 21 WHERE id IN (2, 3)")
    assert _counts(_sync(house))[3] == 2
    shop.execute("UPDATE tickets SET gone = NULL, seq = 22 WHERE id = 2")
    assert _counts(_sync(house))[0] == 1
    assert "2" in _ids(house)
    assert "3" not in _ids(house)


def test_sql_mass_of_soft_deletions_is_refused_and_not_forgotten(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 10)
    shape = RowShape(text_columns=("body",), deleted_column="gone")
    settings = SqlSourceSettings(table="tickets", shape=shape, version_column="seq", overlap_versions=0)
    house.sources.bind("notes", settings)
    _sync(house)
    shop.execute("UPDATE tickets SET gone = '1', seq = id + 100")
    for _ in range(2):
        done = _sync(house)
        assert (done.outcome, done.error and done.error.code) == ("failed", "mass_deletion")
    assert len(_ids(house)) == 10
    assert _counts(_sync(house, allow_mass_delete=True))[3] == 10


def test_sql_table_that_was_emptied_deletes_nothing(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop)
    house.sources.bind("notes", SHOP)
    _sync(house)
    shop.execute("DELETE FROM tickets")
    assert _sync(house).outcome == "failed"
    assert len(_ids(house)) == 10


@pytest.mark.parametrize("settings", [SHOP, BY_VERSION])
def test_sql_table_that_disappears_mid_read_deletes_nothing(
    house: House, shop: sqlite3.Connection, settings: SqlSourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.indexing.differences._DOCUMENTS_PER_BATCH", 4)
    _fill(shop, 40)
    house.sources.bind("notes", settings)
    _sync(house)
    mark = house.sources.list("notes")[0].mark
    shop.execute("UPDATE tickets SET body = body || ' Longer.', seq = seq + 100")
    dropped = []

    def drop_once(_: object) -> None:
        if not dropped:
            dropped.append(shop.execute("ALTER TABLE tickets RENAME TO elsewhere"))

    done = _sync(house, progress=drop_once)
    assert dropped
    assert (done.outcome, done.error and done.error.code) == ("failed", "source_refused")
    assert len(_ids(house)) == 40
    assert house.sources.list("notes")[0].mark == mark
    shop.execute("ALTER TABLE elsewhere RENAME TO tickets")
    assert _sync(house).outcome == "ok"
    assert house.documents.get("notes", "40").text == "Body of 40. Longer."


def test_sql_bad_rows_are_dead_letters_until_they_are_good(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop)
    shop.execute("UPDATE tickets SET body = NULL, title = NULL WHERE id = 2")
    shop.execute("UPDATE tickets SET body = 'NUL ' || char(0) || '.' WHERE id = 7")
    house.sources.bind("notes", BY_VERSION)
    done = _sync(house)
    assert (done.outcome, done.added) == ("partial", 8)
    assert {failure.id for failure in done.failures} == {"2", "7"}
    assert [one.document_id for one in house.sources.dead_letters("notes", "tickets")] == ["2", "7"]
    assert _sync(house).outcome == "partial"  # still not in step
    shop.execute("UPDATE tickets SET body = 'Good.', seq = 12 WHERE id IN (2, 7)")
    assert _sync(house).outcome == "ok"
    assert house.sources.dead_letters("notes", "tickets") == []
    assert len(_ids(house)) == 10


def test_sources_with_the_same_ids_do_not_overwrite_each_other(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 3)
    house.sources.bind("notes", SHOP)
    house.sources.bind("notes", SqlSourceSettings(query="SELECT 3 AS id, 'Other.' AS text"), name="second")
    first, second = reversed(house.sync("notes").sources)
    assert (first.source, first.outcome, second.source) == ("tickets", "ok", "second") or first.outcome == "partial"
    report = house.sync("notes")
    assert sum(each.updated for each in report.sources) == 0
    (conflicting,) = [each for each in report.sources if each.failures]
    assert "belongs to source" in conflicting.failures[0].message


def test_sync_leaves_documents_that_came_another_way(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 3)
    house.sources.bind("notes", SHOP)
    house.documents.upsert("notes", [Document(id="pushed", text="By hand.")])
    _sync(house)
    assert _counts(_sync(house)) == (0, 0, 3, 0)
    assert _ids(house) == {"1", "2", "3", "pushed"}


def test_one_failing_source_does_not_stop_the_others(house: House, shop: sqlite3.Connection, folder: Path) -> None:
    _fill(shop, 3)
    house.sources.bind("notes", SHOP)
    _bind_folder(house, folder)
    shop.execute("DROP TABLE tickets")
    report = house.sync("notes")
    assert {each.source: each.outcome for each in report.sources} == {"notes": "ok", "tickets": "failed"}
    assert not report.in_step
    assert report.documents == 4


def test_sync_of_named_sources_alone(house: House, shop: sqlite3.Connection, folder: Path) -> None:
    _fill(shop, 3)
    house.sources.bind("notes", SHOP)
    _bind_folder(house, folder)
    assert [each.source for each in house.sync("notes", sources=["tickets"]).sources] == ["tickets"]
    with pytest.raises(NotFound, match="nothing"):
        house.sync("notes", sources=["nothing"])


def test_sync_without_sources_says_how_to_bind_one(house: House) -> None:
    with pytest.raises(UnknownCollection):
        house.sync("notes")
    house.collections.create("notes")
    with pytest.raises(InvalidInput, match="source add notes"):
        house.sync("notes")


def test_bind_checks_the_source_before_anything_is_made(house: House, shop: sqlite3.Connection) -> None:
    wrong = SqlSourceSettings(table="tickets", shape=RowShape(text_columns=("words",)))
    with pytest.raises(SourceRefused, match="no column words; it has id, title, body"):
        house.sources.bind("notes", wrong)
    with pytest.raises(InvalidSetting, match="ELSEWHERE_URL"):
        house.sources.bind("notes", SqlSourceSettings(table="tickets", url_env="ELSEWHERE_URL"))
    with pytest.raises(UnknownCollection):
        house.sources.list("notes")


def test_bind_list_and_unbind(house: House, shop: sqlite3.Connection, tmp_path: Path) -> None:
    _fill(shop, 2)
    house.sources.bind("notes", SHOP)
    with pytest.raises(Conflict, match="'tickets' already"):
        house.sources.bind("notes", SHOP)
    with pytest.raises(InvalidInput, match="cannot name a source"):
        house.sources.bind("notes", SHOP, name="a b")
    (only,) = house.sources.list("notes")
    assert (only.name, only.kind, only.last_outcome, only.settings["table"]) == ("tickets", "sql", None, "tickets")
    assert str(tmp_path) not in str(only.settings)
    _sync(house)
    house.sources.unbind("notes", "tickets")
    assert house.sources.list("notes") == []
    assert _ids(house) == {"1", "2"}
    with pytest.raises(NotFound):
        house.sources.unbind("notes", "tickets")


def test_sources_of_two_namespaces_may_have_the_same_ids(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 4)
    for tenant in ("acme", "globex"):
        settings = SqlSourceSettings(table="tickets", shape=SHAPE, namespace=tenant)
        house.sources.bind("notes", settings, name=tenant)
    assert [_counts(each) for each in house.sync("notes").sources] == [(4, 0, 0, 0), (4, 0, 0, 0)]
    shop.execute("DELETE FROM tickets WHERE id = 1")
    assert [_counts(each) for each in house.sync("notes", sources=["acme"]).sources] == [(0, 0, 3, 1)]
    assert len(house.search("notes", "body", mode="lexical", namespaces=["acme"]).hits) == 3
    assert len(house.search("notes", "body", mode="lexical", namespaces=["globex"]).hits) == 4


def test_collection_with_sources_can_be_deleted(house: House, shop: sqlite3.Connection) -> None:
    _fill(shop, 2)
    house.sources.bind("notes", SHOP)
    _sync(house)
    house.collections.delete("notes")
    house.sources.bind("notes", SHOP)
    assert _counts(_sync(house)) == (2, 0, 0, 0)
