"""Pacing: slow down before the provider refuses, and let queries pass bulk work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from embedhouse.domain.models import ProviderSettings
from embedhouse.domain.spaces import Lane
from embedhouse.models.remote.failures import CallFailed
from embedhouse.models.remote.quota import Quota, Ticket
from embedhouse.models.remote.rate_headers import read_limits

__all__ = ["Pace", "Turn"]

_LEAST_SLEEP_S = 0.001
_MOST_SLEEP_S = 1.0
_WHILE_QUERIES_WAIT_S = 0.005


class Turn:
    """A request under way. What came of it is told to `answered` or `refused`."""

    def __init__(self, pace: Pace, tokens: int, tickets: tuple[Ticket, Ticket]) -> None:
        self._pace = pace
        self._tokens = tokens
        self._tickets = tickets

    def answered(self, headers: Mapping[str, str], tokens: int | None) -> None:
        """Vectors came back, for so many tokens as the provider counts; None where it does not say."""
        now = self._pace.observe(self._tickets, headers)
        self._pace.requests.answered(1, 1, now)
        self._pace.tokens.answered(self._tokens, self._tokens if tokens is None else tokens, now)

    def refused(self, headers: Mapping[str, str], wait_s: float) -> None:
        """It was over the limits: nothing is sent for so long."""
        now = self._pace.observe(self._tickets, headers)
        self._pace.requests.refused(self._tickets[0], now)
        self._pace.hold(now + wait_s)


class Pace:
    """Turns for requests to one model of one provider. Used on one event loop.

    Until the first answer says what the limits are, one request is under way at a time. Bulk work takes its turns
    one after the other, and none while a query waits for its own.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self.requests = Quota(settings.requests_per_minute)
        self.tokens = Quota(settings.tokens_per_minute)
        self._longest_wait_s = settings.total_timeout_s
        self._slots: dict[Lane, asyncio.Semaphore] = {
            "bulk": asyncio.Semaphore(settings.max_concurrency),
            "interactive": asyncio.Semaphore(settings.max_concurrency),
        }
        self._first = asyncio.Lock()
        self._knows = False
        self._bulk_queue = asyncio.Lock()
        self._queries_waiting = 0
        self._held_until = 0.0

    @property
    def most_tokens_at_once(self) -> float:
        """A request of more tokens would never be let through."""
        return self.tokens.most_at_once

    @asynccontextmanager
    async def turn(self, tokens: int, lane: Lane) -> AsyncIterator[Turn]:
        """Wait until a request of so many tokens may be sent; the body sends it.

        Errors: CallFailed where that would take longer than all tries of a request may.
        """
        async with self._slots[lane]:
            if not self._knows:
                async with self._first:
                    if not self._knows:
                        async with self._counted(tokens, lane) as turn:
                            yield turn
                        self._knows = True
                        return
            async with self._counted(tokens, lane) as turn:
                yield turn

    @asynccontextmanager
    async def _counted(self, tokens: int, lane: Lane) -> AsyncIterator[Turn]:
        turn = await self._wait(tokens, lane)
        try:
            yield turn
        finally:
            self.requests.ended(1)
            self.tokens.ended(tokens)

    def observe(self, tickets: tuple[Ticket, Ticket], headers: Mapping[str, str]) -> float:
        """What an answer's headers say of the limits. Returns the time."""
        now = time.monotonic()
        limits = read_limits(headers)
        if limits.requests is not None:
            self.requests.observe(tickets[0], limits.requests, now)
        if limits.tokens is not None:
            self.tokens.observe(tickets[1], limits.tokens, now)
        return now

    def hold(self, until: float) -> None:
        """Send nothing before that time."""
        self._held_until = max(self._held_until, until)

    async def _wait(self, tokens: int, lane: Lane) -> Turn:
        if lane == "bulk":
            async with self._bulk_queue:
                return await self._wait_for_limits(tokens, lane)
        self._queries_waiting += 1
        try:
            return await self._wait_for_limits(tokens, lane)
        finally:
            self._queries_waiting -= 1

    async def _wait_for_limits(self, tokens: int, lane: Lane) -> Turn:
        while (wait_s := self._wait_s(tokens, lane)) > 0:
            if wait_s > self._longest_wait_s:
                raise CallFailed(f"it lets nothing through for {wait_s:.0f} s", status=429, final=True)
            # Answers to others may tell in the meantime that it takes longer, or less long.
            await asyncio.sleep(min(max(wait_s, _LEAST_SLEEP_S), _MOST_SLEEP_S))
        now = time.monotonic()
        return Turn(self, tokens, (self.requests.take(1, now), self.tokens.take(tokens, now)))

    def _wait_s(self, tokens: int, lane: Lane) -> float:
        now = time.monotonic()
        bulk = lane == "bulk"
        if bulk and self._queries_waiting:
            return _WHILE_QUERIES_WAIT_S
        return max(
            self._held_until - now,
            self.requests.wait_s(1, now, leave_reserve=bulk),
            self.tokens.wait_s(tokens, now, leave_reserve=bulk),
        )
