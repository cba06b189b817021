"""Which process works on which changes."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from postgres_server import fresh_database
from sqlalchemy import text

from embedhouse.indexing.leasing import Leases
from embedhouse.ledger import changes, leases
from embedhouse.ledger.changes import EVERYTHING, Logged
from embedhouse.ledger.database import Database
from embedhouse.ledger.postgresql import LedgerServer

GENERATION = 1
SHORT_S = 0.3


@pytest.fixture
def database() -> Iterator[Database]:
    with fresh_database() as url:
        opened = Database(LedgerServer(url=url))
        with opened.write() as ledger:
            ledger.execute(text("INSERT INTO collection (id, name, created_at) VALUES (1, 'c', 0)"))
            ledger.execute(
                text(
                    "INSERT INTO generation (id, collection_id, state, space, chunking, lexical, index_name) "
                    "VALUES (1, 1, 'live', '', '', '', ''), (2, 1, 'live', '', '', '', '')"
                )
            )
        yield opened
        opened.close()


def _log(database: Database, *keys: int, generation_id: int = GENERATION) -> None:
    with database.write() as ledger:
        changes.add_changes(ledger, generation_id, "upsert", keys)


def _keys(taken: list[changes.Change]) -> list[int]:
    return [change.chunk_key for change in taken]


def test_take_gives_each_change_to_one_owner_oldest_first(database: Database) -> None:
    _log(database, *range(10))
    _log(database, 99, generation_id=2)
    one, other = Leases(database), Leases(database)
    assert _keys(one.take(GENERATION, 4, EVERYTHING)) == [0, 1, 2, 3]
    assert _keys(other.take(GENERATION, 4, EVERYTHING)) == [4, 5, 6, 7]
    assert _keys(one.take(GENERATION, 4, EVERYTHING)) == [8, 9]
    assert other.take(GENERATION, 4, EVERYTHING) == []
    one.close()
    assert _keys(other.take(GENERATION, 9, EVERYTHING)) == [0, 1, 2, 3, 8, 9]
    other.close()


def test_take_within_a_range_takes_nothing_else(database: Database) -> None:
    _log(database, *range(6))
    mine = Leases(database)
    assert _keys(mine.take(GENERATION, 9, Logged(2, 4))) == [2, 3]
    mine.close()


def test_many_that_take_at_once_never_take_the_same(database: Database) -> None:
    _log(database, *range(400))
    workers = [Leases(database) for _ in range(6)]
    start = threading.Barrier(len(workers))

    def drain(worker: Leases) -> list[int]:
        start.wait()
        found: list[int] = []
        while taken := worker.take(GENERATION, 7, EVERYTHING):
            found.extend(_keys(taken))
        return found

    with ThreadPoolExecutor(len(workers)) as threads:
        found = [key for each in threads.map(drain, workers) for key in each]
    assert sorted(found) == list(range(400))
    for worker in workers:
        worker.close()


def test_lease_of_a_process_that_died_runs_out(database: Database) -> None:
    _log(database, 1)
    with database.write() as ledger:
        dead = leases.take(ledger, GENERATION, "dead", SHORT_S, limit=9)
    mine = Leases(database)
    assert mine.take(GENERATION, 9, EVERYTHING) == []
    time.sleep(SHORT_S)
    assert mine.take(GENERATION, 9, EVERYTHING) == dead
    with database.write() as ledger:
        assert leases.hold(ledger, "dead", [dead[0].seq]) == set()
        assert leases.hold(ledger, mine.owner, [dead[0].seq]) == {dead[0].seq}
    mine.close()


def test_lease_of_a_process_that_lives_is_renewed(database: Database) -> None:
    _log(database, 1)
    slow, other = Leases(database, SHORT_S), Leases(database, SHORT_S)
    taken = slow.take(GENERATION, 9, EVERYTHING)
    time.sleep(SHORT_S * 4)
    assert other.take(GENERATION, 9, EVERYTHING) == []
    slow.give_back([taken[0].seq])
    assert other.take(GENERATION, 9, EVERYTHING) == taken
    slow.close()
    other.close()


def test_lease_that_ran_out_is_not_taken_while_its_owner_writes(database: Database) -> None:
    _log(database, 1)
    with database.write() as ledger:
        (taken,) = leases.take(ledger, GENERATION, "slow", 0.0, limit=9)
    other = Leases(database)
    with database.write() as ledger:
        assert leases.hold(ledger, "slow", [taken.seq]) == {taken.seq}
        assert other.take(GENERATION, 9, EVERYTHING) == []
    assert other.take(GENERATION, 9, EVERYTHING) == [taken]
    other.close()


def test_renew_waits_for_nobody_and_keeps_only_its_own(database: Database) -> None:
    _log(database, 1, 2)
    with database.write() as ledger:
        first, second = leases.take(ledger, GENERATION, "one", SHORT_S, limit=9)
    with database.write() as writing:
        leases.hold(writing, "one", [first.seq])
        with database.write() as ledger:
            leases.renew(ledger, "one", [first.seq, second.seq], 60.0)
            leases.renew(ledger, "another", [first.seq, second.seq], 60.0)
    time.sleep(SHORT_S)
    mine = Leases(database)
    assert mine.take(GENERATION, 9, EVERYTHING) == [first]
    mine.close()


def test_replays_are_taken_when_nothing_else_waits(database: Database) -> None:
    _log(database, 1, 2)
    with database.write() as ledger:
        ledger.execute(text("UPDATE change SET state = 2 WHERE chunk_key = 1"))
    mine = Leases(database)
    assert [(c.chunk_key, c.counted) for c in mine.take(GENERATION, 9, EVERYTHING)] == [(2, False)]
    assert [(c.chunk_key, c.counted) for c in mine.take(GENERATION, 9, EVERYTHING)] == [(1, True)]
    with database.read() as ledger:
        assert leases.unapplied(ledger, GENERATION, EVERYTHING) == 2
    mine.close()
