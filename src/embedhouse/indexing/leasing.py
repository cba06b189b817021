"""What this process works on, in a ledger that several share: its leases are renewed for as long as it lives."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterable
from functools import partial

import structlog

from embedhouse.domain.errors import EmbedhouseError
from embedhouse.ledger import leases
from embedhouse.ledger.changes import Change, Logged
from embedhouse.ledger.database import Database

__all__ = ["LEASE_S", "Leases"]

LEASE_S = 30.0
_RENEWALS_PER_LEASE = 3

_log = structlog.get_logger("embedhouse.indexing")


class Leases:
    """Takes changes for this process, and holds them until they are given back. Thread-safe.

    A thread renews what is held. A process that dies stops doing so, and after `seconds` others take its work.
    """

    def __init__(self, database: Database, seconds: float = LEASE_S) -> None:
        self.owner = uuid.uuid4().hex
        self._database = database
        self._seconds = seconds
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._closing = threading.Event()
        self._heart: threading.Thread | None = None

    @classmethod
    def of(cls, database: Database, seconds: float = LEASE_S) -> Leases | None:
        """Those of a ledger that is shared; a file needs none."""
        return cls(database, seconds) if database.is_shared else None

    def take(self, generation_id: int, limit: int, within: Logged, *, replays_only: bool = False) -> list[Change]:
        """The oldest changes that nobody works on, which are now this process's. Errors: those of the ledger."""
        find = partial(leases.take, replays_only=replays_only, limit=limit, within=within)
        with self._database.write() as ledger:
            taken = find(ledger, generation_id, self.owner, self._seconds)
        with self._lock:
            self._held.update(change.seq for change in taken)
            if taken and self._heart is None and not self._closing.is_set():
                self._heart = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._heart.start()
        return taken

    def done(self, seqs: Iterable[int]) -> None:
        """These were applied: there is nothing to give back."""
        with self._lock:
            self._held.difference_update(seqs)

    def give_back(self, seqs: Iterable[int]) -> None:
        """Let others take what is still held of these. A ledger that cannot be reached does so by itself, later."""
        with self._lock:
            mine = sorted(self._held.intersection(seqs))
            self._held.difference_update(mine)
        if mine:
            with contextlib.suppress(EmbedhouseError), self._database.write() as ledger:
                leases.give_back(ledger, self.owner, mine)

    def close(self) -> None:
        """Renew nothing more, and give back what is held."""
        self._closing.set()
        if self._heart is not None:
            self._heart.join()
        with self._lock:
            left = list(self._held)
        self.give_back(left)

    def _beat(self) -> None:
        while not self._closing.wait(self._seconds / _RENEWALS_PER_LEASE):
            with self._lock:
                held = sorted(self._held)
            if not held:
                continue
            try:
                with self._database.write() as ledger:
                    leases.renew(ledger, self.owner, held, self._seconds)
            except EmbedhouseError as error:
                _log.warning("leases could not be renewed; others may take the work", reason=str(error))
