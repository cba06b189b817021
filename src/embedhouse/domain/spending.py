"""What was spent and what may be: records of usage, budgets and API keys."""

from __future__ import annotations

from typing import Literal

import msgspec

from embedhouse.domain.models import BudgetPeriod

__all__ = ["ApiKeyInfo", "BudgetUse", "NewApiKey", "UsageBy", "UsageReport", "UsageTotals"]

UsageBy = Literal["day", "provider", "collection", "caller", "model"]


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What embedding took, of one group or of all. `group` is a day (ISO 8601, UTC), a provider, a collection, a
    caller or PROVIDER:MODEL; empty where there is none.

    `items` were computed, `cached_items` came from the vector cache; `requests` went over the network, of which
    `retries` were repetitions. `usd` is None where no price is known; the tokens without one are
    `unpriced_tokens`, and are not in `usd`.
    """

    group: str = ""
    tokens: int = 0
    items: int = 0
    cached_items: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    usd: float | None = 0.0
    unpriced_tokens: int = 0

    @property
    def cached_share(self) -> float:
        """Share of the items that the vector cache had, 0 to 1."""
        return self.cached_items / max(self.items + self.cached_items, 1)


class BudgetUse(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a budget is used. `share` is 1 where it is used up; `warns` where it is over its warning."""

    budget: str
    usd: float
    per: BudgetPeriod
    provider: str
    collection: str
    spent_usd: float
    share: float
    warns: bool
    resets_at: str


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Usage by group, the groups in order; the sum over all of them; and every budget of the settings."""

    by: UsageBy
    rows: list[UsageTotals]
    total: UsageTotals
    budgets: list[BudgetUse] = []


class ApiKeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A named API key. `hint` is its first characters; the key itself is not kept. `namespaces`: those that it is
    bound to; None: it may see everything."""

    name: str
    hint: str
    created_at: str
    namespaces: list[str] | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made: the only time that `key` is shown."""

    name: str
    key: str
    namespaces: list[str] | None = None

    def __repr__(self) -> str:
        return f"NewApiKey(name={self.name!r})"
