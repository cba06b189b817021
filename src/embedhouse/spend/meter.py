"""Adds up what is spent, on whose account, and keeps to the budgets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from embedhouse.domain.models import Attribution, Budget, Spent, attribution
from embedhouse.domain.spaces import Lane
from embedhouse.domain.spending import BudgetUse
from embedhouse.ledger.database import Database
from embedhouse.ledger.usage import (
    SECONDS_PER_DAY,
    Account,
    Amount,
    add_usage,
    fold_queries,
    spent_nano_usd,
)
from embedhouse.spend.budgets import BudgetAccount, period_at
from embedhouse.spend.prices import PriceTable

__all__ = ["SpendMeter"]

_FLUSH_EVERY_S = 1.0
_REREAD_EVERY_S = 2.0
_MAX_BUFFERED = 10_000
_QUERIES_KEPT_DAYS = 3
_FOLDED_AT_ONCE = 5_000

_log = structlog.get_logger("embedhouse.spend")


class SpendMeter:
    """Implements ports.Meter. Thread-safe.

    Amounts are added up in memory, one row an account (request, caller, collection, provider, model, lane), and
    written about once a second by a thread of their own, and by `flush` and `close`. What the ledger does not take
    stays in memory until it does. Where processes share the ledger, what the others spent of a budget is read every
    few seconds.
    """

    def __init__(
        self,
        database: Database,
        prices: PriceTable,
        budgets: Sequence[Budget] = (),
        *,
        clock: Callable[[], float] = time.time,
        flush_every_s: float = _FLUSH_EVERY_S,
    ) -> None:
        self._database = database
        self.prices = prices
        self._clock = clock
        self._flush_every_s = flush_every_s
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._buffer: dict[Account, Amount] = {}
        self._unpriced: set[tuple[str, str]] = set()
        self._something = threading.Event()
        self._closing = threading.Event()
        self._writer: threading.Thread | None = None
        self._folded_upto = 0
        self._budgets = [self._account(budget) for budget in budgets]
        self._rereads = bool(self._budgets) and database.is_shared
        if self._rereads:
            self._start_writer()

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        """See ports.Meter. What costs nothing is always allowed, and so is what has no known price."""
        if not self._budgets:
            return
        nano_usd = self.prices.nano_usd(provider, model, tokens)
        if nano_usd is None:
            self._warn_of_no_price(provider, model)
        if not self.prices.usd_per_million(provider, model):
            return
        collection = attribution().collection
        with self._lock:
            for account in self._budgets:
                if account.covers(provider, collection):
                    account.check(lane, nano_usd or 0, self._clock())

    def record(self, spent: Spent) -> None:
        """See ports.Meter."""
        whose, now = attribution(), self._clock()
        nano_usd = self.prices.nano_usd(spent.provider, spent.model, spent.tokens)
        account, amount = _row(whose, spent, nano_usd, now)
        with self._lock:
            self._add(account, amount)
            if nano_usd:
                for budget in self._budgets:
                    if budget.covers(spent.provider, whose.collection):
                        budget.add(nano_usd, now)
            if self._writer is None:
                self._start_writer()
        self._something.set()

    def budgets(self) -> list[BudgetUse]:
        """How much of each budget is used, in the order of the settings."""
        with self._lock:
            return [account.use(self._clock()) for account in self._budgets]

    def flush(self) -> None:
        """Write what is buffered. Errors: those of the ledger; then nothing is lost, and the next flush tries
        again."""
        with self._flushing:
            with self._lock:
                taken, self._buffer = self._buffer, {}
            try:
                if taken:
                    with self._database.write() as ledger:
                        add_usage(ledger, list(taken.items()))
            except BaseException:
                self._put_back(taken)
                raise

    def close(self) -> None:
        """Write what is left. The ledger must still be open."""
        self._closing.set()
        self._something.set()
        if self._writer is not None:
            self._writer.join()
        self._try_to_flush()

    def reread_budgets(self) -> None:
        """What other processes have spent counts from here on. Errors: those of the ledger."""
        with self._flushing:  # so that what is written and what is not are told apart
            now = self._clock()
            with self._lock:
                days = [account.first_day(now) for account in self._budgets]
            with self._database.read() as ledger:
                spent = [
                    spent_nano_usd(
                        ledger, day, provider=account.budget.provider, collection=account.budget.collection
                    )
                    for account, day in zip(self._budgets, days, strict=True)
                ]
            with self._lock:
                for account, day, written in zip(self._budgets, days, spent, strict=True):
                    account.reread(written + self._unwritten(account, day), now)

    def _unwritten(self, budget: BudgetAccount, first_day: int) -> int:
        return sum(
            amount.nano_usd
            for account, amount in self._buffer.items()
            if account.day >= first_day and budget.covers(account.provider, account.collection)
        )

    def _start_writer(self) -> None:
        self._writer = threading.Thread(target=self._write_behind, name="spend", daemon=True)
        self._writer.start()

    def _account(self, budget: Budget) -> BudgetAccount:
        period = period_at(budget.per, self._clock())
        with self._database.read() as ledger:
            spent = spent_nano_usd(ledger, period.first_day, provider=budget.provider, collection=budget.collection)
        return BudgetAccount(budget, period, spent)

    def _write_behind(self) -> None:
        while not self._closing.is_set():
            self._something.wait(_REREAD_EVERY_S if self._rereads else None)
            self._closing.wait(self._flush_every_s)
            self._something.clear()
            if self._try_to_flush():
                self._fold_old_queries()
            if self._rereads and not self._closing.is_set():
                self._try_to_reread()

    def _try_to_reread(self) -> None:
        try:
            self.reread_budgets()
        except Exception as error:
            _log.warning("what others spent could not be read; it is tried again", reason=str(error))

    def _try_to_flush(self) -> bool:
        try:
            self.flush()
        except Exception as error:
            _log.warning("usage could not be written; it is kept and tried again", reason=str(error))
            self._something.set()
            return False
        return True

    def _fold_old_queries(self) -> None:
        """Once a day: a row for each query is kept for some days, and a row a day after that."""
        before = int(self._clock() // SECONDS_PER_DAY) - _QUERIES_KEPT_DAYS
        if before <= self._folded_upto:
            return
        self._folded_upto = before
        try:
            gone = _FOLDED_AT_ONCE
            while gone == _FOLDED_AT_ONCE and not self._closing.is_set():
                with self._database.write() as ledger:  # little by little: others want to write too
                    gone = fold_queries(ledger, before, _FOLDED_AT_ONCE)
        except Exception as error:
            _log.warning("old usage could not be put together", reason=str(error))

    def _add(self, account: Account, amount: Amount) -> None:
        known = self._buffer.get(account)
        if known is None:
            self._buffer[account] = amount
        else:
            known.add(amount)

    def _put_back(self, taken: dict[Account, Amount]) -> None:
        with self._lock:
            for account, amount in taken.items():
                self._add(account, amount)
            if len(self._buffer) > _MAX_BUFFERED:  # the ledger is out of order: less detail, and nothing lost
                detailed, self._buffer = self._buffer, {}
                for account, amount in detailed.items():
                    self._add(account.without_request(), amount)

    def _warn_of_no_price(self, provider: str, model: str) -> None:
        with self._lock:
            known = (provider, model) in self._unpriced
            self._unpriced.add((provider, model))
        if not known:
            hint = f'set prices."{provider}:{model}" in config.toml'
            _log.warning("no budget can count this model: its price is not known", hint=hint)


def _row(whose: Attribution, spent: Spent, nano_usd: int | None, now: float) -> tuple[Account, Amount]:
    account = Account(
        day=int(now // SECONDS_PER_DAY),
        request_id=whose.request_id,
        caller=whose.caller,
        collection=whose.collection,
        provider=spent.provider,
        model=spent.model,
        lane=spent.lane,
    )
    amount = Amount(
        started_at=now - spent.seconds,
        ended_at=now,
        items=spent.items,
        cached_items=spent.cached_items,
        tokens=spent.tokens,
        unpriced_tokens=spent.tokens if nano_usd is None else 0,
        requests=spent.requests,
        retries=spent.retries,
        seconds=spent.seconds,
        nano_usd=nano_usd or 0,
    )
    return account, amount
