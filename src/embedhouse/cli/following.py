"""A worker beside a server that has the house for itself: it keeps the server's collections in step with their
sources."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from embedhouse.cli.progress import OnProgress
from embedhouse.cli.remote import RemoteHouse
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, Unauthorized
from embedhouse.domain.syncing import SyncReport

__all__ = ["Following"]


_log = structlog.get_logger("embedhouse.following")


class Following:
    """Goes through the collections that are bound to sources, one after the other, again and again: the server has
    one such run at a time, and threads for the rest. `on_report` hears of each run."""

    def __init__(self, house: RemoteHouse, on_report: Callable[[SyncReport], None], progress: OnProgress) -> None:
        self._house = house
        self._on_report = on_report
        self._progress = progress

    def run(self, stop: Deadline, *, once: bool, every_s: float) -> int:
        """Until `stop` is over, or `once` through all of them; how many runs there were. A server that is away and
        a source that fails are logged and tried again. Errors: Unauthorized."""
        runs = 0
        while not stop.over:
            runs += self._round(stop)
            if once:
                break
            stop.nap(every_s)
        return runs

    def _round(self, stop: Deadline) -> int:
        runs = 0
        try:
            for info in self._house.collections.list():
                if not stop.over and self._house.sources.list(info.name):
                    runs += self._synced(info.name)
        except Unauthorized:
            raise
        except EmbedhouseError as error:
            _log.warning("the server cannot be asked; it is tried again", reason=str(error))
        return runs

    def _synced(self, name: str) -> bool:
        try:
            self._on_report(self._house.sync(name, progress=self._progress))
        except Unauthorized:
            raise
        except EmbedhouseError as error:
            _log.warning("a collection could not be brought into step", collection=name, reason=str(error))
            return False
        return True
