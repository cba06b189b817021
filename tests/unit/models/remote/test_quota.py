"""When the next request may be sent: in a simulation, so that seconds cost nothing."""

from __future__ import annotations

import heapq
import itertools

import pytest
from provider_stub import Bucket, Window

from embedhouse.models.remote.quota import Quota, Ticket
from embedhouse.models.remote.rate_headers import Remaining

LATENCY_S = 0.1
CONCURRENCY = 8


def simulate(
    quota: Quota, limit: Bucket | Window, seconds: float, *, tells: bool = True, late_s: float = 0.0
) -> list[tuple[float, bool]]:
    """(time, whether it was let through) of every request of a bulk job that never ends: the first alone, then as
    many at once as are allowed. The server counts a request when it comes, and answers after the latency."""
    now, sent = 0.0, []
    answers: list[tuple[float, int, Ticket, bool, Remaining | None]] = []
    numbers = itertools.count()
    while now < seconds:
        room = len(answers) < (CONCURRENCY if sent and (len(sent) > 1 or not answers) else 1)
        ready_at = now + quota.wait_s(1, now, leave_reserve=True) if room else float("inf")
        if answers and answers[0][0] <= ready_at:
            now, _, ticket, passed, seen = heapq.heappop(answers)
            if seen is not None:
                quota.observe(ticket, seen, now)
            quota.ended(1)
            if passed:
                quota.answered(1, 1, now)
            else:
                quota.refused(ticket, now)
            continue
        if ready_at > now:
            now = ready_at
            continue
        passed = limit.take(now)
        sent.append((now, passed))
        whole, left, reset_s = limit.state(now)
        told = (
            Remaining(remaining=left, limit=whole, reset_s=round(max(0.0, reset_s - late_s), 3)) if tells else None
        )
        heapq.heappush(answers, (now + LATENCY_S, next(numbers), quota.take(1, now), passed, told))
    return sent


def per_s(sent: list[tuple[float, bool]], seconds: float, after_s: float = 1.0) -> float:
    return sum(passed for at, passed in sent if at >= after_s) / (seconds - after_s)


@pytest.mark.parametrize(("rate", "capacity"), [(50, 50), (20, 200), (10, 10), (60, 30)])
def test_quota_uses_a_bucket_up_and_is_never_refused(rate: float, capacity: float) -> None:
    # 60 s: a full bucket is more than the rate allows in the long run, so it is emptied first.
    sent = simulate(Quota(), Bucket(rate, capacity, at=0.0), 60)
    assert all(passed for _, passed in sent)
    assert per_s(sent, 60) >= 0.95 * rate


@pytest.mark.parametrize(("count", "seconds"), [(50, 1.0), (100, 10.0), (600, 60.0)])
def test_quota_uses_a_window_up_and_is_never_refused(count: int, seconds: float) -> None:
    total_s = 3 * seconds
    sent = simulate(Quota(), Window(count, seconds, began=0.0), total_s)
    assert all(passed for _, passed in sent)
    assert per_s(sent, total_s, after_s=0.0) >= 0.95 * count / seconds


def test_quota_learns_from_refusals_that_resets_are_told_late() -> None:
    # The server says with its answer, not with the request, how long the window still is.
    sent = simulate(Quota(), Window(50, 1.0, began=0.0), 20, late_s=LATENCY_S)
    assert all(passed for at, passed in sent if at > 2)
    assert per_s(sent, 20) >= 0.85 * 50


def test_quota_keeps_the_rate_of_the_settings_where_the_server_says_nothing() -> None:
    sent = simulate(Quota(per_minute=1200), Bucket(20, 5, at=0.0), 30, tells=False)
    assert all(passed for _, passed in sent)
    assert per_s(sent, 30) >= 0.95 * 20


def test_quota_learns_a_rate_that_nobody_tells_from_refusals() -> None:
    sent = simulate(Quota(), Bucket(20, 20, at=0.0), 120, tells=False)
    late = [passed for at, passed in sent if at > 60]
    assert late.count(False) <= 0.05 * len(late)
    assert per_s(sent, 120, after_s=60) >= 0.7 * 20


def test_quota_learns_that_the_rate_of_the_settings_is_too_high() -> None:
    sent = simulate(Quota(per_minute=6000), Bucket(20, 20, at=0.0), 120, tells=False)
    late = [passed for at, passed in sent if at > 60]
    assert late.count(False) <= 0.05 * len(late)


def test_quota_leaves_a_tenth_of_a_bucket_to_queries() -> None:
    quota, limit = Quota(), Bucket(50, 50, at=0.0)
    sent = simulate(quota, limit, 10)
    now = sent[-1][0]
    assert quota.wait_s(1, now, leave_reserve=False) == 0
    assert limit.level >= 1


def test_quota_ignores_an_answer_that_a_later_one_overtook() -> None:
    quota = Quota()
    first, second = quota.take(1, 0.0), quota.take(1, 0.0)
    quota.observe(second, Remaining(remaining=0, limit=2, reset_s=1.0), 0.1)
    quota.observe(first, Remaining(remaining=1, limit=2, reset_s=1.0), 0.2)
    assert quota.wait_s(1, 0.2, leave_reserve=False) > 0.8


def test_quota_asks_again_after_a_second_where_no_reset_is_told() -> None:
    quota = Quota()
    quota.observe(quota.take(1, 0.0), Remaining(remaining=0), 0.1)
    quota.ended(1)
    assert 0.9 < quota.wait_s(1, 0.1, leave_reserve=True) <= 1.1
    assert quota.wait_s(1, 1.2, leave_reserve=True) == 0


def test_quota_lets_a_cost_over_the_whole_limit_through_when_it_is_whole() -> None:
    quota = Quota()
    quota.observe(quota.take(1, 0.0), Remaining(remaining=100, limit=100, reset_s=0.0), 0.1)
    quota.ended(1)
    assert quota.wait_s(1000, 0.1, leave_reserve=True) == 0
