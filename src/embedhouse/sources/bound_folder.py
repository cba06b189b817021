"""A folder that a collection is bound to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.ports import SourceItem
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.files import open_source
from embedhouse.sources.folder import FolderWalk
from embedhouse.sources.settings import ReadSettings

__all__ = ["BoundFolder"]


class BoundFolder:
    """Its files as documents, always all of them. After `read`, `could_not_read` says of which files nothing is
    known: their documents must not be taken for gone."""

    whole = True

    def __init__(self, settings: FolderSourceSettings, max_text_bytes: int) -> None:
        self._path = Path(settings.path)
        self._read = _within(settings.read, max_text_bytes)
        self._unread: list[str] = []
        self.root = str(self._path.resolve())

    def check(self) -> None:
        """Errors: NotFound."""
        open_source(self._path, self._read)

    def sizes(self) -> Iterable[int]:
        """Unknown before it is read."""
        return ()

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """As FileSource.read. Errors: NotFound where the folder itself is gone."""
        for item in open_source(self._path, self._read).read(deadline):
            if item.error is not None:
                self._unread.append(item.source)
            yield item

    def could_not_read(self, source: str) -> bool:
        """Whether this file, a row of it, or a folder above it could not be read."""
        return any(
            place == source or place.startswith(f"{source},") or source.startswith(place.rstrip("/") + "/")
            for place in self._unread
        )

    def close(self) -> None:
        """Nothing is open."""

    def state(self) -> int:
        """A number that is another one once a file was added, changed, renamed or removed. Reads no file."""
        if not self._path.is_dir():
            return hash(_stat(self._path))
        walk = FolderWalk(self._path, self._read)
        return hash(tuple((file.name, _stat(file.path)) for file in walk.files()))


def _within(read: ReadSettings, max_text_bytes: int) -> ReadSettings:
    return msgspec.structs.replace(read, max_text_bytes=min(read.max_text_bytes, max_text_bytes))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
