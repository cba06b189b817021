"""A file or a folder as a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import DuplicateId, EmbedhouseError, NotFound, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.folder import FolderWalk
from embedhouse.sources.formats import FileToRead, format_of, reader_of
from embedhouse.sources.settings import ReadSettings

__all__ = ["FileSource", "open_source"]


def open_source(path: Path, settings: ReadSettings | None = None) -> FileSource:
    """The documents of a file, or of a folder with all that is below it.

    A file that is named itself is read as text where its extension is unknown. Errors: NotFound.
    """
    settings = settings or ReadSettings()
    path = Path(path).expanduser()
    if not path.exists():
        raise NotFound(what=str(path))
    return FileSource(path.resolve(), settings)


class FileSource:
    """Reads files one after the other, each through the reader of its format.

    What cannot be read is an item with an error; an id that comes again in the same source too. `skipped` says
    what was passed over, by extension; it is complete once `sizes` or `read` was used.
    """

    def __init__(self, path: Path, settings: ReadSettings) -> None:
        self._path = path
        self._settings = settings
        self._listed: list[FileToRead] | None = None
        self._unreadable: list[UnreadableSource] = []
        self.skipped: Counter[str] = Counter()

    def sizes(self) -> Iterable[int]:
        """Bytes of each file, in the order in which they are read; 0 for one that is gone."""
        return [_size(file.path) for file in self._files()]

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """Documents and errors, in the order of the files' names, then of their rows."""
        seen: set[int] = set()
        for file in self._files():
            for item in _items(file, self._settings):
                deadline.check(f"reading {file.path}")
                yield _once(item, seen)
        for error in self._unreadable:
            yield SourceItem(error=error, source=str(error.fields["source"]))

    def _files(self) -> list[FileToRead]:
        if self._listed is None:
            self._listed = list(self._walk())
        return self._listed

    def _walk(self) -> Iterator[FileToRead]:
        if not self._path.is_dir():
            yield FileToRead(path=self._path, name=self._path.name, format=format_of(self._path) or "text")
            return
        walk = FolderWalk(self._path, self._settings)
        yield from walk.files()
        self.skipped, self._unreadable = walk.skipped, walk.unreadable


def _items(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """What the reader yields; what it raises as the file's last item. A reader's library may raise anything at a
    damaged file, and one file must never stop the rest."""
    source = str(file.path)
    try:
        yield from reader_of(file.format)(file, settings)
    except EmbedhouseError as error:
        yield SourceItem(error=error, source=source)
    except OSError as error:
        yield SourceItem(error=_unopened(source, error), source=source)
    except MemoryError:
        yield SourceItem(
            error=UnreadableSource(source=source, reason="it needs too much memory; split it"), source=source
        )
    except Exception as error:
        reason = f"it is damaged, or not {file.format} ({type(error).__name__}: {error})"
        yield SourceItem(error=UnreadableSource(source=source, reason=reason), source=source)


def _unopened(source: str, error: OSError) -> UnreadableSource:
    remedy = "; make it readable for this user" if isinstance(error, PermissionError) else ""
    return UnreadableSource(source=source, reason=f"{error.strerror or error}{remedy}")


def _once(item: SourceItem, seen: set[int]) -> SourceItem:
    """The item, or an error where its id was there before. Hashes are kept, not ids, so that millions of rows
    fit in memory."""
    if item.document is None:
        return item
    mark = hash(item.document.id)
    if mark in seen:
        return SourceItem(error=_duplicate(item.document), source=item.source)
    seen.add(mark)
    return item


def _duplicate(document: Document) -> DuplicateId:
    return DuplicateId(id=document.id)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
