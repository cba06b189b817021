"""A deadline that travels through every layer and can be cancelled by whoever made it."""

from __future__ import annotations

import math
import threading
import time

from embedhouse.domain.errors import Cancelled, DeadlineExceeded

__all__ = ["Deadline"]

_LONGEST_NAP_S = 0.2


class Deadline:
    """A point in time after which nobody waits for the answer.

    `check` is called between units of work; `remaining_s` bounds every blocking wait. Thread-safe.
    """

    __slots__ = ("_at", "_cancelled", "timeout_s")

    def __init__(self, timeout_s: float = math.inf) -> None:
        self.timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s
        self._cancelled = threading.Event()

    @classmethod
    def never(cls) -> Deadline:
        """A deadline without a time limit; it can still be cancelled."""
        return cls()

    def share(self, part: float) -> Deadline:
        """A deadline after that part (0 to 1) of the time that is left, cancelled together with this one."""
        earlier = Deadline(self.remaining_s * part)
        earlier._cancelled = self._cancelled
        return earlier

    def cancel(self) -> None:
        """Say that the caller went away."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the caller went away."""
        return self._cancelled.is_set()

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative; `inf` without a time limit."""
        return max(0.0, self._at - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether it passed or was cancelled."""
        return self.cancelled or self.remaining_s == 0.0

    def check(self, doing: str) -> None:
        """Raise `Cancelled` or `DeadlineExceeded` if nobody waits any more; `doing` completes the message."""
        if self.cancelled:
            raise Cancelled(doing=doing)
        if self.remaining_s == 0.0:
            raise DeadlineExceeded(timeout_s=self.timeout_s, doing=doing)

    def nap(self, seconds: float) -> None:
        """Sleep so long, or until it is over. Looks now and then, so that a handler of signals may cancel it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.over:
            time.sleep(min(left, _LONGEST_NAP_S))
