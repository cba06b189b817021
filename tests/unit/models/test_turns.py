"""Turns on one model: queries first, one at a time, and nobody waits past a deadline."""

import threading
import time

import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded
from embedhouse.domain.spaces import Lane
from embedhouse.models.turns import Turns


def _waiter(turns: Turns, lane: Lane, order: list[str]) -> threading.Thread:
    def wait() -> None:
        with turns.turn(lane, Deadline(10)):
            order.append(lane)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_turn_is_handed_to_queries_first() -> None:
    turns, order = Turns(), []
    with turns.turn("bulk", Deadline(10)):
        threads = [_waiter(turns, "bulk", order) for _ in range(3)]
        time.sleep(0.05)
        threads += [_waiter(turns, "interactive", order) for _ in range(2)]
        time.sleep(0.05)
    for thread in threads:
        thread.join(10)
    assert order == ["interactive"] * 2 + ["bulk"] * 3


def test_turn_ends_with_the_deadline_and_leaves_no_trace() -> None:
    turns = Turns()
    with turns.turn("bulk", Deadline(10)):
        with pytest.raises(DeadlineExceeded), turns.turn("interactive", Deadline(0.05)):
            pass
        gone = Deadline.never()
        gone.cancel()
        with pytest.raises(Cancelled), turns.turn("bulk", gone):
            pass
    with turns.turn("bulk", Deadline(1)):
        pass


def test_turn_is_given_back_after_an_error() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.turn("bulk", Deadline(1)):
        1 / 0  # noqa: B018
    with turns.turn("interactive", Deadline(1)):
        pass
