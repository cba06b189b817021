"""The house in this process, or the server that holds its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import filelock

from embedhouse.domain.errors import HouseLocked
from embedhouse.domain.holder import LOCK_FILE, Holder, read_holder
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.cli.remote import RemoteHouse
    from embedhouse.house import House

    AnyHouse: TypeAlias = House | RemoteHouse

__all__ = ["AnyHouse", "connect", "server_url"]

_SERVER_START_S = 15.0
_POLL_S = 0.1


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
    holder = read_holder(home)
    return holder if holder is not None and holder.serves and _is_locked(home / LOCK_FILE) else None


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
