"""The house in this process, or the server that holds its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import filelock
import msgspec

from embedhouse.domain.errors import HouseLocked
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.cli.remote import RemoteHouse
    from embedhouse.house import House

    AnyHouse: TypeAlias = House | RemoteHouse

__all__ = ["HOLDER_FILE", "LOCK_FILE", "AnyHouse", "Holder", "connect", "server_url"]

LOCK_FILE = "house.lock"
HOLDER_FILE = "house.json"
_SERVER_START_S = 15.0
_POLL_S = 0.1


class Holder(msgspec.Struct, frozen=True):
    """Who holds a home: `<home>/house.json`, written by the holder. `url` once it serves."""

    pid: int
    url: str | None = None
    started_at: str = ""
    command: str = ""

    @property
    def serves(self) -> bool:
        """Whether it is a server, or is about to be one."""
        return self.url is not None or "serve" in self.command.split()


@contextmanager
def connect(settings: Settings) -> Iterator[AnyHouse]:
    """Open the house; where a running server holds it, talk to that server instead.

    Errors: HouseLocked where another process holds the folder and does not serve.
    """
    server = _server(settings)
    with _open_here(settings) if server is None else server as house:
        yield house


def server_url(settings: Settings) -> str | None:
    """Where the server answers that holds this home; None if none does. Waits for one that is just starting."""
    deadline = time.monotonic() + _SERVER_START_S
    while (holder := _serving_holder(settings.home)) is not None:
        if holder.url is not None:
            return holder.url
        if time.monotonic() > deadline:
            raise HouseLocked(home=settings.home, pid=holder.pid)
        time.sleep(_POLL_S)
    return None


def _open_here(settings: Settings) -> House:
    from embedhouse.wiring import open_house

    return open_house(settings)


def _server(settings: Settings) -> RemoteHouse | None:
    url = server_url(settings)
    if url is None:
        return None
    from embedhouse.cli.remote import RemoteHouse

    return RemoteHouse(url, settings)


def _serving_holder(home: Path) -> Holder | None:
    """The server process that holds the home right now, whatever a crashed one left behind."""
    try:
        holder = msgspec.json.decode((home / HOLDER_FILE).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
    return holder if holder.serves and _is_locked(home / LOCK_FILE) else None


def _is_locked(lock_file: Path) -> bool:
    # A crashed server leaves its file, never its lock. Asked only of servers: for the moment that this
    # takes the lock itself, another command would find the house locked.
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except (filelock.Timeout, OSError):
        return True
    lock.release()
    return False
