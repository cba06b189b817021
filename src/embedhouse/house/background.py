"""Indexes accepted documents behind those who wait for answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import BudgetExceeded, Cancelled, EmbedhouseError
from embedhouse.domain.models import attributed, attribution
from embedhouse.ledger.changes import EVERYTHING, Logged

if TYPE_CHECKING:
    from embedhouse.indexing.open_collection import OpenCollection

__all__ = ["BackgroundIndexing"]

_AGAIN_AFTER_S = 60.0
_LEAST_PAUSE_S = 1.0
_LONGEST_WAIT_S = 60.0

_log = structlog.get_logger("embedhouse.indexing")


class _Work:
    """What one caller had accepted for one collection."""

    def __init__(self, opened: OpenCollection, caller: str, request_id: str) -> None:
        self.opened = opened
        self.caller = caller
        self.request_id = request_id
        self.ranges: list[Logged] = []
        self.not_before = float("-inf")

    def add(self, logged: Logged, request_id: str) -> None:
        if request_id != self.request_id:
            self.request_id = ""  # of several requests
        if self.ranges and self.ranges[-1].upto == logged.after:
            logged = Logged(self.ranges.pop().after, logged.upto)
        if logged.upto > logged.after:
            self.ranges.append(logged)


class BackgroundIndexing:
    """One thread that indexes what was accepted, each caller's on that caller's account.

    What fails stays logged in the ledger. It is tried again: after a used-up budget when that begins anew, after
    anything else in a minute. `is_wanted` says whether a collection is still there. `clock`: seconds since the
    epoch.
    """

    def __init__(self, is_wanted: Callable[[OpenCollection], bool], clock: Callable[[], float] = time.time) -> None:
        self._is_wanted = is_wanted
        self._clock = clock
        self._stopping = Deadline.never()
        self._changed = threading.Condition()
        self._waiting: dict[tuple[int, str], _Work] = {}
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, opened: OpenCollection, logged: Logged) -> None:
        """Index what a write logged, on the account of whoever calls this."""
        whose = attribution()
        key = (opened.collection.id, whose.caller)
        with self._changed:
            if key not in self._waiting:
                self._waiting[key] = _Work(opened, whose.caller, whose.request_id)
            self._waiting[key].add(logged, whose.request_id)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="index-soon", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wake(self) -> None:
        """Look at the clock again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop after the step under way. What is left stays logged."""
        self._stopping.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._index(work)

    def _next(self) -> _Work | None:
        with self._changed:
            while not self._closed:
                now = self._clock()
                due = [key for key, work in self._waiting.items() if work.not_before <= now]
                if due:
                    return self._waiting.pop(due[0])
                soonest = min((work.not_before - now for work in self._waiting.values()), default=_LONGEST_WAIT_S)
                self._changed.wait(min(soonest, _LONGEST_WAIT_S) if self._waiting else None)
        return None

    def _index(self, work: _Work) -> None:
        opened, name = work.opened, work.opened.collection.name
        try:
            with attributed(caller=work.caller, collection=name, request_id=work.request_id):
                while work.ranges:
                    opened.finish(work.ranges[0], self._stopping)
                    opened.finish_others(work.ranges[0], self._stopping)
                    work.ranges.pop(0)
            if not self._waits(opened):
                with attributed(collection=name):  # what nobody waits for any more
                    opened.finish(EVERYTHING, self._stopping)
                    opened.finish_others(EVERYTHING, self._stopping)
        except Cancelled:
            return
        except BudgetExceeded as error:
            _log.warning("indexing waits for a budget", collection=name, reason=str(error))
            self._again(work, datetime.fromisoformat(str(error.fields["resets_at"])).timestamp())
        except EmbedhouseError as error:
            _log.warning("indexing in the background failed", collection=name, reason=str(error))
            self._again(work, self._clock() + _AGAIN_AFTER_S)
        except Exception:
            # The changes stay pending, and `status` counts them.
            _log.exception("indexing in the background failed", collection=name)
            self._again(work, self._clock() + _AGAIN_AFTER_S)

    def _waits(self, opened: OpenCollection) -> bool:
        with self._changed:
            return any(work.opened is opened for work in self._waiting.values())

    def _again(self, work: _Work, when: float) -> None:
        if not self._is_wanted(work.opened):
            return
        when = max(when, self._clock() + _LEAST_PAUSE_S)
        with self._changed:
            later = self._waiting.setdefault((work.opened.collection.id, work.caller), work)
            if later is not work:  # the same caller wrote more meanwhile
                later.ranges[:0] = work.ranges
            later.not_before = when
