"""Deadlines that are shared out."""

from embedhouse.domain.deadline import Deadline


def test_share_ends_earlier_and_is_cancelled_together() -> None:
    whole = Deadline(100)
    part = whole.share(0.8)
    assert 79 < part.remaining_s <= 80 < whole.remaining_s
    whole.cancel()
    assert part.cancelled


def test_share_of_no_limit_has_none() -> None:
    assert Deadline.never().share(0.5).remaining_s == float("inf")
