"""What a worker does besides indexing: it keeps collections in step with the sources that they are bound to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from embedhouse.domain.errors import Cancelled, DeadlineExceeded, EmbedhouseError
from embedhouse.ledger.database import Database
from embedhouse.ledger.leadership import leading

__all__ = ["FollowSources"]

_log = structlog.get_logger("embedhouse.following")


class FollowSources:
    """Called again and again; every `every_s` it syncs each collection that is bound. One process at a time syncs a
    collection: several workers share them out. What fails is logged and tried at the next turn."""

    def __init__(
        self,
        database: Database,
        bound: Callable[[], Iterable[str]],
        sync: Callable[[str], object],
        every_s: float,
    ) -> None:
        self._database = database
        self._bound = bound
        self._sync = sync
        self._every_s = every_s
        self._next = time.monotonic()

    def __call__(self) -> None:
        """Sync what is due. Errors: those of the ledger, Cancelled."""
        if time.monotonic() < self._next:
            return
        for name in self._bound():
            with leading(self._database, f"sync {name}") as leads:
                if leads:
                    self._one(name)
        self._next = time.monotonic() + self._every_s

    def _one(self, name: str) -> None:
        try:
            self._sync(name)
        except (Cancelled, DeadlineExceeded):
            raise
        except EmbedhouseError as error:
            _log.warning("a collection could not be brought into step", collection=name, reason=str(error))
        except Exception:
            _log.exception("a collection could not be brought into step", collection=name)
