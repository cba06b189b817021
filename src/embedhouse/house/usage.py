"""`house.usage`: what embeddings took, on whose account, and what may still be spent."""

from __future__ import annotations

from datetime import date, timedelta
from typing import get_args

import msgspec

from embedhouse.domain.binding import check_unbound
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.models import attribution
from embedhouse.domain.spending import BudgetUse, UsageBy, UsageReport, UsageTotals
from embedhouse.ledger.database import Database
from embedhouse.ledger.usage import UsageFilter, grouped, total
from embedhouse.spend.meter import SpendMeter

__all__ = ["Usage"]

_EPOCH = date(1970, 1, 1)


class Usage:
    """Sums of the ledger of spend. Thread-safe."""

    def __init__(self, database: Database, meter: SpendMeter) -> None:
        self._database = database
        self._meter = meter

    def report(
        self,
        by: UsageBy = "day",
        *,
        since: date | str | None = None,
        until: date | str | None = None,
        collection: str | None = None,
        provider: str | None = None,
        caller: str | None = None,
    ) -> UsageReport:
        """Tokens, items, cache hits, requests, seconds and money in groups, up to this moment.

        `since` and `until` are days of UTC (2026-01-31), both included. A caller that is bound to namespaces sees
        what it used itself, and no budget. Errors: InvalidInput, Forbidden (caller).
        """
        whose = attribution()
        if whose.namespaces is not None:
            if not whose.caller or caller not in (None, "", whose.caller):
                check_unbound("What others used")
            caller = whose.caller
        if by not in get_args(UsageBy):
            raise InvalidInput(reason=f"Usage is not kept by {by!r}: choose one of {', '.join(get_args(UsageBy))}.")
        wanted = UsageFilter(
            since=_day("since", since),
            until=_day("until", until),
            collection=collection or "",
            provider=provider or "",
            caller=caller or "",
        )
        self._meter.flush()
        with self._database.read() as ledger:
            rows = grouped(ledger, by, wanted)
            everything = total(ledger, wanted)
        if by == "day":
            rows = [_with_date(row) for row in rows]
        return UsageReport(by=by, rows=rows, total=everything, budgets=self.budgets())

    def budgets(self) -> list[BudgetUse]:
        """How much of each budget of the settings is used; nothing for a caller that is bound to namespaces."""
        return [] if attribution().namespaces is not None else self._meter.budgets()


def _day(name: str, value: date | str | None) -> int | None:
    """Days since the epoch."""
    if value is None or value == "":
        return None
    try:
        found = value if isinstance(value, date) else date.fromisoformat(value)
    except ValueError:
        raise InvalidInput(reason=f"{name} is {value!r}; write a day as 2026-01-31.") from None
    return (date(found.year, found.month, found.day) - _EPOCH).days


def _with_date(row: UsageTotals) -> UsageTotals:
    return msgspec.structs.replace(row, group=(_EPOCH + timedelta(days=int(row.group))).isoformat())
