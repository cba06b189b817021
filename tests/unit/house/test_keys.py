from collections.abc import Iterator
from pathlib import Path

import pytest
from paid_house import Clock
from sqlalchemy import text

from embedhouse.domain.binding import visible_namespaces
from embedhouse.domain.errors import Conflict, Forbidden, InvalidInput, LedgerTooNew, NotFound
from embedhouse.domain.models import attributed
from embedhouse.house.keys import ApiKeys
from embedhouse.ledger.database import Database
from embedhouse.settings import Settings
from embedhouse.wiring.keys import has_keys, open_keys
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.paths import ledger_path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(ledger_path(tmp_path))
    yield opened
    opened.close()


def holder_name(keys: ApiKeys, key: bytes) -> str | None:
    holder = keys.holder_of(key)
    return None if holder is None else holder.name


def test_create_makes_a_key_that_is_known_by_its_name(database: Database) -> None:
    keys = ApiKeys(database)
    assert not keys.any
    made = {name: keys.create(name).key for name in ("alice", "ci.job-1")}
    assert keys.any
    assert len(set(made.values())) == 2
    for name, key in made.items():
        assert key.startswith("eh_")
        assert len(key) >= 46  # 256 bits in base 64
        assert holder_name(keys, key.encode()) == name


def test_create_keeps_only_a_hash(database: Database) -> None:
    key = ApiKeys(database).create("alice").key
    ledger = Path(database.name).read_bytes() + Path(f"{database.name}-wal").read_bytes()
    assert b"alice" in ledger
    assert key[8:].encode() not in ledger


def test_create_binds_a_key_to_namespaces_for_good(database: Database) -> None:
    keys = ApiKeys(database)
    bound = keys.create("acme", ["beta", "acme", "acme"])
    free = keys.create("admin")
    assert (bound.namespaces, free.namespaces) == (["acme", "beta"], None)
    for reader in (keys, ApiKeys(database)):
        assert [(each.name, each.namespaces) for each in reader.list()] == [
            ("acme", ["acme", "beta"]),
            ("admin", None),
        ]
        holder = reader.holder_of(bound.key.encode())
        assert holder is not None
        assert holder.namespaces == ["acme", "beta"]


@pytest.mark.parametrize("namespaces", [[], [""], ["a b"], ["acme", "../x"]])
def test_create_refuses_what_is_no_namespace(database: Database, namespaces: list[str]) -> None:
    keys = ApiKeys(database)
    with pytest.raises(InvalidInput):
        keys.create("acme", namespaces)
    assert not keys.any


def test_key_whose_namespaces_are_an_empty_list_sees_nothing(database: Database) -> None:
    keys = ApiKeys(database)
    key = keys.create("acme", ["acme"]).key.encode()
    with database.write() as ledger:
        ledger.execute(text("UPDATE api_key SET namespaces = '[]'"))
    holder = ApiKeys(database).holder_of(key)
    assert holder is not None
    with attributed(namespaces=holder.namespaces), pytest.raises(Forbidden):
        visible_namespaces(None)


def test_create_shows_the_key_in_no_repr(database: Database) -> None:
    made = ApiKeys(database).create("alice")
    assert made.key not in repr(made)


@pytest.mark.parametrize("name", ["", "default", "a b", "-x", "ä", "x" * 101, "a/b"])
def test_create_refuses_names(database: Database, name: str) -> None:
    with pytest.raises(InvalidInput):
        ApiKeys(database).create(name)


def test_create_refuses_a_name_that_is_taken(database: Database) -> None:
    keys = ApiKeys(database)
    keys.create("alice")
    with pytest.raises(Conflict, match="alice"):
        keys.create("alice")


@pytest.mark.parametrize("wrong", [b"", b"eh_", b"\xff\xfe", b"eh_" + b"A" * 43])
def test_name_of_what_is_no_key_is_nobody(database: Database, wrong: bytes) -> None:
    keys = ApiKeys(database)
    keys.create("alice")
    assert holder_name(keys, wrong) is None


def test_revoke_refuses_the_key_and_frees_its_name(database: Database) -> None:
    keys = ApiKeys(database)
    old = keys.create("alice").key
    keys.revoke("alice")
    assert holder_name(keys, old.encode()) is None
    assert not keys.any
    assert keys.create("alice").key != old
    with pytest.raises(NotFound, match="bob"):
        keys.revoke("bob")


def test_list_shows_first_characters_by_name(database: Database) -> None:
    keys = ApiKeys(database)
    made = {name: keys.create(name).key for name in ("bob", "alice")}
    assert [(key.name, key.hint) for key in keys.list()] == [(name, made[name][:7]) for name in ("alice", "bob")]


def test_keys_changed_by_another_process_are_noticed(database: Database) -> None:
    clock = Clock(0.0)
    server, shell = ApiKeys(database, clock), ApiKeys(database)
    assert not server.any
    key = shell.create("alice").key.encode()
    clock.now += 0.1
    assert holder_name(server, key) == "alice"  # asked for at once
    shell.revoke("alice")
    clock.now += 1.1
    assert holder_name(server, key) is None
    assert not server.any


def test_open_keys_beside_a_process_that_holds_the_home(tmp_path: Path) -> None:
    assert not has_keys(Settings(home=tmp_path))
    lock = HouseLock(tmp_path)
    Database(ledger_path(tmp_path)).close()
    with open_keys(Settings(home=tmp_path)) as keys:
        keys.create("alice")
    assert has_keys(Settings(home=tmp_path))
    lock.release()
    assert has_keys(Settings(home=tmp_path))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("DELETE FROM schema_version WHERE number = 2", Conflict),
        ("INSERT INTO schema_version VALUES (999)", LedgerTooNew),
    ],
)
def test_open_keys_beside_another_version_is_refused(
    tmp_path: Path, statement: str, error: type[Exception]
) -> None:
    lock = HouseLock(tmp_path)
    database = Database(ledger_path(tmp_path))
    with database.write() as ledger:
        ledger.execute(text(statement))
    database.close()
    with pytest.raises(error), open_keys(Settings(home=tmp_path)):
        pytest.fail("it opened")
    lock.release()
