from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paid_house import Clock
from structlog.testing import capture_logs

from embedhouse.domain.errors import BudgetExceeded, DiskFull
from embedhouse.domain.models import Budget, Spent, attributed
from embedhouse.domain.spending import UsageTotals
from embedhouse.ledger.database import Database
from embedhouse.ledger.usage import UsageFilter, grouped, total
from embedhouse.settings import load_settings
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable

NOON = 20_000 * 86_400 + 43_200
PRICES = PriceTable(load_settings({"prices": {"openai:m": 1_000_000.0}}, {}))
"""A dollar a token."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "ledger.db")
    yield opened
    opened.close()


def _meter(database: Any, *budgets: Budget, now: float = NOON, **options: Any) -> SpendMeter:
    # An hour: nothing is written but by `flush` and `close`.
    given = {"clock": Clock(now), "flush_every_s": 3600.0} | options
    return SpendMeter(database, PRICES, budgets, **given)


def _spent(tokens: int = 1, **fields: Any) -> Spent:
    return Spent(**({"provider": "openai", "model": "m", "lane": "bulk", "tokens": tokens, "items": 1} | fields))


def _total(database: Database) -> UsageTotals:
    with database.read() as ledger:
        return total(ledger, UsageFilter())


def _rows(database: Database) -> int:
    with database.read() as ledger:
        return ledger.exec_driver_sql("SELECT count(*) FROM usage").scalar_one()


class BrokenDatabase:
    """A ledger whose writes fail as often as told, then succeed."""

    is_shared = False

    def __init__(self, database: Database, errors: list[Exception]) -> None:
        self._database = database
        self._errors = errors

    def read(self) -> Any:
        return self._database.read()

    @contextlib.contextmanager
    def write(self) -> Iterator[Any]:
        if self._errors:
            raise self._errors.pop(0)
        with self._database.write() as ledger:
            yield ledger


def test_meter_writes_one_row_an_account(database: Database) -> None:
    meter = _meter(database)
    for request in ("r1", "r2"):
        with attributed(caller="alice", collection="notes", request_id=request):
            meter.record(_spent(3, requests=2, retries=1, seconds=0.5))
            meter.record(_spent(0, items=0, cached_items=4))
            meter.flush()
            meter.record(_spent(2, requests=1, seconds=0.25))
    meter.close()
    assert _rows(database) == 2
    assert _total(database) == UsageTotals(
        tokens=10, items=4, cached_items=8, requests=6, retries=2, seconds=1.5, usd=10.0
    )


def test_meter_keeps_accounts_apart(database: Database) -> None:
    meter = _meter(database)
    with attributed(caller="alice", collection="notes"):
        meter.record(_spent(1))
    with attributed(caller="bob", collection="notes"):
        meter.record(_spent(2))
        meter.record(_spent(4, provider="local"))
    meter.close()
    with database.read() as ledger:
        by_caller = {row.group: row.tokens for row in grouped(ledger, "caller", UsageFilter())}
        by_model = {row.group: row.tokens for row in grouped(ledger, "model", UsageFilter())}
    assert by_caller == {"alice": 1, "bob": 6}
    assert by_model == {"local:m": 4, "openai:m": 3}


def test_meter_never_waits_for_the_disk(database: Database) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    class SlowDatabase(BrokenDatabase):
        @contextlib.contextmanager
        def write(self) -> Iterator[Any]:
            blocked.set()
            assert go_on.wait(30)
            with super().write() as ledger:
                yield ledger

    meter = _meter(SlowDatabase(database, []), Budget(usd=9, per="day"), flush_every_s=0.0)
    meter.record(_spent(1))
    assert blocked.wait(30)  # the writer is in the middle of a write
    for _ in range(100):
        meter.record(_spent(0))
        meter.allow(provider="openai", model="m", lane="bulk", tokens=1)
    assert meter.budgets()[0].spent_usd == 1.0
    go_on.set()
    meter.close()
    assert _total(database).items == 101


def test_meter_keeps_what_the_ledger_does_not_take(database: Database) -> None:
    broken = BrokenDatabase(database, [DiskFull(path="/"), RuntimeError("a crash"), DiskFull(path="/")])
    meter = _meter(broken)
    meter.record(_spent(1))
    for error in (DiskFull, RuntimeError, DiskFull):
        with pytest.raises(error):
            meter.flush()
        meter.record(_spent(1))
    meter.flush()
    assert _total(database).tokens == 4
    meter.close()
    assert _total(database).tokens == 4


def test_meter_writer_survives_a_crash(database: Database) -> None:
    written = threading.Event()

    class NoticingDatabase(BrokenDatabase):
        @contextlib.contextmanager
        def write(self) -> Iterator[Any]:
            with super().write() as ledger:
                yield ledger
            written.set()

    with capture_logs() as logs:
        broken = NoticingDatabase(database, [RuntimeError("a crash"), DiskFull(path="/")])
        meter = _meter(broken, flush_every_s=0.0)
        meter.record(_spent(5))
        assert written.wait(30)
        meter.close()
    assert _total(database).tokens == 5
    assert logs[0]["reason"] == "a crash"


def test_meter_close_writes_what_is_left_and_does_not_raise(database: Database) -> None:
    meter = _meter(BrokenDatabase(database, [DiskFull(path="/")] * 5))
    meter.record(_spent(1))
    with capture_logs() as logs:
        meter.close()
    assert logs[-1]["log_level"] == "warning"


def test_meter_memory_is_bounded_while_the_ledger_is_out_of_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.spend.meter._MAX_BUFFERED", 3)
    meter = _meter(BrokenDatabase(database, [DiskFull(path="/")]))
    for number in range(10):
        with attributed(caller="alice", request_id=f"r{number}"):
            meter.record(_spent(1))
    with pytest.raises(DiskFull):
        meter.flush()
    meter.close()
    assert _rows(database) == 1
    assert _total(database).tokens == 10


def test_meter_loads_what_was_spent_before(database: Database) -> None:
    first = _meter(database, now=NOON)
    with attributed(collection="notes"):
        first.record(_spent(4))
    first.close()
    budgets = [
        Budget(usd=5, per="day"),
        Budget(usd=5, per="month"),
        Budget(usd=5, per="day", collection="mail"),
        Budget(usd=5, per="day", provider="openai", collection="notes"),
    ]
    same_day = _meter(database, *budgets, now=NOON + 3600)
    assert [use.spent_usd for use in same_day.budgets()] == [4.0, 4.0, 0.0, 4.0]
    next_day = _meter(database, *budgets, now=NOON + 86_400)
    assert [use.spent_usd for use in next_day.budgets()] == [0.0, 4.0, 0.0, 0.0]


def test_meter_refuses_by_the_budget_of_the_account(database: Database) -> None:
    meter = _meter(database, Budget(usd=5, per="day", collection="notes"))
    with attributed(collection="notes"):
        meter.record(_spent(5))
        with pytest.raises(BudgetExceeded, match="collection notes"):
            meter.allow(provider="openai", model="m", lane="bulk", tokens=1)
        meter.allow(provider="openai", model="m", lane="interactive", tokens=1)
        meter.allow(provider="local", model="m", lane="bulk", tokens=1_000)
    with attributed(collection="mail"):
        meter.allow(provider="openai", model="m", lane="bulk", tokens=1_000)
    meter.close()


def test_meter_warns_once_of_a_model_that_no_budget_can_count(database: Database) -> None:
    meter = _meter(database, Budget(usd=5, per="day"))
    with capture_logs() as logs:
        for _ in range(3):
            meter.allow(provider="openai", model="unheard-of", lane="bulk", tokens=1_000_000)
    assert [entry["hint"] for entry in logs] == ['set prices."openai:unheard-of" in config.toml']


def test_meter_says_unknown_price_rather_than_nothing(database: Database) -> None:
    meter = _meter(database)
    meter.record(_spent(7, model="unheard-of"))
    meter.flush()
    assert (_total(database).usd, _total(database).unpriced_tokens) == (None, 7)
    meter.record(_spent(1))
    meter.close()
    assert (_total(database).usd, _total(database).unpriced_tokens) == (1.0, 7)


def test_meter_puts_old_queries_together(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedhouse.spend.meter._FOLDED_AT_ONCE", 2)
    old = _meter(database, now=NOON)
    for number in range(5):
        with attributed(caller="alice", request_id=f"r{number}"):
            old.record(_spent(1, lane="interactive"))
            old.record(_spent(1, lane="bulk"))
    old.close()
    before = _total(database)
    assert _rows(database) == 10
    later = _meter(database, now=NOON + 30 * 86_400)
    later._fold_old_queries()
    assert _rows(database) == 6
    assert _total(database) == before
