"""Which failures are tried again, when, and for how long."""

from __future__ import annotations

import random
import time

from embedhouse.models.remote.failures import CallFailed
from embedhouse.models.remote.rate_headers import retry_after_s

__all__ = ["Retries", "backoff_s"]

_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 10.0
# Being over a limit passes by itself; an outage of more tries than this is left to the circuit breaker.
_TRIES_OF_UNAVAILABLE = 5
_JITTER_OF_RETRY_AFTER = 0.1


def backoff_s(tries: int) -> float:
    """Seconds before try number `tries` + 1: doubling; with jitter, so that not all callers come back at once."""
    longest = min(_FIRST_WAIT_S * 2.0 ** min(tries - 1, 10), _LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


class Retries:
    """One request's tries, as a backoff hook of stamina. `total_s`: no try begins so long after the first; what the
    first waited for its turn does not count."""

    def __init__(self, total_s: float) -> None:
        self._began: float | None = None
        self._total_s = total_s
        self._tries = 0
        self._unavailable = 0

    def begin(self) -> None:
        """A try begins now."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the first try."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def wait_after(self, failure: CallFailed) -> float:
        """Seconds that the provider asks for, or those of our own backoff."""
        asked_for = retry_after_s(failure.headers)
        if asked_for is None:
            return backoff_s(max(1, self._tries))
        return asked_for + random.uniform(0, _JITTER_OF_RETRY_AFTER)  # noqa: S311

    def __call__(self, error: Exception) -> float | bool:
        """Seconds to wait for the next try; False to give up."""
        self._tries += 1
        if not isinstance(error, CallFailed) or not error.worth_a_retry:
            return False
        self._unavailable += error.unavailable
        wait_s = self.wait_after(error)
        if self._unavailable >= _TRIES_OF_UNAVAILABLE or self.waited_s + wait_s > self._total_s:
            return False
        return wait_s
