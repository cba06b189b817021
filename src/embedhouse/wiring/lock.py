"""One process holds a house's folder at a time."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import filelock
import msgspec

from embedhouse.domain.errors import HouseLocked
from embedhouse.domain.holder import HOLDER_FILE, LOCK_FILE, Holder, read_holder
from embedhouse.domain.storage import storage_error

__all__ = ["HouseLock", "SharedHome"]


class HouseLock:
    """Held from its making until `release`. The system frees it when the process dies.

    Errors: HouseLocked, ReadOnly, DiskFull.
    """

    def __init__(self, home: Path) -> None:
        self._holder_path = home / HOLDER_FILE
        self._lock = filelock.FileLock(home / LOCK_FILE)
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            holder = read_holder(home)
            raise HouseLocked(home=home, pid=holder.pid if holder else "unknown") from None
        except OSError as error:
            raise storage_error(error, home) from error
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]) if sys.argv else ""
        self._holder = Holder(
            pid=os.getpid(), started_at=datetime.now(UTC).isoformat(timespec="seconds"), command=command
        )
        self._write()

    def announce(self, url: str) -> None:
        """Tell other processes where this one serves."""
        self._holder = msgspec.structs.replace(self._holder, url=url)
        self._write()

    def release(self) -> None:
        """Let the next process in."""
        self._holder_path.unlink(missing_ok=True)
        self._lock.release()

    def _write(self) -> None:
        # Renamed into place: a reader never sees half of it.
        draft = self._holder_path.with_suffix(".draft")
        try:
            draft.write_bytes(msgspec.json.encode(self._holder))
            draft.replace(self._holder_path)
        except OSError as error:
            raise storage_error(error, self._holder_path) from error


class SharedHome:
    """In the place of HouseLock where the state is on servers, and any number of processes use the home: it holds
    their settings, and no more. Errors: ReadOnly, DiskFull."""

    def __init__(self, home: Path) -> None:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, home) from error

    def announce(self, url: str) -> None:
        """Others open the house themselves."""

    def release(self) -> None:
        """There is nothing to let go of."""
