"""Sums of usage are equal, however it is grouped, buffered and put together."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paid_house import Clock

from embedhouse.domain.models import Attribution, Spent, attributed
from embedhouse.domain.spending import UsageBy, UsageTotals
from embedhouse.ledger.database import Database
from embedhouse.ledger.usage import UsageFilter, fold_queries, grouped, total
from embedhouse.settings import load_settings
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable

PRICES = PriceTable(load_settings({}, {}))
COUNTS = ("tokens", "items", "cached_items", "requests", "retries", "unpriced_tokens")

_counts = st.integers(0, 10_000)
_spent = st.builds(
    Spent,
    provider=st.sampled_from(["openai", "cohere", "local", "unknown"]),
    model=st.sampled_from(["text-embedding-3-small", "embed-v4.0", "unknown"]),
    lane=st.sampled_from(["interactive", "bulk"]),
    items=_counts,
    cached_items=_counts,
    tokens=_counts,
    requests=_counts,
    retries=_counts,
    seconds=st.sampled_from([0.0, 0.25, 1.5]),
)
_whose = st.builds(
    Attribution,
    caller=st.sampled_from(["", "alice", "bob"]),
    collection=st.sampled_from(["", "notes", "mail"]),
    request_id=st.sampled_from(["", "r1", "r2"]),
)
_event = st.tuples(st.integers(0, 3), _whose, _spent, st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(_event, max_size=25), st.integers(1, 9))
def test_usage_sums_are_equal_by_any_grouping(
    events: list[tuple[int, Attribution, Spent, bool]], folded_at_once: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "ledger.db")
        clock = Clock(0.0)
        meter = SpendMeter(database, PRICES, clock=clock, flush_every_s=3600.0)
        for day, whose, spent, flushes in sorted(events, key=lambda event: event[0]):
            clock.now = day * 86_400.0 + 10
            with attributed(caller=whose.caller, collection=whose.collection, request_id=whose.request_id):
                meter.record(spent)
            if flushes:
                meter.flush()
        meter.close()
        _check_sums(database, [spent for _, _, spent, _ in events])
        with database.write() as ledger:
            fold_queries(ledger, before_day=2, limit=folded_at_once)
        _check_sums(database, [spent for _, _, spent, _ in events])
        database.close()


def _check_sums(database: Database, spent: list[Spent]) -> None:
    with database.read() as ledger:
        whole = total(ledger, UsageFilter())
        groupings = {by: grouped(ledger, by, UsageFilter()) for by in get_args(UsageBy)}
    money = [PRICES.nano_usd(one.provider, one.model, one.tokens) for one in spent]
    for name in ("tokens", "items", "cached_items", "requests", "retries"):
        assert getattr(whole, name) == sum(getattr(one, name) for one in spent)
    assert (whole.usd or 0.0) == pytest.approx(sum(nano or 0 for nano in money) / 1e9, abs=1e-12)
    assert whole.unpriced_tokens == sum(one.tokens for one, nano in zip(spent, money, strict=True) if nano is None)
    for rows in groupings.values():
        _check_same(whole, rows)


def _check_same(whole: UsageTotals, rows: list[UsageTotals]) -> None:
    assert len({row.group for row in rows}) == len(rows)
    for name in COUNTS:
        assert sum(getattr(row, name) for row in rows) == getattr(whole, name)
    assert sum(row.seconds for row in rows) == pytest.approx(whole.seconds)
    assert sum(row.usd or 0.0 for row in rows) == pytest.approx(whole.usd or 0.0, abs=1e-12)
