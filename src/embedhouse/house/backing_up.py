"""`house.backup`: everything that cannot be made again, of a running house, in one file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from embedhouse.backups.archive import CACHE, LEDGER, pack
from embedhouse.backups.vectors import write_vectors
from embedhouse.domain.backups import FORMAT, BackupReport, Manifest
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import Progress
from embedhouse.domain.storage import storage_error
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.ledger import builds, collections
from embedhouse.ledger.copying import snapshot
from embedhouse.ledger.database import Database
from embedhouse.ledger.schema import migrations

__all__ = ["back_up"]


def back_up(shelf: Shelf, to: Path, tell: Callable[[Progress], None], deadline: Deadline) -> BackupReport:
    """See House.backup."""
    started = time.perf_counter()
    to = to.expanduser().absolute()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".backup-") as scratch:
            return _written(shelf, to, Path(scratch), started, tell, deadline)
    except OSError as error:
        raise storage_error(error, to) from error


def _written(
    shelf: Shelf, to: Path, scratch: Path, started: float, tell: Callable[[Progress], None], deadline: Deadline
) -> BackupReport:
    tell(Progress(stage="backup", done=0, total=None, unit="files"))
    snapshot(shelf.parts.database, scratch / LEDGER)
    with closing(Database(scratch / LEDGER)) as copied:
        with copied.write() as ledger:
            found = collections.collections(ledger)
            house = collections.house_id(ledger)
            documents = sum(builds.document_count(ledger, each.id) for each in found)
        chunks, without = write_vectors(shelf.parts, copied, _live(shelf), scratch / CACHE, deadline)
    for companion in scratch.glob("*.db-*"):  # closed, so everything is in the files themselves
        companion.unlink()
    manifest = Manifest(
        format=FORMAT,
        embedhouse=version("embedhouse"),
        schema=migrations()[-1][0],
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        house=house,
        files={},
    )
    size = pack(to, scratch, manifest)
    return BackupReport(
        file=str(to),
        size_bytes=size,
        collections=len(found),
        documents=documents,
        chunks=chunks,
        without_vector=without,
        seconds=round(time.perf_counter() - started, 3),
    )


def _live(shelf: Shelf) -> dict[int, OpenGeneration]:
    with shelf.parts.database.read() as ledger:
        names = [each.name for each in collections.collections(ledger)]
    return {served.opened.generation.id: served.opened for name in names for served in shelf.get(name).served}
