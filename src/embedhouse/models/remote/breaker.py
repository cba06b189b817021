"""A circuit breaker: a dead provider fails fast instead of holding every caller for its time limit."""

from __future__ import annotations

__all__ = ["Breaker"]

_FAILURES_TO_OPEN = 5
_OPEN_S = 15.0


class Breaker:
    """Opens after some failures in a row; after a while one call may try, and decides whether it closes.

    Times are seconds of a monotonic clock that the caller reads. Not thread-safe: used on one event loop.
    """

    def __init__(self, failures_to_open: int = _FAILURES_TO_OPEN, open_s: float = _OPEN_S) -> None:
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._failures = 0
        self._reason = ""
        self._closed_again_at = 0.0
        self._probing = False

    def refusal(self, now: float) -> str | None:
        """Why no call may be made now; None if the caller may make one. It must then report how it went."""
        if self._failures < self._failures_to_open:
            return None
        if not self._probing and now >= self._closed_again_at:
            self._probing = True
            return None
        wait_s = max(0.0, self._closed_again_at - now)
        return f"it failed {self._failures} times in a row ({self._reason}); it is tried again in {wait_s:.0f} s"

    def answered(self) -> None:
        """The provider is alive, whatever it said."""
        self._failures = 0
        self._probing = False

    def failed(self, reason: str, now: float) -> bool:
        """The provider is down, too slow, or cut off. Returns whether the breaker is open now."""
        self._failures += 1
        self._reason = reason
        self._probing = False
        is_open = self._failures >= self._failures_to_open
        if is_open:
            self._closed_again_at = now + self._open_s
        return is_open

    def abandoned(self) -> None:
        """The call was given up before it showed anything."""
        self._probing = False
