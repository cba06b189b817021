"""One limit of a provider, of requests or of tokens, and when the next may be sent. Pure: the caller has the clock.

Three things are known of a limit, in part or not at all: a steady rate from the settings; what the provider's
headers say is left; and, where there is neither, the rate at which it refused.
"""

from __future__ import annotations

from collections import deque

import msgspec

from embedhouse.models.remote.rate_headers import Remaining

__all__ = ["Quota", "Ticket"]

# A provider counts by its own clock: a little below its rate is never above it.
_SHARE_OF_RATE = 0.98
# Left to queries by bulk work. A bucket that is not full refills at the same rate, so it costs no throughput; in a
# window that begins anew all at once, what is left over is lost.
_RESERVE_OF_BUCKET = 0.1
_RESERVE_OF_WINDOW = 0.02
_LIFT = 0.1
# Who wakes up late catches up: of a minute it is less than what the share leaves.
_LATE_S = 0.1
_RESET_MARGIN_S = 0.01
_UNKNOWN_RESET_S = 1.0
_LEAST_USED = 4
_SAME_RATE = 1.25
_ANSWERED_WITHIN_S = 10.0
# After a refusal: a while near a rate that is probably good, then ever faster up, since it may have been a mistake
# (the curve is that of CUBIC, RFC 9438).
_RATE_AFTER_REFUSAL = 0.8
_RATE_DOUBLES_IN_S = 10.0


class Ticket(msgspec.Struct, frozen=True):
    """When something was sent, what it cost, and how much had been sent until then, itself included."""

    at: float
    cost: float
    sent: float


class _Level(msgspec.Struct, frozen=True):
    """`left` at the time `at`, when so much had been `sent`; whole again, at `limit`, at the time `reset_at`.
    `told`: what the provider said was left; a guess where a new window must have begun."""

    left: float
    at: float
    sent: float
    limit: float | None
    reset_at: float
    told: float
    is_guess: bool = False


class Quota:
    """When a cost may be spent. `per_minute` of 0: no rate is known beforehand."""

    def __init__(self, per_minute: int = 0) -> None:
        self._steady = per_minute / 60 * _SHARE_OF_RATE
        self._free_at = 0.0
        self._sent = 0.0
        self._under_way = 0.0
        self._newest = 0.0
        # Whether the time of the reset counts from the answer; until a refusal shows it, from the request.
        self._told_late = False
        self._level: _Level | None = None
        self._refill = _Refill()
        self._learned: tuple[float, float] | None = None
        self._slower_since = 0.0
        self._answered: deque[tuple[float, float]] = deque()

    @property
    def most_at_once(self) -> float:
        """More than this is never let through in one request; infinite as far as is known."""
        known = self._level.limit if self._level is not None else None
        per_minute = self._steady / _SHARE_OF_RATE * 60 or float("inf")
        return min(known or float("inf"), per_minute)

    def wait_s(self, cost: float, now: float, *, leave_reserve: bool) -> float:
        """Seconds until the cost may be spent; 0 for now."""
        return max(0.0, self._free_at - now, self._wait_for_level(cost, now, leave_reserve))

    def take(self, cost: float, now: float) -> Ticket:
        """Spend it."""
        rate = min(self._steady or float("inf"), self._learned_rate(now))
        self._free_at = max(now - _LATE_S, self._free_at) + cost / rate
        self._sent += cost
        self._under_way += cost
        return Ticket(now, cost, self._sent)

    def ended(self, cost: float) -> None:
        """It is not under way any more."""
        self._under_way -= cost

    def answered(self, cost: float, true_cost: float, now: float) -> None:
        """It was let through, and cost so much in truth."""
        if self._steady:
            self._free_at -= (cost - true_cost) / self._steady
        self._answered.append((now, true_cost))
        while self._answered[0][0] < now - _ANSWERED_WITHIN_S:
            self._answered.popleft()

    def observe(self, ticket: Ticket, seen: Remaining, now: float) -> None:
        """What the answer to the request of `ticket` said."""
        reset_s = _UNKNOWN_RESET_S if seen.reset_s is None else seen.reset_s
        reset_at = (now if self._told_late else ticket.at) + reset_s + _RESET_MARGIN_S
        level = self._level
        if level is not None and not level.is_guess and seen.remaining <= level.told + self._under_way:
            # The same window: a request that was longer on its way makes its end look nearer than it is.
            reset_at = max(reset_at, level.reset_at)
        if seen.limit is not None and seen.reset_s:
            self._refill.observe(seen.limit - seen.remaining, seen.reset_s)
        self._level = _Level(
            self._believed(ticket, seen.remaining, now),
            now,
            self._sent,
            seen.limit,
            reset_at,
            seen.remaining,
        )
        self._newest = max(self._newest, ticket.sent)

    def refused(self, ticket: Ticket, now: float) -> None:
        """It was not let through. Where the provider does not tell what is left, send less than was answered."""
        self._told_late = True
        if self._level is not None or ticket.at < self._slower_since:
            return  # what was sent before the rate was lowered says nothing of the lower one
        began = self._answered[0][0] if self._answered else now
        answered = sum(cost for _, cost in self._answered) / max(1.0, now - began)
        rate = min(answered or float("inf"), self._learned_rate(now))
        if rate < float("inf"):
            self._learned = (rate * _RATE_AFTER_REFUSAL, now)
            self._slower_since = now

    def _believed(self, ticket: Ticket, told: float, now: float) -> float:
        """What is left, from what is told and our own account.

        Requests overtake each other on their way, so what an answer tells may leave out some that were sent before
        it: it lowers our account at once, but lifts it little by little, unless a new window has begun.
        """
        held = self._left(now)
        refill = self._refill.per_s or 0.0
        is_newest = ticket.sent > self._newest
        left = told - (self._sent - ticket.sent) + refill * (now - ticket.at) if is_newest else told
        if held is None or self._level is None:
            return left
        if refill:
            return min(left, held + _LIFT * ticket.cost) if is_newest else held
        begun_anew = told > self._level.told + self._under_way
        return told - self._under_way if begun_anew else min(left, held)

    def _left(self, now: float) -> float | None:
        level = self._level
        if level is None:
            return None
        refilled = level.left + (self._refill.per_s or 0.0) * (now - level.at)
        whole = float("inf") if level.limit is None else level.limit
        return min(refilled, whole) - (self._sent - level.sent)

    def _learned_rate(self, now: float) -> float:
        if self._learned is None:
            return float("inf")
        rate, since = self._learned
        growth: float = 1 + ((now - since) / _RATE_DOUBLES_IN_S) ** 3
        return rate * growth

    def _wait_for_level(self, cost: float, now: float, leave_reserve: bool) -> float:
        self._begin_window(cost, now)
        level, left = self._level, self._left(now)
        if level is None or left is None:
            return 0.0
        missing = self._needed(cost, level.limit, leave_reserve) - left
        if missing <= 0:
            return 0.0
        refill = self._refill.per_s
        return missing / refill if refill else max(0.0, level.reset_at - now)

    def _needed(self, cost: float, limit: float | None, leave_reserve: bool) -> float:
        """What must be there to spend the cost. The whole limit is enough for anything."""
        if limit is None:
            return cost
        share = _RESERVE_OF_BUCKET if self._refill.per_s else _RESERVE_OF_WINDOW
        reserve = limit * share if leave_reserve else 0.0
        return min(cost + reserve, limit)

    def _begin_window(self, cost: float, now: float) -> None:
        """Where the limit does not refill little by little, it is whole again at its time."""
        level = self._level
        if level is None or self._refill.per_s or now < level.reset_at:
            return
        whole = max(cost, level.left) if level.limit is None else level.limit
        # What is under way may be counted in the new window. When that begins is not known before it is told.
        again_at = now + max(level.reset_at - level.at, _UNKNOWN_RESET_S)
        self._level = _Level(whole - self._under_way, now, self._sent, level.limit, again_at, whole, is_guess=True)


class _Refill:
    """Whether a limit refills little by little, and how fast.

    What was used divided by the time until the limit is whole is constant then, however much was used. Of a
    window that begins anew all at once it grows: more is used, and less time is left.
    """

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._seen: deque[tuple[float, float]] = deque(maxlen=32)

    def observe(self, used: float, reset_s: float) -> None:
        """What an answer said. Little is skipped: the provider's rounding would be most of it."""
        if used < _LEAST_USED:
            return
        self._seen.append((used, used / reset_s))
        rates = [rate for _, rate in self._seen]
        if max(rates) > _SAME_RATE * min(rates):
            self.per_s = None
        elif max(used for used, _ in self._seen) >= 2 * min(used for used, _ in self._seen):
            self.per_s = sum(rates) / len(rates)
