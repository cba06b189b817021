"""What only a ledger on a server has: many processes, a network, rights, and a server that can go away."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from postgres_server import PASSWORD, PostgresServer, fresh_database, postgres_url
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from embedhouse.domain.errors import (
    Conflict,
    DiskFull,
    EmbedhouseError,
    InvalidInput,
    InvalidSetting,
    LedgerTooNew,
    MissingExtra,
    Overloaded,
    ReadOnly,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.ledger import database as database_module
from embedhouse.ledger import postgresql, tables
from embedhouse.ledger.database import Database
from embedhouse.ledger.place import LedgerContended
from embedhouse.ledger.postgresql import LedgerServer
from embedhouse.ledger.schema import migrate, migrations

ADD = text("INSERT INTO collection (name, created_at) VALUES (:name, 0)")
NAMES = text("SELECT name FROM collection ORDER BY name")


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as made:
        yield made


@pytest.fixture
def shared(url: str) -> Iterator[Database]:
    opened = Database(LedgerServer(url=url))
    yield opened
    opened.close()


def _names(database: Database) -> list[str]:
    with database.read() as ledger:
        return list(ledger.execute(NAMES).scalars())


def _add(database: Database, name: str) -> None:
    with database.write() as ledger:
        ledger.execute(ADD, {"name": name})


def _with(url: str, **parts: str) -> str:
    return urlunsplit(urlsplit(url)._replace(**parts))


def _error(url: str) -> EmbedhouseError:
    with pytest.raises(EmbedhouseError) as raised:
        Database(LedgerServer(url=url, origin="file config.toml"))
    return raised.value


def test_read_sees_one_state_however_long_it_takes(shared: Database) -> None:
    _add(shared, "first")
    with shared.read() as ledger:
        assert list(ledger.execute(NAMES).scalars()) == ["first"]
        _add(shared, "second")
        assert list(ledger.execute(NAMES).scalars()) == ["first"]
    assert _names(shared) == ["first", "second"]


def test_read_cannot_write(shared: Database) -> None:
    with pytest.raises(ReadOnly), shared.read() as ledger:
        ledger.execute(ADD, {"name": "a"})
    assert _names(shared) == []


def test_write_is_on_disk_when_it_returns_whatever_the_server_is_set_to(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE CURRENT SET synchronous_commit = off".replace("CURRENT", _name(url)))
    database = Database(LedgerServer(url=url))
    with database.write() as ledger:
        assert ledger.execute(text("SHOW synchronous_commit")).scalar() == "on"
        assert ledger.execute(text("SHOW lock_timeout")).scalar() == "30s"
        assert ledger.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
    database.close()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def test_processes_that_start_at_once_migrate_once(url: str) -> None:
    start = threading.Barrier(8)

    def begin() -> Database:
        start.wait()
        return Database(LedgerServer(url=url, connections=2))

    with ThreadPoolExecutor(8) as threads:
        opened = [future.result() for future in [threads.submit(begin) for _ in range(8)]]
    with opened[0].read() as ledger:
        numbers = list(ledger.execute(text("SELECT number FROM schema_version ORDER BY number")).scalars())
    assert numbers == [number for number, _ in migrations()]
    for each in opened:
        each.close()


def test_migration_waits_for_the_one_under_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = migrations()
    monkeypatch.setattr("embedhouse.ledger.schema.migrations", lambda: every[:-1])
    Database(LedgerServer(url=url)).close()
    monkeypatch.setattr("embedhouse.ledger.schema.migrations", lambda: every)
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as threads:
        other.execute("SELECT pg_advisory_lock(%s)", [0x656D626564])
        opening = threads.submit(Database, LedgerServer(url=url))
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.3)
        other.execute("SELECT pg_advisory_unlock(%s)", [0x656D626564])
        other.commit()
        opening.result(timeout=30).close()


def test_ledger_of_a_newer_version_is_refused(shared: Database, url: str) -> None:
    with shared.write() as ledger:
        ledger.execute(text("INSERT INTO schema_version VALUES (999)"))
    assert isinstance(_error(url), LedgerTooNew)


def test_ledger_of_an_older_version_is_left_alone_where_it_is_in_use(shared: Database, url: str) -> None:
    with shared.write() as ledger:
        ledger.execute(text("DELETE FROM schema_version WHERE number = 1"))
    with pytest.raises(Conflict, match="older"):
        Database(LedgerServer(url=url), migrates=False)


def test_tables_of_somebody_else_are_never_touched(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE document (whose TEXT)")
        connection.execute("INSERT INTO document VALUES ('theirs')")
        error = _error(url)
        assert isinstance(error, StoreRefused)
        assert "search_path" in str(error)
        assert connection.execute("SELECT whose FROM document").fetchall() == [("theirs",)]
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (1,)


def test_schema_of_ones_own_beside_the_tables_of_somebody_else(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE document (whose TEXT)")
        connection.execute("CREATE SCHEMA house")
    database = Database(LedgerServer(url=f"{url}?options=-csearch_path%3Dhouse"))
    _add(database, "mine")
    assert _names(database) == ["mine"]
    database.close()


def test_wrong_password_is_unauthorised_and_not_repeated(url: str) -> None:
    error = _error(url.replace(PASSWORD, "my-wrong-secret"))
    assert isinstance(error, StoreUnauthorized)
    assert "PGPASSWORD" in str(error)
    assert "my-wrong-secret" not in str(error) + repr(error.fields)


def test_missing_password_is_unauthorised(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert isinstance(_error(url.replace(f":{PASSWORD}", "")), StoreUnauthorized)


def test_database_that_does_not_exist_is_refused_with_the_remedy(url: str) -> None:
    error = _error(_with(url, path="/nothing_here"))
    assert isinstance(error, StoreRefused)
    assert "createdb" in str(error)


def test_server_that_is_not_there_is_unavailable() -> None:
    assert isinstance(_error("postgresql://someone:secret@127.0.0.1:1/house"), StoreUnavailable)


@pytest.mark.parametrize(
    "bad",
    [
        "mysql://a:my-secret@h/d",
        "postgresql://a:my-secret@h/d?nonsense=my-secret",
        "postgresql://a:my-secret@h:x/d",
    ],
)
def test_url_that_cannot_be_names_the_setting_and_no_secret(bad: str) -> None:
    error = _error(bad)
    assert isinstance(error, InvalidSetting)
    assert "ledger_url" in str(error)
    assert "file config.toml" in str(error)
    assert "my-secret" not in str(error)


def test_password_is_shown_nowhere(shared: Database, url: str) -> None:
    assert PASSWORD not in shared.name
    assert PASSWORD not in repr(LedgerServer(url=url))
    assert PASSWORD not in repr(LedgerServer(url=f"{url}?password={PASSWORD}"))


def test_user_without_rights_is_refused_with_the_remedy(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = f"reader_{_name(url)}"
        connection.execute(f"CREATE USER {name} PASSWORD '{PASSWORD}'")
        parts = urlsplit(url)
        try:
            error = _error(_with(url, netloc=f"{name}:{PASSWORD}@{parts.hostname}:{parts.port}"))
        finally:
            connection.execute(f"DROP USER {name}")
    assert isinstance(error, StoreRefused)
    assert "GRANT" in str(error)


def test_database_of_another_encoding_is_refused() -> None:
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        name = "test_latin"
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            error = _error(_with(postgres_url(), path=f"/{name}"))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert isinstance(error, StoreRefused)
    assert "UTF8" in str(error)


def test_server_that_is_too_old_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_OLDEST", 990_000)
    error = _error(url)
    assert isinstance(error, StoreRefused)
    assert "99 or newer" in str(error)


def test_database_that_is_set_read_only_says_so(shared: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {_name(url)} SET default_transaction_read_only = on")
    fresh = Database(LedgerServer(url=url))
    with pytest.raises(ReadOnly, match="standby"):
        _add(fresh, "a")
    assert _names(fresh) == []
    fresh.close()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("53100", DiskFull),
        ("53300", StoreUnavailable),
        ("57P03", StoreUnavailable),
        ("57014", StoreUnavailable),
        ("08006", StoreUnavailable),
        ("28000", StoreUnauthorized),
        ("40001", LedgerContended),
        ("40P01", LedgerContended),
        ("55P03", LedgerContended),
    ],
)
def test_errors_of_the_server_are_typed(shared: Database, state: str, expected: type[EmbedhouseError]) -> None:
    def write() -> None:
        with shared.write() as ledger:
            ledger.execute(ADD, {"name": "a"})
            _raise(ledger, state)

    with pytest.raises(expected):
        write()
    assert _names(shared) == []


def _raise(ledger: Connection, state: str) -> None:
    ledger.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'as the test says' USING ERRCODE = '{state}'; END $$")


def test_text_that_postgresql_cannot_hold_is_invalid_input(shared: Database) -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        _add(shared, "a\0b")
    assert _names(shared) == []


def test_deadlock_is_tried_again_until_both_have_written(shared: Database) -> None:
    for name in ("a", "b"):
        _add(shared, name)
    both_hold_one = threading.Barrier(2)
    attempts = []

    def take(first: str, second: str) -> None:
        def step() -> None:
            attempts.append(first)
            with shared.write() as ledger:
                _touch(ledger, first)
                if len(attempts) <= 2:
                    both_hold_one.wait()
                _touch(ledger, second)

        shared.persist(step)

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(take, *pair) for pair in (("a", "b"), ("b", "a"))]:
            future.result(timeout=30)
    assert len(attempts) == 3
    with shared.read() as ledger:
        assert list(ledger.execute(text("SELECT revision FROM collection")).scalars()) == [2, 2]


def _touch(ledger: Connection, name: str) -> None:
    ledger.execute(text("UPDATE collection SET revision = revision + 1 WHERE name = :name"), {"name": name})


def test_persist_gives_up_after_a_while_and_raises_other_errors_at_once(
    shared: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_FIRST_PAUSE_S", 0.0)
    calls: list[str] = []

    def failing(state: str) -> Callable[[], None]:
        def step() -> None:
            calls.append(state)
            with shared.write() as ledger:
                _raise(ledger, state)

        return step

    with pytest.raises(LedgerContended):
        shared.persist(failing("40001"))
    with pytest.raises(DiskFull):
        shared.persist(failing("53100"))
    assert calls == ["40001"] * 6 + ["53100"]


def test_connections_are_limited_and_the_next_one_waits(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_POOL_WAIT_S", 0.2)
    database = Database(LedgerServer(url=url, connections=2))
    with database.read() as first, database.read() as second:
        assert first.execute(NAMES).all() == second.execute(NAMES).all() == []
        with pytest.raises(Overloaded, match="ledger_pool"):
            _names(database)
    assert _names(database) == []
    database.close()


def test_server_that_was_away_is_found_again() -> None:
    with PostgresServer() as server:
        database = Database(LedgerServer(url=server.url))
        _add(database, "kept")
        server.kill()
        with pytest.raises(StoreUnavailable):
            _names(database)
        server.start()
        assert _names(database) == ["kept"]
        database.close()


def test_connection_that_is_cut_in_the_middle_loses_only_its_own_step(shared: Database, url: str) -> None:
    def write() -> None:
        with shared.write() as ledger:
            ledger.execute(ADD, {"name": "lost"})
            _cut(ledger, url)
            ledger.execute(ADD, {"name": "never"})

    with pytest.raises(StoreUnavailable):
        write()
    assert _names(shared) == []
    _add(shared, "kept")
    assert _names(shared) == ["kept"]


def _cut(ledger: Connection, url: str) -> None:
    pid = ledger.execute(text("SELECT pg_backend_pid()")).scalar()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_names_are_in_the_order_of_their_bytes_as_in_a_file(place: Path | LedgerServer, database: Database) -> None:
    names = ["b", "a", "B", "é", "z", "_", "10", "9", "\U0001f600", "ﬀ"]
    for name in names:
        _add(database, name)
    assert _names(database) == sorted(names)


def test_order_is_by_bytes_whatever_the_database_is_set_to(shared: Database) -> None:
    query = text(
        "SELECT DISTINCT collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'text'"
    )
    with shared.read() as ledger:
        assert list(ledger.execute(query).scalars()) == ["C"]


def test_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "embedhouse.ledger.postgresql", None)
    with pytest.raises(MissingExtra, match=r"embedhouse\[postgresql\]"):
        Database(LedgerServer(url="postgresql://h/d"))


def _shape(engine: Engine) -> dict[str, object]:
    """Columns, indexes and foreign keys of every table, as SQLAlchemy reads them."""
    found = inspect(engine)
    return {
        name: (
            [(c["name"], str(c["type"]).partition(" COLLATE")[0], c["nullable"]) for c in found.get_columns(name)],
            found.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], tuple(i["column_names"]), i["unique"]) for i in found.get_indexes(name)),
            sorted((tuple(k["constrained_columns"]), k["referred_table"]) for k in found.get_foreign_keys(name)),
        )
        for name in found.get_table_names()
        if name != "schema_version"
    }


def test_schema_is_what_all_migrations_make(url: str) -> None:
    def engine_of(database_url: str) -> Engine:
        return create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))

    with fresh_database() as other:
        migrated, declared = engine_of(url), engine_of(other)
        migrate(migrated, "migrated")
        tables.metadata.create_all(declared)
        assert _shape(migrated) == _shape(declared)
        migrated.dispose()
        declared.dispose()
