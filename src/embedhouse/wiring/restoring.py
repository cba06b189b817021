"""A house from a backup: on another machine, or beside the first."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from embedhouse.backups.archive import CACHE, LEDGER, extract
from embedhouse.domain.backups import RestoreReport
from embedhouse.domain.errors import Conflict
from embedhouse.domain.reports import Progress
from embedhouse.domain.storage import storage_error
from embedhouse.ledger.copying import copy_rows, is_empty, renew_house_id
from embedhouse.ledger.database import Database
from embedhouse.settings import Settings
from embedhouse.wiring import open_house
from embedhouse.wiring.ledger import ledger_place
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.paths import cache_path, ledger_path

__all__ = ["restore"]


def restore(
    archive: Path,
    settings: Settings,
    *,
    same_house: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> RestoreReport:
    """Make a house in the settings' home (and ledger), which must hold none, and build its indexes from the vectors
    of the archive; no model is called for them. `same_house`: it takes the first one's place, and its indexes on
    servers; without it those are left alone and built anew.

    Errors: UnreadableSource for an archive that is damaged; Conflict where there is a house; those of the disk. In
    each case nothing was made.
    """
    started = time.perf_counter()
    home = settings.home
    lock = HouseLock(home)
    try:
        _check_empty(settings)
        with tempfile.TemporaryDirectory(dir=home, prefix=".restoring-") as scratch:
            extract(archive, Path(scratch))
            _put_in_place(Path(scratch), settings, same_house)
    except OSError as error:
        raise storage_error(error, home) from error
    finally:
        lock.release()
    return _opened(settings, progress, started)


def _check_empty(settings: Settings) -> None:
    if settings.ledger_url:
        with closing(Database(ledger_place(settings))) as database, database.read() as ledger:
            if not is_empty(ledger):
                raise Conflict(reason=f"The ledger {database.name} holds a house already. Name an empty database.")
    elif ledger_path(settings.home).exists():
        raise Conflict(reason=f"{settings.home} holds a house already. Name another folder with --home.")


def _put_in_place(scratch: Path, settings: Settings, same_house: bool) -> None:
    with closing(Database(scratch / LEDGER)) as restored:  # brought up to this version's schema
        if not same_house:
            with restored.write() as ledger:
                renew_house_id(ledger)
        if settings.ledger_url:
            target = Database(ledger_place(settings))
            with closing(target), restored.read() as source, target.write() as ledger:
                copy_rows(source, ledger)
    shutil.move(scratch / CACHE, cache_path(settings.home))
    if not settings.ledger_url:  # last: with a ledger, it is a house
        for companion in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                (scratch / f"{LEDGER}{companion}").unlink()
        shutil.move(scratch / LEDGER, ledger_path(settings.home))


def _opened(settings: Settings, progress: Callable[[Progress], None], started: float) -> RestoreReport:
    """Over the archive's vectors, whatever cache the house uses later, every index is built."""
    with open_house(msgspec.structs.replace(settings, cache="sqlite", cache_max_bytes=0)) as house:
        for info in house.collections.list():
            house.collections.compact(info.name, progress=progress)
        found = house.collections.list()
    return RestoreReport(
        home=str(settings.home),
        collections=len(found),
        documents=sum(each.documents for each in found),
        chunks=sum(each.chunks for each in found),
        pending_chunks=sum(each.pending_chunks for each in found),
        seconds=round(time.perf_counter() - started, 3),
    )
