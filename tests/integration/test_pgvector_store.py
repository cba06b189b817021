"""Stores in PostgreSQL: what a server must be, what happens to what is not ours, limits, deadlines, outages.

What every index answers is in tests/contract. All of this needs a real server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from index_cases import DIMENSIONS, LEXICAL, NEVER, dense, entry, keys_of, lexical, reference, vectors_of, write
from pgvector_store import connect, execute, foreign_table
from postgres_server import PASSWORD, PostgresServer, fresh_database, with_database
from psycopg import sql
from small_disk import small_disk

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    CapabilityMissing,
    DeadlineExceeded,
    EmbedhouseError,
    IndexDamaged,
    InvalidSetting,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.domain.stores import Option
from embedhouse.indexes.naming import object_name
from embedhouse.indexes.pgvector import lexical as pgvector_lexical
from embedhouse.indexes.pgvector import store as pgvector
from embedhouse.indexes.pgvector import writing as pgvector_writing
from embedhouse.indexes.pgvector.store import PgvectorStore
from embedhouse.ports import Index, IndexSpec, Sides

OWNER = "0123456789ab"
SPEC = IndexSpec(name="indexes/1/abcd", dimensions=DIMENSIONS, lexical=LEXICAL)
TABLE = object_name(OWNER, SPEC.name)

Opener = Callable[..., PgvectorStore]


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    with fresh_database() as made:
        yield made


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Connects to stores that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def open_store(url: str, owner: str = OWNER, api_key: str = "", **options: Option) -> PgvectorStore:
            store = connect(url, owner, api_key, **options)
            stack.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(url: str, opened: Opener) -> PgvectorStore:
    return opened(url, graph_from=1)


@pytest.fixture
def index(store: PgvectorStore) -> Index:
    return store.open(SPEC)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    with PostgresServer() as made:
        yield made


@pytest.fixture
def someone(url: str) -> Iterator[str]:
    """The database as a user without any rights, whose password is his name."""
    name = f"someone_{os.urandom(4).hex()}"
    role = sql.Identifier(name)
    execute(url, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(name)))
    yield url.replace(f"postgres:{PASSWORD}@", f"{name}:{name}@")
    execute(url, sql.SQL("DROP OWNED BY {}").format(role))
    execute(url, sql.SQL("DROP ROLE {}").format(role))


def spec(**fields: Any) -> IndexSpec:
    return IndexSpec(**{"name": SPEC.name, "dimensions": DIMENSIONS, "lexical": LEXICAL, **fields})


def tables(url: str) -> list[str]:
    return [
        row[0] for row in execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    ]


def graph_is_valid(url: str) -> list[tuple[Any, ...]]:
    return execute(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", f"{TABLE}_graph")


# ---- Connecting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pools": 3}, "pool_min, pool_max"),
        ({"vectors": "bit"}, "vectors"),
        ({"pool_max": 0}, "pool_max"),
        ({"pool_min": 5, "pool_max": 2}, "pool_min"),
        ({"ef_search": 5_000}, "ef_search"),
        ({"graph_from": -1}, "graph_from"),
    ],
)
def test_pgvector_connect_refuses_a_bad_option(options: dict[str, Option], reason: str) -> None:
    with pytest.raises(InvalidSetting, match=reason):
        connect("postgresql://localhost/x", OWNER, **options)


@pytest.mark.parametrize(
    "bad", ["postgresql://user:se%cret@host/db", "postgresql://user:secret@host:many/db", "postgresql://h/d?no=1"]
)
def test_pgvector_connect_refuses_a_url_that_is_none(bad: str) -> None:
    with pytest.raises((StoreRefused, StoreUnavailable), match=r"url|port") as caught:
        connect(bad, OWNER)
    assert "secret" not in str(caught.value)
    assert "se%" not in str(caught.value)


def test_pgvector_connect_names_a_server_that_is_not_there() -> None:
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/x"):
        connect("postgresql://user:secret@127.0.0.1:1/x", OWNER)


def test_pgvector_connect_refuses_a_wrong_password(url: str) -> None:
    wrong = url.replace(PASSWORD, "guess-of-mine")
    with pytest.raises(StoreUnauthorized, match="password") as caught:
        connect(wrong, OWNER)
    assert "guess-of-mine" not in f"{caught.value} {caught.value.fields}"
    assert "PGPASSWORD" in str(caught.value)


def test_pgvector_connect_refuses_an_unknown_user(url: str) -> None:
    with pytest.raises(StoreUnauthorized):
        connect(url.replace("postgres:", "nobody-here:", 1), OWNER)


def test_pgvector_connect_refuses_an_unknown_database(url: str) -> None:
    with pytest.raises(StoreRefused, match="createdb"):
        connect(with_database(url, "no_such_database"), OWNER)


def test_pgvector_connect_takes_the_password_from_the_key(url: str, opened: Opener) -> None:
    without = url.replace(f":{PASSWORD}@", "@")
    assert opened(without, api_key=PASSWORD).exists(SPEC.name) is False


def test_pgvector_connect_works_over_a_socket(server: PostgresServer, opened: Opener) -> None:
    index = opened(server.socket_url).open(SPEC)
    write(index, entry(1))
    assert keys_of(dense(index)) == [1]


def test_pgvector_connect_makes_the_extension(url: str, opened: Opener) -> None:
    opened(url)
    assert execute(url, "SELECT extname FROM pg_extension WHERE extname = 'vector'") == [("vector",)]


def test_pgvector_connect_says_how_to_get_the_extension(url: str) -> None:
    if int(execute(url, "SHOW server_version_num")[0][0]) < 180_000:
        pytest.skip("extensions can be hidden from PostgreSQL 18 on")
    name = sql.Identifier(url.rsplit("/", 1)[1])
    execute(url, sql.SQL("ALTER DATABASE {} SET extension_control_path = '/nowhere'").format(name))
    with pytest.raises(StoreRefused, match=r"no extension `vector`.*Install pgvector 0\.8"):
        connect(url, OWNER)


def test_pgvector_connect_says_who_can_make_the_extension(someone: str) -> None:
    with pytest.raises(StoreRefused, match=r"permission denied.*CREATE EXTENSION vector"):
        connect(someone, OWNER)


def test_pgvector_connect_refuses_an_old_extension(url: str) -> None:
    execute(url, "CREATE EXTENSION vector")
    execute(url, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with pytest.raises(StoreRefused, match=r"0\.7\.4.*ALTER EXTENSION vector UPDATE"):
        connect(url, OWNER)


def test_pgvector_connect_refuses_an_old_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector, "_OLDEST_SERVER", 990_000)
    with pytest.raises(StoreRefused, match=r"it is PostgreSQL \d+.*Upgrade"):
        connect(url, OWNER)


def test_pgvector_connect_refuses_another_encoding(url: str) -> None:
    name = sql.Identifier(f"latin_{os.urandom(4).hex()}")
    execute(url, sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' TEMPLATE template0").format(name))
    try:
        with pytest.raises(StoreRefused, match="LATIN1"):
            connect(with_database(url, name.as_string(None)[1:-1]), OWNER)
    finally:
        execute(url, sql.SQL("DROP DATABASE {}").format(name))


# ---- Tables ------------------------------------------------------------------------------------------------------


def test_pgvector_open_makes_two_tables_and_drop_leaves_none(url: str, store: PgvectorStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1))
    assert tables(url) == [TABLE, f"{TABLE}_terms"]
    store.drop(SPEC.name)
    assert tables(url) == []
    store.drop(SPEC.name)


def test_pgvector_keeps_the_indexes_of_two_houses_apart(url: str, opened: Opener) -> None:
    ours, theirs = opened(url), opened(url, owner="ba9876543210")
    write(ours.open(SPEC), entry(1))
    write(theirs.open(SPEC), entry(2))
    ours.drop(SPEC.name)
    assert not ours.exists(SPEC.name)
    assert keys_of(dense(theirs.open(SPEC))) == [2]


@pytest.mark.parametrize("suffix", ["", "_terms", "_namespaces", "_words"])
def test_pgvector_open_never_touches_a_table_of_someone_else(url: str, store: PgvectorStore, suffix: str) -> None:
    untouched = foreign_table(url, TABLE + suffix)
    before = tables(url)
    with pytest.raises(StoreRefused, match="exists"):
        store.open(SPEC)
    with contextlib.suppress(StoreRefused):
        store.drop(SPEC.name)
    assert untouched()
    assert tables(url) == before


def test_pgvector_open_refuses_a_view_of_that_name(url: str, store: PgvectorStore) -> None:
    execute(url, sql.SQL("CREATE VIEW {} AS SELECT 1").format(sql.Identifier(TABLE)))
    with pytest.raises(StoreRefused, match=TABLE):
        store.open(SPEC)
    with pytest.raises(StoreRefused, match="not touched"):
        store.drop(SPEC.name)


@pytest.mark.parametrize(("vectors", "most"), [("halfvec", 4_000), ("vector", 2_000)])
def test_pgvector_open_takes_as_many_dimensions_as_the_graph(
    url: str, opened: Opener, vectors: str, most: int
) -> None:
    store = opened(url, vectors=vectors, graph_from=1)
    with pytest.raises(CapabilityMissing, match=f"at most {most}"):
        store.open(spec(dimensions=most + 1))
    assert tables(url) == []
    index = store.open(spec(dimensions=most))
    vector = vectors_of(1)[0].repeat(most // DIMENSIONS + 1)[:most]
    write(index, entry(1, vector=vector))
    index.optimise()
    assert index.info().unoptimised == 0
    found = index.search_dense(vector, 5, None, NEVER)
    assert found.scores == pytest.approx([1.0], abs=1e-3)


def test_pgvector_open_reports_an_index_made_for_something_else(store: PgvectorStore) -> None:
    store.open(SPEC)
    for other in (spec(dimensions=8), spec(lexical=LexicalSettings(analyzer="simple")), spec(sides="dense")):
        with pytest.raises(IndexDamaged, match="needed"):
            store.open(other)


def test_pgvector_open_keeps_the_precision_that_an_index_has(url: str, opened: Opener) -> None:
    vector = vectors_of(1)[0]
    write(opened(url, vectors="vector").open(SPEC), entry(1, vector=vector))
    found = opened(url, vectors="halfvec").open(SPEC).vectors([1])[1]
    assert found == pytest.approx(vector, abs=1e-7)


@pytest.mark.parametrize(("sides", "lacks"), [("dense", "words"), ("lexical", "meaning")])
def test_pgvector_open_for_one_side_keeps_only_that(store: PgvectorStore, sides: Sides, lacks: str) -> None:
    index = store.open(spec(sides=sides))
    assert (index.capabilities.dense, index.capabilities.lexical) == (sides == "dense", sides == "lexical")
    write(index, entry(1, "alpha", metadata={"year": 1}), entry(2, "beta alpha"))
    write(index, entry(2, "beta"))
    index.optimise()
    assert (index.info().count, index.info().unoptimised) == (2, 0)
    with pytest.raises(CapabilityMissing, match=lacks):
        lexical(index, "alpha") if sides == "dense" else dense(index)
    found = dense(index, raw={"year": 1}) if sides == "dense" else lexical(index, "alpha", raw={"year": 1})
    assert keys_of(found) == [1]


def test_pgvector_open_by_many_at_once_makes_it_once(url: str, opened: Opener) -> None:
    stores = [opened(url) for _ in range(4)]
    failures: list[BaseException] = []

    def open_and_write(key: int) -> None:
        try:
            write(stores[key].open(SPEC), entry(key + 1))
        except BaseException as error:
            failures.append(error)

    _at_once(open_and_write, range(4))
    assert failures == []
    assert list(stores[0].open(SPEC).keys()) == [1, 2, 3, 4]


def test_pgvector_reports_a_table_that_is_gone(url: str, index: Index) -> None:
    execute(url, sql.SQL("DROP TABLE {}").format(sql.Identifier(TABLE)))
    with pytest.raises(IndexDamaged, match="does not exist"):
        dense(index)


# ---- Servers that take nothing -----------------------------------------------------------------------------------


def test_pgvector_on_a_read_only_server_searches_and_refuses_writes(url: str, opened: Opener) -> None:
    write(opened(url).open(SPEC), entry(1))
    name = sql.Identifier(url.rsplit("/", 1)[1])
    execute(url, sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    store = opened(url)
    index = store.open(SPEC)
    assert keys_of(dense(index)) == [1]
    with pytest.raises(StoreRefused, match=r"read-only.*primary server"):
        write(index, entry(2))
    with pytest.raises(StoreRefused, match=r"read-only.*primary server"):
        store.open(spec(name="indexes/2/other"))
    assert list(index.keys()) == [1]


def test_pgvector_without_rights_says_which(url: str, someone: str, opened: Opener) -> None:
    execute(url, "CREATE EXTENSION vector")
    with pytest.raises(StoreRefused, match=r"permission denied.*GRANT"):
        opened(someone).open(SPEC)


def test_pgvector_on_a_full_disk_loses_nothing(server: PostgresServer, opened: Opener) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    with tempfile.TemporaryDirectory() as parent, small_disk(Path(parent) / "disk", "24m") as disk:
        os.chmod(parent, 0o755)
        shutil.chown(disk.path, "nobody")
        execute(server.url, sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(disk.path))))
        execute(server.url, "ALTER DATABASE postgres SET default_tablespace = small")
        index = opened(server.url).open(SPEC)
        write(index, entry(1, "alpha"))
        disk.fill()
        batch = [entry(key, f"alpha text {key}") for key in range(2, 1_500)]
        with pytest.raises(StoreRefused, match=r"[Nn]o space left.*Free some space"):
            write(index, *batch)
        assert keys_of(lexical(index, "alpha")) == [1]
        disk.empty()
        write(index, *batch)
        assert index.info().count == 1_499
        execute(server.url, "ALTER DATABASE postgres RESET default_tablespace")
        server.stop()


# ---- The graph ---------------------------------------------------------------------------------------------------


def test_pgvector_optimise_builds_the_graph_only_from_its_size(url: str, opened: Opener) -> None:
    index = opened(url, graph_from=50).open(SPEC)
    write(index, *(entry(key) for key in range(1, 50)))
    index.optimise()
    assert (index.info().unoptimised, graph_is_valid(url)) == (49, [])
    write(index, entry(50))
    index.optimise()
    assert (index.info().unoptimised, graph_is_valid(url)) == (0, [(True,)])


def test_pgvector_searches_use_the_graph(url: str, opened: Opener) -> None:
    store = opened(url, graph_from=1, ef_search=20)
    index = store.open(SPEC)
    vectors = vectors_of(3_000)
    write(index, *(entry(key, "", vector=vectors[key]) for key in range(3_000)))
    index.optimise()
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
    dense(index)
    store.close()  # a session reports what it did when it ends
    _until(lambda: execute(url, scans, f"{TABLE}_graph")[0][0] >= 1)


def test_pgvector_optimise_replaces_a_graph_that_was_left_half_built(url: str, index: Index) -> None:
    write(index, *(entry(key) for key in range(1, 20)))
    index.optimise()
    execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", f"{TABLE}_graph")
    assert index.info().unoptimised == 19
    index.optimise()
    assert (index.info().unoptimised, graph_is_valid(url)) == (0, [(True,)])


def test_pgvector_optimise_twice_at_once_builds_one_graph(url: str, opened: Opener) -> None:
    stores = [opened(url, graph_from=1) for _ in range(2)]
    indexes = [store.open(SPEC) for store in stores]
    vectors = vectors_of(2_000)
    write(indexes[0], *(entry(key, "", vector=vectors[key]) for key in range(2_000)))
    failures: list[BaseException] = []

    def optimise(place: int) -> None:
        try:
            indexes[place].optimise()
        except BaseException as error:
            failures.append(error)

    _at_once(optimise, range(2))
    assert failures == []
    assert graph_is_valid(url) == [(True,)]


def test_pgvector_takes_writes_while_the_graph_is_built(index: Index) -> None:
    vectors = vectors_of(4_000)
    write(index, *(entry(key, "", vector=vectors[key]) for key in range(3_000)))
    building = threading.Thread(target=index.optimise)
    building.start()
    for key in range(3_000, 4_000, 50):
        write(index, *(entry(some, "", vector=vectors[some]) for some in range(key, key + 50)))
    building.join()
    assert index.info().unoptimised == 0
    found = [keys_of(index.search_dense(vectors[key], 1, None, NEVER))[0] for key in range(0, 4_000, 97)]
    assert found == list(range(0, 4_000, 97))


# ---- Words -------------------------------------------------------------------------------------------------------


def test_pgvector_statistics_stay_exact_under_many_writers(url: str, opened: Opener) -> None:
    indexes = [opened(url).open(SPEC) for _ in range(4)]
    failures: list[BaseException] = []

    def overwrite(place: int) -> None:
        try:
            for turn in range(6):
                # The same keys in another order, so that writers meet.
                keys = range(1, 31) if (place + turn) % 2 else range(30, 0, -1)
                write(indexes[place], *(entry(key, f"word{key % 5} common text{place}") for key in keys))
                indexes[place].write(deletes=[place + 1, turn + 1], deadline=NEVER)
        except BaseException as error:
            failures.append(error)

    _at_once(overwrite, range(4))
    assert failures == []
    final = [entry(key, f"word{key % 5} common") for key in range(1, 31)]
    write(indexes[0], *final)
    assert indexes[1].info().count == 30
    _same(lexical(indexes[1], "word3 common", 30), lexical(reference(final), "word3 common", 30))


def test_pgvector_merges_the_statistics_now_and_then(
    url: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgvector_writing, "_MERGE_EVERY", 20)
    batch = [entry(key, f"common words of {key}") for key in range(1, 61)]
    for each in batch:
        write(index, each)
    index.write(deletes=[1], deadline=NEVER)
    rows = sql.SQL("SELECT count(*) FROM {} WHERE term = 'common'").format(sql.Identifier(f"{TABLE}_terms"))
    assert execute(url, rows)[0][0] < 10
    _same(lexical(index, "common 7"), lexical(reference(batch[1:]), "common 7"))
    index.optimise()
    assert execute(url, rows) == [(1,)]
    _same(lexical(index, "common 7"), lexical(reference(batch[1:]), "common 7"))


def test_pgvector_finds_the_best_without_looking_at_common_words(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgvector_lexical, "_FIRST_MATCHES", 1)
    looked_for: list[int] = []
    essential_count = pgvector_lexical.essential_count

    def counted(*args: Any) -> int:
        looked_for.append(essential_count(*args))
        return looked_for[-1]

    monkeypatch.setattr("embedhouse.indexes.pgvector.searching.essential_count", counted)
    batch = [
        entry(
            key, f"common everywhere {'usual' if key % 2 else ''} {'rare unique' if key in (7, 77) else ''} w{key}"
        )
        for key in range(1, 200)
    ]
    write(index, *batch)
    exact = reference(batch)
    for query in ("rare unique common", "common usual", "rare", "w5 w6 w7 common everywhere usual", "usual w9"):
        for k in (1, 2, 3, 50, 300):
            _same(lexical(index, query, k), lexical(exact, query, k))
    assert 2 in looked_for  # of three terms


# ---- Deadlines and the pool --------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(url: str) -> Iterator[None]:
    """Someone holds the table."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("LOCK TABLE {}").format(sql.Identifier(TABLE)))
        yield


@pytest.mark.parametrize("doing", ["write", "dense", "lexical"])
def test_pgvector_stops_waiting_at_the_deadline(url: str, index: Index, doing: str) -> None:
    write(index, entry(1, "alpha"))
    with locked(url):
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            _do(index, doing, Deadline(0.4))
        assert 0.3 < time.monotonic() - start < 3
    _do(index, doing, Deadline(10))


def test_pgvector_stops_waiting_for_a_caller_who_left(url: str, index: Index) -> None:
    deadline = Deadline.never()
    with locked(url):
        threading.Timer(0.3, deadline.cancel).start()
        start = time.monotonic()
        with pytest.raises(Cancelled):
            _do(index, "write", deadline)
        assert time.monotonic() - start < 3
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'embedhouse' AND state = 'active'"
        _until(lambda: execute(url, waiting) == [(0,)])
    write(index, entry(5))
    assert list(index.keys()) == [5]


def test_pgvector_stops_waiting_for_a_server_that_says_nothing(server: PostgresServer, opened: Opener) -> None:
    index = opened(server.url).open(SPEC)
    write(index, entry(1))
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'embedhouse'"
    pids = [row[0] for row in execute(server.url, sessions)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            _do(index, "dense", Deadline(0.5))
        assert time.monotonic() - start < 4
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert keys_of(dense(index)) == [1]


def test_pgvector_opens_no_more_connections_than_allowed(url: str, opened: Opener) -> None:
    index = opened(url, pool_min=0, pool_max=3).open(SPEC)
    write(index, *(entry(key) for key in range(1, 200)))
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'embedhouse'"
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.is_set():
                found = connection.execute(sessions + " AND datname = current_database()").fetchone()
                most = max(most, found[0] if found else 0)

    watching = threading.Thread(target=watch)
    watching.start()
    _at_once(lambda _: [dense(index, seed=seed) for seed in range(20)], range(12))
    done.set()
    watching.join()
    assert 1 <= most <= 3


def test_pgvector_waits_for_a_connection_until_the_deadline(url: str, opened: Opener) -> None:
    index = opened(url, pool_max=1).open(SPEC)
    with locked(url):
        blocked = threading.Thread(target=lambda: _do(index, "write", Deadline(30)))
        blocked.start()
        time.sleep(0.2)
        with pytest.raises(DeadlineExceeded, match="waiting for a connection"):
            _do(index, "dense", Deadline(0.3))
    blocked.join()
    assert list(index.keys()) == [5]


# ---- Servers that go away ----------------------------------------------------------------------------------------


def test_pgvector_goes_on_after_its_sessions_were_ended(url: str, index: Index) -> None:
    write(index, entry(1))
    for key in range(2, 6):
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'embedhouse'"
            " AND datname = current_database()",
        )
        write(index, entry(key))
    assert list(index.keys()) == [1, 2, 3, 4, 5]


def test_pgvector_says_soon_that_the_server_is_away_and_goes_on_once_it_is_back(
    server: PostgresServer, opened: Opener
) -> None:
    index = opened(server.url).open(SPEC)
    write(index, entry(1, "alpha"))
    server.kill()
    for doing in ("write", "dense", "lexical"):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"refused|closed") as caught:
            _do(index, doing, Deadline.never())
        assert time.monotonic() - start < 5
        assert PASSWORD not in str(caught.value)
    server.start()
    start = time.monotonic()
    assert keys_of(lexical(index, "alpha")) == [1]
    assert time.monotonic() - start < 3


def test_pgvector_keeps_every_acknowledged_write_of_a_server_killed_in_the_middle(
    server: PostgresServer, opened: Opener
) -> None:
    index = opened(server.url).open(SPEC)
    acknowledged: list[int] = []
    done = threading.Event()

    def go_on_writing() -> None:
        first = 1
        while not done.is_set():
            try:
                write(index, *(entry(key, f"common w{key % 7}") for key in range(first, first + 20)))
                acknowledged.append(first)
                first += 20
            except StoreUnavailable:
                time.sleep(0.05)

    writing = threading.Thread(target=go_on_writing)
    writing.start()
    for _ in range(3):
        before = len(acknowledged)
        _until(lambda before=before: len(acknowledged) > before + 3)
        server.kill()
        time.sleep(0.1)
        server.start()
    done.set()
    writing.join()
    kept = list(index.keys())
    assert kept[: 20 * len(acknowledged)] == list(range(1, 20 * len(acknowledged) + 1))
    assert index.info().count == len(kept)
    batch = [entry(key, f"common w{key % 7}") for key in kept]
    _same(lexical(index, "w3 common", 40), lexical(reference(batch), "w3 common", 40))


def test_pgvector_reports_an_optimise_that_was_cut_off_and_can_do_it_again(
    server: PostgresServer, opened: Opener
) -> None:
    index = opened(server.url, graph_from=1).open(SPEC)
    vectors = vectors_of(6_000)
    write(index, *(entry(key, "", vector=vectors[key]) for key in range(6_000)))
    building = "SELECT pid FROM pg_stat_progress_create_index"
    failures: list[BaseException] = []

    def optimise() -> None:
        try:
            index.optimise()
        except EmbedhouseError as error:
            failures.append(error)

    working = threading.Thread(target=optimise)
    working.start()
    _until(lambda: bool(execute(server.url, building)))
    server.kill()
    working.join()
    server.start()
    assert [type(error) for error in failures] == [StoreUnavailable]
    assert keys_of(index.search_dense(vectors[17], 1, None, NEVER)) == [17]
    index.optimise()
    assert index.info().unoptimised == 0


# ---- Shared ------------------------------------------------------------------------------------------------------


def _do(index: Index, doing: str, deadline: Deadline) -> object:
    if doing == "write":
        return index.write(upserts=[entry(5)], deadline=deadline)
    if doing == "dense":
        return index.search_dense(vectors_of(1)[0], 5, None, deadline)
    return index.search_lexical("alpha", 5, None, deadline)


def _same(found: Any, expected: Any) -> None:
    assert keys_of(found) == keys_of(expected)
    assert found.scores == pytest.approx(expected.scores, rel=1e-5)


def _at_once(work: Callable[[int], object], places: range) -> None:
    threads = [threading.Thread(target=work, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
