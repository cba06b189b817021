"""Rows of SQLite as documents: pages, increments, bad rows, and errors that name what exists."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    InvalidInput,
    InvalidSetting,
    SourceRefused,
    SourceUnavailable,
)
from embedhouse.ports import SourceItem
from embedhouse.sources.marks import Mark
from embedhouse.sources.rows import RowShape
from embedhouse.sources.sql import SqlSource
from embedhouse.sources.sql_settings import SqlSourceSettings

NEVER = Deadline.never()
SHAPE = RowShape(text_columns=("summary", "body"), title_column="title", metadata_columns=("year", "open"))
TICKETS = SqlSourceSettings(table="tickets", shape=SHAPE, page_rows=3)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    connection.execute(
        "CREATE TABLE tickets (id INTEGER PRIMARY KEY, title TEXT, summary TEXT, body TEXT, year INTEGER, "
        "open BOOLEAN, updated_at DATETIME, gone TEXT)"
    )
    yield connection
    connection.close()


def _environ(tmp_path: Path) -> dict[str, str]:
    return {"SOURCE_DB_URL": f"sqlite:///{tmp_path / 'shop.db'}"}


def _source(tmp_path: Path, settings: SqlSourceSettings = TICKETS, **options: Any) -> SqlSource:
    return SqlSource("shop", settings, _environ(tmp_path), **options)


def _add(shop: sqlite3.Connection, **row: object) -> None:
    row = {"title": "T", "summary": f"Summary {row.get('id')}.", **row}
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    shop.execute(f"INSERT OR REPLACE INTO tickets ({names}) VALUES ({marks})", list(row.values()))


def _read(source: SqlSource) -> list[SourceItem]:
    return list(source.read(NEVER))


def _ids(items: list[SourceItem]) -> list[str]:
    return [item.document.id for item in items if item.document]


def test_sql_rows_become_documents_with_text_title_and_metadata(shop: sqlite3.Connection, tmp_path: Path) -> None:
    _add(shop, id=7, title="Printer  jam", summary="Floor two.", body="Paper.", year=2024, open=1)
    _add(shop, id=8, title=None, summary=None, body="Only a body.")
    first, second = [item.document for item in _read(_source(tmp_path))]
    assert first is not None
    assert second is not None
    assert (first.id, first.title, first.text) == ("7", "Printer jam", "Floor two.\n\nPaper.")
    assert (first.metadata, first.source) == ({"year": 2024, "open": True}, "sql:shop")
    assert (second.title, second.text, second.metadata) == ("", "Only a body.", {})


def test_sql_reads_every_row_once_over_many_pages(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(1, 24):
        _add(shop, id=number)
    assert _ids(_read(_source(tmp_path))) == [str(number) for number in range(1, 24)]


def test_sql_never_uses_an_offset(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(10):
        _add(shop, id=number)
    source = _source(tmp_path)
    statements: list[tuple[str, tuple[object, ...]]] = []
    event.listen(source._database._engine, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    _read(source)
    pages = [(statement, values) for statement, values in statements if "ORDER BY" in statement]
    assert len(pages) == 4
    assert all("tickets.id > ?" in statement for statement, _ in pages[1:])
    assert {values[-1] for statement, values in pages if "OFFSET" in statement} <= {0}


def test_sql_rows_deleted_while_it_reads_move_no_other_row(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(1, 10):
        _add(shop, id=number)
    found = []
    for item in _source(tmp_path).read(NEVER):
        found.append(item.document.id if item.document else "")
        if item.document and item.document.id == "3":
            shop.execute("DELETE FROM tickets WHERE id IN (1, 2)")
    assert found == [str(number) for number in range(1, 10)]


def test_sql_bad_rows_are_failures_of_their_own(shop: sqlite3.Connection, tmp_path: Path) -> None:
    _add(shop, id=1)
    _add(shop, id=2, title=None, summary=None)
    _add(shop, id=3, summary="x" * 2000)
    _add(shop, id=4, summary=b"\x00\x01")
    _add(shop, id=5)
    items = _read(_source(tmp_path, max_text_bytes=1000))
    assert [(item.id, item.error.code) for item in items if item.error] == [
        ("2", "unreadable_source"),
        ("3", "too_large"),
        ("4", "unreadable_source"),
    ]
    assert _ids(items) == ["1", "5"]


def test_sql_text_that_is_not_utf8_does_not_end_the_run(shop: sqlite3.Connection, tmp_path: Path) -> None:
    _add(shop, id=1)
    shop.execute("UPDATE tickets SET summary = CAST(x'ff41' AS TEXT)")
    _add(shop, id=2)
    assert _ids(_read(_source(tmp_path))) == ["1", "2"]  # the first is refused where texts are checked


def test_sql_row_without_id_is_a_failure(tmp_path: Path, shop: sqlite3.Connection) -> None:
    shop.execute("CREATE TABLE loose (id TEXT, text TEXT)")
    shop.executemany("INSERT INTO loose VALUES (?, ?)", [("a", "A."), (None, "B."), ("c", "C."), ("c", "D.")])
    items = _read(_source(tmp_path, SqlSourceSettings(table="loose")))
    assert _ids(items) == ["a", "c"]
    messages = [str(item.error) for item in items if item.error]
    assert "1 rows have no id: id is NULL" in messages[0]
    assert "'c'" in messages[1]


def test_sql_query_is_read_like_a_table(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(1, 8):
        _add(shop, id=number, year=2000 + number)
    query = "SELECT id AS nr, 'time 12:30 :x 100%' || title AS text FROM tickets WHERE year > 2003;"
    settings = SqlSourceSettings(query=query, shape=RowShape(id_column="nr"), page_rows=2)
    items = _read(_source(tmp_path, settings))
    assert _ids(items) == ["4", "5", "6", "7"]
    assert items[0].document is not None
    assert items[0].document.text == "time 12:30 :x 100%T"


@pytest.mark.parametrize("separator", [" ", "T"])
def test_sql_increment_reads_what_changed_since_the_mark_less_the_overlap(
    shop: sqlite3.Connection, tmp_path: Path, separator: str
) -> None:
    for number in range(6):
        _add(shop, id=number, updated_at=f"2024-03-01{separator}10:0{number}:00")
    settings = SqlSourceSettings(
        table="tickets", shape=SHAPE, version_column="updated_at", overlap_s=90, page_rows=2
    )
    first = _source(tmp_path, settings)
    assert len(_ids(_read(first))) == 6
    assert first.whole
    _add(shop, id=0, updated_at=f"2024-03-01{separator}10:07:00")
    again = _source(tmp_path, settings, mark=Mark.from_json(first.mark.to_json()) if first.mark else None)
    assert _ids(_read(again)) == ["4", "5", "0"]
    assert not again.whole


def test_sql_equal_versions_are_all_read_over_pages(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(20):
        _add(shop, id=number, updated_at="2024-03-01 10:00:00")
    settings = SqlSourceSettings(
        table="tickets", shape=SHAPE, version_column="updated_at", overlap_s=0, page_rows=3
    )
    source = _source(tmp_path, settings, mark=Mark(kind="text", value="2024-03-01 10:00:00"))
    assert _ids(_read(source)) == [str(number) for number in range(20)]


def test_sql_row_from_the_future_does_not_hide_later_changes(shop: sqlite3.Connection, tmp_path: Path) -> None:
    _add(shop, id=1, updated_at="2999-01-01 00:00:00")
    settings = SqlSourceSettings(table="tickets", shape=SHAPE, version_column="updated_at")
    first = _source(tmp_path, settings)
    _read(first)
    assert first.mark is not None
    assert first.mark.value < "2999"
    shop.execute("INSERT INTO tickets (id, summary, updated_at) VALUES (2, 'New.', datetime('now'))")
    assert _ids(_read(_source(tmp_path, settings, mark=first.mark))) == ["2", "1"]


def test_sql_rows_without_version_are_read_every_time(shop: sqlite3.Connection, tmp_path: Path) -> None:
    _add(shop, id=1, updated_at="2024-03-01 10:00:00")
    _add(shop, id=2)
    settings = SqlSourceSettings(table="tickets", shape=SHAPE, version_column="updated_at", overlap_s=0)
    assert _ids(_read(_source(tmp_path, settings, mark=Mark(kind="text", value="2025-01-01 00:00:00")))) == ["2"]


def test_sql_row_that_changes_while_it_is_read_keeps_the_mark_back(
    shop: sqlite3.Connection, tmp_path: Path
) -> None:
    for number in range(1, 7):
        _add(shop, id=number, year=number)
    settings = SqlSourceSettings(
        table="tickets", shape=SHAPE, version_column="year", overlap_versions=0, page_rows=2
    )
    source = _source(tmp_path, settings, mark=Mark(kind="number", value="1"))
    items = []
    for item in source.read(NEVER):
        items.append(item)
        if len(items) == 1:
            shop.execute("UPDATE tickets SET year = 6, summary = 'Later.' WHERE id = 1")
    assert _ids(items) == ["1", "2", "3", "4", "5", "6"]
    assert source.mark == Mark(kind="number", value="1")


def test_sql_soft_deleted_rows_are_items_that_say_so(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number, gone in enumerate([None, "0", "false", "", "2024-01-01", "1", "t"]):
        _add(shop, id=number, gone=gone)
    shape = RowShape(text_columns=("summary",), deleted_column="gone", id_prefix="t/")
    source = _source(tmp_path, SqlSourceSettings(table="tickets", shape=shape))
    assert [item.id for item in _read(source) if item.deleted] == ["t/4", "t/5", "t/6"]
    assert [document_id for document_id, _ in source.ids(NEVER)] == ["t/0", "t/1", "t/2", "t/3"]


def test_sql_rows_of_ids_are_looked_up(shop: sqlite3.Connection, tmp_path: Path) -> None:
    for number in range(5):
        _add(shop, id=number)
    assert _ids(list(_source(tmp_path).rows_of([1, 3, 99], NEVER))) == ["1", "3"]


def test_sql_missing_columns_are_named_with_those_that_exist(shop: sqlite3.Connection, tmp_path: Path) -> None:
    settings = SqlSourceSettings(table="tickets", shape=RowShape(text_columns=("text", "summary")))
    with pytest.raises(SourceRefused, match=r"tickets has no column text; it has id, title, summary, body, year"):
        _source(tmp_path, settings).check()


def test_sql_missing_table_is_named_with_those_that_exist(shop: sqlite3.Connection, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="no table ticket; there are tickets"):
        _source(tmp_path, SqlSourceSettings(table="ticket")).check()


def test_sql_query_that_is_wrong_is_refused_with_the_databases_words(
    shop: sqlite3.Connection, tmp_path: Path
) -> None:
    with pytest.raises(SourceRefused, match="syntax error"):
        _source(tmp_path, SqlSourceSettings(query="SELEC 1")).check()
    with pytest.raises(SourceRefused, match="syntax error"):
        _source(tmp_path, SqlSourceSettings(query="DELETE FROM tickets RETURNING id")).check()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite", "oracle9://x", "sqlite:////nowhere/at/all.db"])
def test_sql_wrong_address_is_a_clear_error(url: str) -> None:
    with pytest.raises((InvalidSetting, SourceRefused), match=r"SOURCE_DB_URL|no file /nowhere/at/all\.db"):
        SqlSource("shop", TICKETS, {"SOURCE_DB_URL": url}).check()


def test_sql_address_with_a_password_is_never_shown() -> None:
    for url in ("postgresql+nodriver://me:s3cret@127.0.0.1:1/x", "s3cret"):
        with pytest.raises(InvalidSetting) as raised:
            SqlSource("shop", TICKETS, {"SOURCE_DB_URL": url}).check()
        assert "s3cret" not in str(raised.value)
        assert "s3cret" not in repr(raised.value.fields)


def test_sql_table_that_disappears_mid_read_is_an_error_not_an_end(
    shop: sqlite3.Connection, tmp_path: Path
) -> None:
    for number in range(12):
        _add(shop, id=number)
    source = _source(tmp_path)
    reading = source.read(NEVER)
    next(reading)
    shop.execute("DROP TABLE tickets")
    with pytest.raises(SourceRefused, match="no such table"):
        list(reading)


def test_sql_database_that_is_locked_is_unavailable(
    shop: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.sources.sql_engine._CONNECT_TIMEOUT_S", 0)
    shop.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceUnavailable, match="locked"):
        _source(tmp_path).check()


def test_sql_source_writes_nothing(shop: sqlite3.Connection, tmp_path: Path) -> None:
    source = _source(tmp_path)
    with pytest.raises(SourceRefused, match="readonly"), source._database.read() as connection:
        connection.execute(text("INSERT INTO tickets (id) VALUES (1)"))


def test_sql_settings_want_a_table_or_a_query() -> None:
    with pytest.raises(InvalidInput, match="either a table or a query"):
        SqlSourceSettings()
    with pytest.raises(InvalidInput, match="either a table or a query"):
        SqlSourceSettings(table="a", query="SELECT 1")
