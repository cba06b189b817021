"""Queries on usage: what embedding took, on whose account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from embedhouse.domain.spending import UsageBy, UsageTotals
from embedhouse.ledger import tables as t

__all__ = [
    "SECONDS_PER_DAY",
    "Account",
    "Amount",
    "UsageFilter",
    "add_usage",
    "fold_queries",
    "grouped",
    "spent_nano_usd",
    "throughput",
    "total",
]

SECONDS_PER_DAY = 86_400
_NANO = 1_000_000_000
_SUMMED = ("items", "cached_items", "tokens", "unpriced_tokens", "requests", "retries", "seconds", "nano_usd")
_RECENT_ROWS = 20
_TELLING_TOKENS = 1000


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whose usage it is: one row of the ledger each. `day`: of UTC, days since the epoch."""

    day: int
    request_id: str
    caller: str
    collection: str
    provider: str
    model: str
    lane: str

    def without_request(self) -> Account:
        """The same account of the whole day."""
        return msgspec.structs.replace(self, request_id="")


class Amount(msgspec.Struct, kw_only=True):
    """How much. Grows as more of the same account comes in. Times are seconds since the epoch."""

    started_at: float
    ended_at: float
    items: int = 0
    cached_items: int = 0
    tokens: int = 0
    unpriced_tokens: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    nano_usd: int = 0

    def add(self, other: Amount) -> None:
        """Take in more of the same account."""
        self.started_at = min(self.started_at, other.started_at)
        self.ended_at = max(self.ended_at, other.ended_at)
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage: days from `since` to `until`, both included, and names; empty and None: all."""

    since: int | None = None
    until: int | None = None
    collection: str = ""
    provider: str = ""
    caller: str = ""


def add_usage(connection: Connection, usage: Sequence[tuple[Account, Amount]]) -> None:
    """Add amounts to their accounts' rows, or begin them."""
    if not usage:
        return
    columns = t.usage.c
    statement = _dialect(connection).insert(t.usage)
    statement = statement.on_conflict_do_update(
        index_elements=list(Account.__struct_fields__),
        set_={name: columns[name] + statement.excluded[name] for name in _SUMMED}
        | {"ended_at": statement.excluded.ended_at},
    )
    # In one order: two processes that add to the same rows never wait for each other.
    ordered = sorted(usage, key=lambda one: msgspec.structs.astuple(one[0]))
    rows = [msgspec.structs.asdict(account) | msgspec.structs.asdict(amount) for account, amount in ordered]
    connection.execute(statement, rows)


def fold_queries(connection: Connection, before_day: int, limit: int) -> int:
    """Put queries of each day before `before_day` together, account by account: the oldest `limit` rows at most.
    How many rows went."""
    columns = t.usage.c
    own = [columns.request_id != "", columns.lane == "interactive", columns.day < before_day]
    last = select(columns.id).where(*own).order_by(columns.id).offset(limit - 1).limit(1)
    if (last_id := connection.execute(last).scalar()) is not None:
        own.append(columns.id <= last_id)
    # In one statement: what another process adds to a row meanwhile is in what comes back, or stays.
    rows = connection.execute(delete(t.usage).where(*own).returning(t.usage)).all()
    folded: dict[Account, Amount] = {}
    for row in rows:
        account, amount = _account_and_amount(dict(row._mapping))
        if account in folded:
            folded[account].add(amount)
        else:
            folded[account] = amount
    add_usage(connection, list(folded.items()))
    return len(rows)


def spent_nano_usd(connection: Connection, since_day: int, *, provider: str, collection: str) -> int:
    """Money since the beginning of a day, in billionths of a dollar; empty names: of all."""
    wanted = UsageFilter(since=since_day, provider=provider, collection=collection)
    query = select(func.coalesce(func.sum(t.usage.c.nano_usd), 0)).where(*_where(wanted))
    return int(connection.execute(query).scalar_one())


def grouped(connection: Connection, by: UsageBy, wanted: UsageFilter) -> list[UsageTotals]:
    """Sums by group, in the order of the groups."""
    group = _group(by)
    query = select(group.label("group"), *_sums()).where(*_where(wanted)).group_by(group).order_by(group)
    return [_totals(row._mapping) for row in connection.execute(query)]


def total(connection: Connection, wanted: UsageFilter) -> UsageTotals:
    """The sum over everything that is wanted."""
    query = select(literal("").label("group"), *_sums()).where(*_where(wanted))
    return _totals(connection.execute(query).one()._mapping)


def throughput(connection: Connection, provider: str, model: str) -> float | None:
    """Tokens per second of bulk work with this model, over its last requests, from the first call's start to the
    last one's end; None where there is none. Small requests do not count: most of their time goes into opening the
    model."""
    columns = t.usage.c
    where = (columns.provider == provider, columns.model == model, columns.lane == "bulk")
    # Rows without a request are of a whole day: how long they took says nothing.
    query = select(columns.tokens, columns.started_at, columns.ended_at).where(
        *where, columns.request_id != "", columns.tokens >= _TELLING_TOKENS
    )
    rows = connection.execute(query.order_by(columns.ended_at.desc()).limit(_RECENT_ROWS)).all()
    seconds = sum(row.ended_at - row.started_at for row in rows)
    return sum(row.tokens for row in rows) / seconds if seconds > 0 else None


def _dialect(connection: Connection) -> Any:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


def _group(by: UsageBy) -> ColumnElement[Any]:
    if by == "model":
        return t.usage.c.provider + ":" + t.usage.c.model
    column: ColumnElement[Any] = t.usage.c[by]
    return column


def _sums() -> list[ColumnElement[Any]]:
    return [func.coalesce(func.sum(t.usage.c[name]), 0).label(name) for name in _SUMMED]


def _where(wanted: UsageFilter) -> list[ColumnElement[bool]]:
    columns = t.usage.c
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(columns.day >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.day <= wanted.until)
    names = {"collection": wanted.collection, "provider": wanted.provider, "caller": wanted.caller}
    return conditions + [columns[name] == value for name, value in names.items() if value]


def _totals(row: Any) -> UsageTotals:
    tokens, unpriced = int(row["tokens"]), int(row["unpriced_tokens"])
    return UsageTotals(
        group=str(row["group"]),
        tokens=tokens,
        items=int(row["items"]),
        cached_items=int(row["cached_items"]),
        requests=int(row["requests"]),
        retries=int(row["retries"]),
        seconds=float(row["seconds"]),
        usd=None if tokens and tokens == unpriced else int(row["nano_usd"]) / _NANO,
        unpriced_tokens=unpriced,
    )


def _account_and_amount(row: dict[str, Any]) -> tuple[Account, Amount]:
    account = {name: row[name] for name in Account.__struct_fields__ if name != "request_id"}
    amount = {name: row[name] for name in Amount.__struct_fields__}
    return Account(request_id="", **account), Amount(**amount)
