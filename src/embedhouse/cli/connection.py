"""The house in this process, or the server that holds its folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import filelock

from embedhouse.cli.progress import OnProgress, downloads
from embedhouse.domain.errors import HouseLocked
from embedhouse.domain.holder import LOCK_FILE, read_holder
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.cli.remote import RemoteHouse
    from embedhouse.house import House

    AnyHouse: TypeAlias = House | RemoteHouse

__all__ = ["AnyHouse", "connect", "server_url"]

_SERVER_START_S = 1.0
_POLL_S = 0.1


@contextmanager
def connect(settings: Settings, on_progress: OnProgress) -> Iterator[AnyHouse]:
    """Open the house; where a running server holds it, or the settings name one, talk to that server instead.
    `on_progress` hears of models that are fetched on the way.

    Errors: HouseLocked where another process holds the folder and does not serve.
    """
    with _remote(settings) or _open_here(settings, on_progress) as house:
        yield house


def _open_here(settings: Settings, on_progress: OnProgress) -> AnyHouse:
    from embedhouse.cli.logs import configure_logging
    from embedhouse.wiring import open_house

    configure_logging(settings.log_level)
    try:
        return open_house(settings, on_download=downloads(on_progress))
    except HouseLocked:
        # It may be a server that has only just taken the house.
        until = time.monotonic() + _SERVER_START_S
        while time.monotonic() < until:
            if (server := _remote(settings)) is not None:
                return server
            time.sleep(_POLL_S)
        raise


def _remote(settings: Settings) -> RemoteHouse | None:
    url = settings.server_url or server_url(settings.home)
    if url is None:
        return None
    from embedhouse.cli.remote import RemoteHouse

    return RemoteHouse(url, settings)


def server_url(home: Path) -> str | None:
    """Where the server answers that holds this home right now, whatever a crashed one left behind."""
    holder = read_holder(home)
    if holder is None or holder.url is None:
        return None
    return holder.url if _is_locked(home / LOCK_FILE) else None


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
