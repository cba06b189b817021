"""Which changes of a generation an indexer works on: of a file's ledger, those that no thread of this process has;
of a shared one, those that no process has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.indexing.leasing import Leases
from embedhouse.ledger import changes, leases
from embedhouse.ledger.changes import Change, Logged
from embedhouse.ledger.database import Database

__all__ = ["LeasedWork", "LocalWork", "Work"]

_CHANGES_PER_BATCH = 512
_LOOK_AGAIN_S = 0.02
_LONGEST_LOOK_S = 0.5


class Work(Protocol):
    """Thread-safe."""

    def batch(self, within: Logged, *, replays_only: bool) -> AbstractContextManager[list[Change]]:
        """The oldest changes that nobody works on, for as long as the block runs."""
        ...

    def wait(self, logged: Logged, deadline: Deadline, drain: Callable[[], None]) -> None:
        """Until nothing of what was logged is left. `drain` does what nobody works on any more."""
        ...


class LocalWork:
    """Implements Work for the threads of one process."""

    def __init__(self, database: Database, generation_id: int) -> None:
        self._database = database
        self._id = generation_id
        self._changed = threading.Condition()
        self._claimed: set[int] = set()

    @contextmanager
    def batch(self, within: Logged, *, replays_only: bool) -> Iterator[list[Change]]:
        """See Work."""
        batch = self._claim(changes.replays if replays_only else changes.pending_changes, within)
        try:
            yield batch
        finally:
            with self._changed:
                self._claimed.difference_update(change.seq for change in batch)
                self._changed.notify_all()

    def wait(self, logged: Logged, deadline: Deadline, drain: Callable[[], None]) -> None:
        """See Work: what another thread gives up again is left to whoever comes next."""
        with self._changed:
            while any(logged.after < seq <= logged.upto for seq in self._claimed):
                deadline.check("waiting for the index")
                self._changed.wait(timeout=min(deadline.remaining_s, 1.0))

    def _claim(self, find: Callable[[Connection, int, int, Logged], list[Change]], within: Logged) -> list[Change]:
        with self._changed:
            with self._database.read() as ledger:
                pending = find(ledger, self._id, _CHANGES_PER_BATCH + len(self._claimed), within)
            batch = [change for change in pending if change.seq not in self._claimed][:_CHANGES_PER_BATCH]
            self._claimed.update(change.seq for change in batch)
            return batch


class LeasedWork:
    """Implements Work for the processes that share a ledger."""

    def __init__(self, database: Database, generation_id: int, held: Leases) -> None:
        self._database = database
        self._id = generation_id
        self._leases = held

    @contextmanager
    def batch(self, within: Logged, *, replays_only: bool) -> Iterator[list[Change]]:
        """See Work."""
        batch = self._leases.take(self._id, _CHANGES_PER_BATCH, within, replays_only=replays_only)
        try:
            yield batch
        finally:
            self._leases.give_back([change.seq for change in batch])

    def wait(self, logged: Logged, deadline: Deadline, drain: Callable[[], None]) -> None:
        """See Work: a process that has died is waited for until its lease is over."""
        pause = _LOOK_AGAIN_S
        logged = self._bounded(logged)
        while self._left(logged):
            deadline.check("waiting for the index")
            time.sleep(min(pause, deadline.remaining_s))
            pause = min(2 * pause, _LONGEST_LOOK_S)
            drain()

    def _bounded(self, logged: Logged) -> Logged:
        """Without what is logged from now on: others go on writing."""
        with self._database.read() as ledger:
            return Logged(logged.after, min(logged.upto, changes.last_seq(ledger)))

    def _left(self, logged: Logged) -> int:
        with self._database.read() as ledger:
            return leases.unapplied(ledger, self._id, logged)
