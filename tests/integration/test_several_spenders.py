"""Several processes on one ledger: one budget, one word on each space, one list of keys."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from drifting import DriftingEmbedder
from paid_house import Clock
from postgres_server import fresh_database
from sqlalchemy import text as sql

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import BudgetExceeded, SpaceFrozen
from embedhouse.domain.models import Budget, Spent, attributed
from embedhouse.house.keys import ApiKeys
from embedhouse.ledger.database import Database
from embedhouse.ledger.postgresql import LedgerServer
from embedhouse.ledger.usage import Account, Amount, UsageFilter, add_usage, fold_queries, grouped, total
from embedhouse.models import spaces
from embedhouse.models.spaces import GuardedEmbedder, SpaceStates
from embedhouse.settings import load_settings
from embedhouse.spend import meter as meter_module
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable

NOON = 20_000 * 86_400 + 43_200
PRICES = PriceTable(load_settings({"prices": {"openai:m": 1_000_000.0}}, {}))
"""A dollar a token."""
NEVER = Deadline.never()


@pytest.fixture
def databases() -> Iterator[list[Database]]:
    """The same ledger, as two processes have it."""
    with fresh_database() as url:
        opened = [Database(LedgerServer(url=url)) for _ in range(2)]
        yield opened
        for each in opened:
            each.close()


def _allow(meter: SpendMeter, collection: str = "notes") -> None:
    with attributed(collection=collection):
        meter.allow(provider="openai", model="m", lane="bulk", tokens=1)


def _spend(meter: SpendMeter, tokens: int, collection: str = "notes") -> None:
    with attributed(collection=collection):
        meter.record(Spent(provider="openai", model="m", lane="bulk", items=1, tokens=tokens))


def _soon(look: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        if look():
            return True
        time.sleep(0.02)
    return False


def test_budget_is_of_all_processes(databases: list[Database]) -> None:
    budget = Budget(usd=10, per="day", collection="notes")
    clock = Clock(NOON)
    one, other = (SpendMeter(each, PRICES, [budget], clock=clock, flush_every_s=3600.0) for each in databases)
    _spend(one, 6)
    _spend(one, 50, "another")
    one.flush()
    _spend(other, 3)
    other.reread_budgets()  # what this one has not written yet counts too
    assert other.budgets()[0].spent_usd == pytest.approx(9)
    other.flush()
    other.reread_budgets()
    assert other.budgets()[0].spent_usd == pytest.approx(9)
    _spend(one, 1)
    one.flush()
    _allow(other, "another")
    other.reread_budgets()
    with pytest.raises(BudgetExceeded):
        _allow(other)
    clock.now += 86_400
    other.reread_budgets()
    _allow(other)
    one.close()
    other.close()


def test_budget_is_reread_every_few_seconds(databases: list[Database], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "_REREAD_EVERY_S", 0.05)
    budget = Budget(usd=10, per="month")
    one, other = (SpendMeter(each, PRICES, [budget], flush_every_s=0.05) for each in databases)
    _spend(one, 12)
    assert _soon(lambda: other.budgets()[0].spent_usd == pytest.approx(12))
    with pytest.raises(BudgetExceeded):
        _allow(other)
    one.close()
    other.close()


def _account(day: int, request_id: str, caller: str) -> Account:
    names = {"collection": "c", "provider": "openai", "model": "m", "lane": "interactive"}
    return Account(day=day, request_id=request_id, caller=caller, **names)


def test_usage_of_many_processes_adds_up(databases: list[Database]) -> None:
    def work(worker: int) -> None:
        database = databases[worker % 2]
        for step in range(10):
            accounts = [_account(1, f"r{n}", "alice") for n in range(8)]
            rows = [(each, Amount(started_at=0, ended_at=1, tokens=1)) for each in accounts[:: 1 - 2 * (step % 2)]]
            with database.write() as ledger:
                add_usage(ledger, rows)

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(work, worker) for worker in range(4)]:
            future.result(timeout=60)
    with databases[0].read() as ledger:
        assert total(ledger, UsageFilter()).tokens == 4 * 10 * 8


def test_queries_are_folded_once_whoever_folds(databases: list[Database]) -> None:
    with databases[0].write() as ledger:
        rows = [
            (
                _account(day, f"r{n}", f"caller{n % 3}"),
                Amount(started_at=n, ended_at=n + 1, tokens=n, nano_usd=2**40),
            )
            for day in (1, 2)
            for n in range(60)
        ]
        add_usage(ledger, rows)
        before = grouped(ledger, "caller", UsageFilter())

    def fold(worker: int) -> None:
        gone = 7
        while gone == 7:
            with databases[worker % 2].write() as ledger:
                gone = fold_queries(ledger, 3, 7)

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(fold, worker) for worker in range(4)]:
            future.result(timeout=60)
    with databases[1].read() as ledger:
        assert grouped(ledger, "caller", UsageFilter()) == before
        assert ledger.execute(sql("SELECT count(*) FROM usage WHERE request_id <> ''")).scalar() == 0


def test_space_that_one_process_freezes_is_frozen_for_all(
    databases: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "_REREAD_EVERY_S", 0.0)
    states = [SpaceStates(each, 24) for each in databases]
    embedder = DriftingEmbedder()
    one, other = (GuardedEmbedder(embedder, each) for each in states)
    states[0].check(one, NEVER)
    states[1].check(other, NEVER)  # compared with what the first one recorded
    assert len(states[1].known()) == 1
    embedder.version = "another"
    states[0].check(one, NEVER)
    assert _soon(lambda: _is_frozen(other))
    with pytest.raises(SpaceFrozen):
        other.embed(["text"], role="query", deadline=NEVER)
    states[1].unfreeze(other, NEVER, accept=True)
    assert _soon(lambda: not _is_frozen(one))
    for each in states:
        each.close()


def _is_frozen(guarded: GuardedEmbedder) -> bool:
    try:
        guarded.embed(["text"], role="query", deadline=NEVER)
    except SpaceFrozen:
        return True
    return False


def test_first_canary_is_recorded_once_though_two_take_it(databases: list[Database]) -> None:
    states = [SpaceStates(each, 24) for each in databases]
    guarded = [GuardedEmbedder(DriftingEmbedder(), each) for each in states]
    with ThreadPoolExecutor(2) as threads:
        known = list(threads.map(lambda pair: pair[0].check(pair[1], NEVER), zip(states, guarded, strict=True)))
    assert known[0].recorded_at == known[1].recorded_at
    for each in states:
        each.close()


def test_key_of_one_process_is_known_to_all_and_revoked_for_all(databases: list[Database]) -> None:
    clock = Clock(0.0)
    one, other = (ApiKeys(each, clock) for each in databases)
    key = one.create("alice").key.encode()
    holder = other.holder_of(key)
    assert holder is not None
    assert holder.name == "alice"
    one.revoke("alice")
    clock.now += 2.0
    assert other.holder_of(key) is None
