"""A real PostgreSQL as a source: types, times with a zone, schemas, wrong passwords, and a server that goes
away."""

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psycopg
import pytest
from fake_house import HashEmbedder, open_fake_house
from postgres_server import PASSWORD, PostgresServer, fresh_database
from sqlalchemy import text

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import SourceRefused, SourceUnauthorized, SourceUnavailable
from embedhouse.house import House
from embedhouse.ports import SourceItem
from embedhouse.sources.marks import Mark
from embedhouse.sources.rows import RowShape
from embedhouse.sources.sql import SqlSource
from embedhouse.sources.sql_settings import SqlSourceSettings

NEVER = Deadline.never()
SHAPE = RowShape(
    text_columns=("body",),
    title_column="title",
    metadata_columns=("price", "open", "tags", "more", "day", "maker"),
    deleted_column="deleted_at",
)
SHOP = SqlSourceSettings(table="shop.tickets", shape=SHAPE, version_column="updated_at", page_rows=7)
NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)

TABLE = """
CREATE SCHEMA shop;
CREATE TABLE shop.tickets (
    id BIGINT PRIMARY KEY, title TEXT, body TEXT, price NUMERIC(9, 2), open BOOLEAN, tags TEXT[], more JSONB,
    day DATE, maker UUID, secret BYTEA, deleted_at TIMESTAMPTZ, updated_at TIMESTAMPTZ
);
CREATE INDEX ON shop.tickets (updated_at, id);
"""


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as made, psycopg.connect(made, autocommit=True) as shop:
        shop.execute(TABLE)
        yield made


@pytest.fixture
def shop(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def house(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("SOURCE_DB_URL", url)
    with open_fake_house(tmp_path / "home", HashEmbedder()) as opened:
        yield opened


def _fill(shop: psycopg.Connection[Any], n: int, at: dt.datetime = NOON) -> None:
    shop.execute(
        "INSERT INTO shop.tickets (id, title, body, updated_at) "
        "SELECT n, 'T' || n, 'Body of ' || n, %s FROM generate_series(1, %s) AS n",
        (at, n),
    )


def _source(url: str, settings: SqlSourceSettings = SHOP, **options: Any) -> SqlSource:
    return SqlSource("shop", settings, {"SOURCE_DB_URL": url}, **options)


def _check(source: SqlSource) -> None:
    with closing(source):
        source.check()


def _read(source: SqlSource) -> list[SourceItem]:
    try:
        return list(source.read(NEVER))
    finally:
        source.close()


def _ids(items: list[SourceItem]) -> list[str]:
    return [item.document.id for item in items if item.document]


def test_postgres_types_become_json(url: str, shop: psycopg.Connection[Any]) -> None:
    maker = uuid.uuid4()
    shop.execute(
        "INSERT INTO shop.tickets VALUES (1, 'T', 'Body.', 12.50, true, '{a,b}', '{\"x\": [1]}', '2024-03-01', %s)",
        (maker,),
    )
    (item,) = _read(_source(url))
    assert item.document is not None
    assert item.document.metadata == {
        "price": 12.5,
        "open": True,
        "tags": ["a", "b"],
        "more": {"x": [1]},
        "day": "2024-03-01",
        "maker": str(maker),
    }


def test_postgres_rows_with_equal_times_are_all_read(url: str, shop: psycopg.Connection[Any]) -> None:
    _fill(shop, 50)
    first = _source(url)
    assert len(_ids(_read(first))) == 50
    assert first.mark is not None
    assert first.mark.version() == NOON
    settings = msgspec.structs.replace(SHOP, overlap_s=0)
    again = _source(url, settings, mark=Mark(kind="time", value=NOON.isoformat()))
    assert _ids(_read(again)) == [str(number) for number in range(1, 51)]


def test_postgres_times_without_a_zone_are_a_cursor_too(url: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("CREATE TABLE naive (id TEXT PRIMARY KEY, text TEXT, at TIMESTAMP)")
    shop.execute(
        "INSERT INTO naive SELECT 'n' || n, 'Text ' || n, '2024-03-01 12:00:00.123456' FROM generate_series(1, 9) n"
    )
    settings = SqlSourceSettings(table="naive", version_column="at", overlap_s=0, page_rows=2)
    first = _source(url, settings)
    assert len(_ids(_read(first))) == 9
    assert first.mark == Mark(kind="time", value="2024-03-01T12:00:00.123456")
    assert len(_ids(_read(_source(url, settings, mark=first.mark)))) == 9


def test_postgres_uuid_keys_and_a_query(url: str, shop: psycopg.Connection[Any]) -> None:
    shop.execute("CREATE TABLE things (key UUID PRIMARY KEY, words TEXT)")
    shop.execute("INSERT INTO things SELECT gen_random_uuid(), 'Words ' || n FROM generate_series(1, 9) n")
    query = "SELECT key AS id, words || ' 100%' AS text FROM things WHERE words LIKE 'Words%' AND key::text <> ':x'"
    items = _read(_source(url, SqlSourceSettings(query=query, page_rows=2)))
    assert len(set(_ids(items))) == 9
    assert items[0].document is not None
    assert items[0].document.text.endswith("100%")


def test_postgres_keys_that_are_no_ids_are_failures_of_their_rows(url: str) -> None:
    query = "SELECT to_jsonb(n) || '{}'::jsonb AS id, 'Text.' AS text FROM generate_series(1, 3) AS n"
    items = _read(_source(url, SqlSourceSettings(query=query)))
    assert [str(item.error).count("an id must be") for item in items] == [1, 1, 1]


def test_postgres_row_that_committed_late_is_read_within_the_overlap(
    house: House, url: str, shop: psycopg.Connection[Any]
) -> None:
    _fill(shop, 10, dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5))
    house.sources.bind("notes", SHOP)
    with psycopg.connect(url) as late:
        late.execute(
            "INSERT INTO shop.tickets (id, body, updated_at) VALUES (99, 'Late.', now() - interval '20 seconds')"
        )
        assert house.sync("notes").sources[0].added == 10
    assert house.sync("notes").sources[0].added == 1


def test_postgres_unchanged_costs_nothing_and_one_change_that_alone(
    house: House, shop: psycopg.Connection[Any]
) -> None:
    _fill(shop, 100)
    house.sources.bind("notes", SHOP)
    assert house.sync("notes").sources[0].added == 100
    report = house.sync("notes", full=True)
    assert (report.sources[0].unchanged, report.tokens) == (100, 0)
    shop.execute("UPDATE shop.tickets SET body = 'Anew.', updated_at = now() WHERE id = 7")
    report = house.sync("notes")
    assert (report.sources[0].updated, report.tokens) == (1, 1 + 1)
    shop.execute("UPDATE shop.tickets SET deleted_at = now(), updated_at = now() WHERE id = 8")
    assert house.sync("notes").sources[0].deleted == 1


def test_postgres_missing_table_and_column_are_named(url: str) -> None:
    with pytest.raises(SourceRefused, match=r"shop\.ticket"):
        _check(_source(url, SqlSourceSettings(table="shop.ticket")))
    with pytest.raises(SourceRefused, match="no column text; it has id, title, body"):
        _check(_source(url, SqlSourceSettings(table="shop.tickets")))


def test_postgres_wrong_password_user_and_database_are_told_apart(url: str) -> None:
    parts = urlsplit(url)
    wrong = urlunsplit(parts._replace(netloc=parts.netloc.replace(PASSWORD, "w0rng-secret")))
    with pytest.raises(SourceUnauthorized, match="SOURCE_DB_URL") as raised:
        _check(_source(wrong))
    assert "w0rng-secret" not in str(raised.value)
    with pytest.raises(SourceRefused, match="nowhere"):
        _check(_source(urlunsplit(parts._replace(path="/nowhere"))))
    with pytest.raises(SourceUnavailable):
        _check(_source("postgresql://me:x@127.0.0.1:1/x"))


def test_postgres_is_only_read(url: str) -> None:
    source = _source(url)
    with pytest.raises(SourceRefused, match="read-only"), source._database.read() as connection:
        connection.execute(text("DELETE FROM shop.tickets"))
    source.close()


def test_postgres_that_goes_away_mid_read_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedhouse.indexing.differences._DOCUMENTS_PER_BATCH", 10)
    with PostgresServer() as server:
        monkeypatch.setenv("SOURCE_DB_URL", server.url)
        with psycopg.connect(server.url, autocommit=True) as shop:
            shop.execute(TABLE)
            _fill(shop, 100)
        with open_fake_house(tmp_path / "home", HashEmbedder()) as house:
            settings = SqlSourceSettings(table="shop.tickets", shape=SHAPE, page_rows=10)
            house.sources.bind("notes", settings)
            monkeypatch.setattr("embedhouse.sources.sql._FIRST_PAGE_ROWS", 10)
            assert house.sync("notes").sources[0].added == 100
            killed = []

            def kill_once(_: object) -> None:
                if not killed:
                    killed.append(server.kill())

            done = house.sync("notes", progress=kill_once).sources[0]
            assert killed
            assert (done.outcome, done.error and done.error.code) == ("failed", "source_unavailable")
            assert done.deleted == 0
            assert house.collections.get("notes").documents == 100
            assert house.sync("notes").sources[0].outcome == "failed"
            server.start()
            assert house.sync("notes").sources[0].unchanged == 100
