"""Budgets: money that may be spent in a day or month of UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from embedhouse.domain.errors import BudgetExceeded, InvalidSetting
from embedhouse.domain.models import Budget, BudgetPeriod
from embedhouse.domain.spaces import Lane
from embedhouse.domain.spending import BudgetUse
from embedhouse.ledger.usage import SECONDS_PER_DAY
from embedhouse.settings import Settings
from embedhouse.spend.prices import LOCAL, NANO, did_you_mean

__all__ = ["BudgetAccount", "Period", "check_budgets", "period_at"]

_log = structlog.get_logger("embedhouse.spend")


class Period(NamedTuple):
    """A day or month: from `start` up to `end`, seconds since the epoch."""

    start: int
    end: int

    @property
    def first_day(self) -> int:
        """Days since the epoch."""
        return self.start // SECONDS_PER_DAY

    @property
    def resets_at(self) -> str:
        """The end in ISO 8601."""
        return datetime.fromtimestamp(self.end, UTC).isoformat()


def period_at(per: BudgetPeriod, now: float) -> Period:
    """The day or month of UTC that `now`, in seconds since the epoch, belongs to."""
    if per == "day":
        start = int(now // SECONDS_PER_DAY) * SECONDS_PER_DAY
        return Period(start, start + SECONDS_PER_DAY)
    today = datetime.fromtimestamp(now, UTC)
    first = datetime(today.year, today.month, 1, tzinfo=UTC)
    following = datetime(today.year + today.month // 12, today.month % 12 + 1, 1, tzinfo=UTC)
    return Period(int(first.timestamp()), int(following.timestamp()))


def check_budgets(settings: Settings) -> None:
    """Errors: InvalidSetting for a budget of a provider that does not exist, or without an amount."""
    origin = settings.origins.get("budgets", "default")
    known = [*settings.providers, LOCAL]
    for budget in settings.budgets:
        if budget.provider and budget.provider not in known:
            hint = did_you_mean(budget.provider, known)
            reason = f"a budget names the provider {budget.provider!r}, which does not exist ({hint})"
            raise InvalidSetting(name="budgets", origin=origin, reason=reason)
        if not math.isfinite(budget.usd):
            raise InvalidSetting(name="budgets", origin=origin, reason=f"{budget.usd} is not an amount of money")


class BudgetAccount:
    """One budget and what was spent of it. Its caller makes sure that one thread at a time works with it."""

    def __init__(self, budget: Budget, period: Period, spent_nano_usd: int) -> None:
        self.budget = budget
        self._period = period
        self._spent = spent_nano_usd
        self._limit = round(budget.usd * NANO)
        self._warns_at = budget.warn_share * self._limit
        self._warned = False

    def covers(self, provider: str, collection: str) -> bool:
        """Whether work of this provider for this collection counts."""
        budget = self.budget
        return budget.provider in ("", provider) and budget.collection in ("", collection)

    def first_day(self, now: float) -> int:
        """Of the period, days since the epoch."""
        self._move_to(now)
        return self._period.first_day

    def reread(self, spent_nano_usd: int, now: float) -> None:
        """What was spent by all processes, in place of what this one knew."""
        self.add(spent_nano_usd - self._spent, now)

    def check(self, lane: Lane, nano_usd: int, now: float) -> None:
        """Before work that costs about so much. Errors: BudgetExceeded."""
        if lane == "interactive" and self.budget.queries:
            return
        self._move_to(now)
        if self._spent >= self._limit or self._spent + nano_usd > self._limit:
            spent = f"{self._spent / NANO:.4f}"
            raise BudgetExceeded(budget=self.budget.describe(), spent=spent, resets_at=self._period.resets_at)

    def add(self, nano_usd: int, now: float) -> None:
        """What was spent. The first time that it is over the warning's share, the log says so."""
        self._move_to(now)
        self._spent += nano_usd
        if self._spent >= self._warns_at and not self._warned:
            self._warned = True
            use = self.use(now)
            _log.warning("budget", budget=use.budget, used=f"{use.share:.0%}", resets_at=use.resets_at)

    def use(self, now: float) -> BudgetUse:
        """How much of it is used."""
        self._move_to(now)
        budget = self.budget
        return BudgetUse(
            budget=budget.describe(),
            usd=budget.usd,
            per=budget.per,
            provider=budget.provider,
            collection=budget.collection,
            spent_usd=self._spent / NANO,
            share=self._spent / self._limit,
            warns=self._spent >= self._warns_at,
            resets_at=self._period.resets_at,
        )

    def _move_to(self, now: float) -> None:
        # Never back: a clock that is set back must not open a budget that is used up.
        if now >= self._period.end:
            self._period = period_at(self.budget.per, now)
            self._spent, self._warned = 0, False
