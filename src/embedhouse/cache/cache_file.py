"""The file of the embedded vector cache: its schema, its connections, and what to do with one that is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from embedhouse.cache.values import LAYOUT
from embedhouse.domain.errors import CacheTooNew
from embedhouse.domain.storage import storage_error
from embedhouse.telemetry import COUNTERS

__all__ = ["CacheFile", "is_damage", "open_cache_file", "set_aside"]

_log = structlog.get_logger("embedhouse.cache")

_SCHEMA = """
CREATE TABLE space (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, role TEXT NOT NULL, UNIQUE (fingerprint, role)
);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY, -- 64 bits that follow from space, role and text: found faster than by the hash
    value_id INTEGER NOT NULL,
    space_id INTEGER NOT NULL,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL -- microseconds since the epoch
);
CREATE TABLE value (id INTEGER PRIMARY KEY, text_sha256 BLOB NOT NULL, value BLOB NOT NULL);
"""
# Values apart from entries, in the order of their coming: they are written one after the other, and what was used
# when is noted without touching them.
_OF_THE_FILE = ("page_size=8192", "auto_vacuum=INCREMENTAL", "journal_mode=WAL")
"""Set when it is made: to set them again a connection would wait for whoever writes."""
_OF_A_CONNECTION = (
    # A power cut may lose the last entries, which are then computed again; never a wrong one.
    "synchronous=NORMAL",
    "mmap_size=1073741824",
    "temp_store=MEMORY",
)
_FREE_SHARE = 0.25
_COMPANIONS = ("", "-wal", "-shm")


class CacheFile:
    """Connections to one file. Readers have one each for as long as they read; writers share one. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: list[sqlite3.Connection] = []
        self._idle: list[sqlite3.Connection] = []
        self._write_lock = threading.Lock()
        self._closed = False
        self._writer = self._connect()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    @contextmanager
    def writing(self, rolled_back: Callable[[], None] = lambda: None) -> Iterator[sqlite3.Connection]:
        """A transaction: all or nothing. One at a time; `rolled_back` is called before the next one begins."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._writer.execute("ROLLBACK")
                rolled_back()
                raise

    def make(self) -> None:
        """Settings and tables of a new file."""
        for setting in _OF_THE_FILE:
            self._writer.execute(f"PRAGMA {setting}")
        self._writer.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={LAYOUT}; COMMIT;")

    def give_back_free_pages(self) -> None:
        """Make the file smaller where a good part of it is free; a smaller part is soon used again."""
        with self._write_lock:
            free, pages = (
                self._writer.execute(f"PRAGMA {count}").fetchone()[0] for count in ("freelist_count", "page_count")
            )
            if free > pages * _FREE_SHARE:
                # As a script: `execute` would take one step of it, which is one page.
                self._writer.executescript("PRAGMA incremental_vacuum")

    @property
    def bytes(self) -> int:
        """Its size on disk, with what is still in the log beside it."""
        return sum(path.stat().st_size for path in _files(self._path)[:2] if path.exists())

    def close(self) -> None:
        """Close every connection."""
        with self._write_lock:
            self._closed = True
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._idle.clear()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the vector cache was closed")
        # Transactions are begun by hand: the driver's own rules begin them too late.
        connection = sqlite3.connect(self._path, timeout=30, check_same_thread=False, isolation_level=None)
        try:
            for setting in _OF_A_CONNECTION:
                connection.execute(f"PRAGMA {setting}")
        except BaseException:
            connection.close()
            raise
        self._opened.append(connection)
        return connection


def open_cache_file(path: Path) -> CacheFile:
    """The file, made if it is not there. One that is damaged is set aside, logged and counted; one of an older
    version is made anew.

    Errors: CacheTooNew, ReadOnly, DiskFull, StorageError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _opened(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            set_aside(path, error)
            return _opened(path)
    except (OSError, sqlite3.Error) as error:
        raise storage_error(error, path) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is at fault, and not its place, its disk or another user."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path, error: Exception) -> None:
    """Rename a damaged file to NAME.damaged, in place of an earlier one, so that a new one can begin."""
    if not path.exists():  # it was set aside, and no new one could begin
        return
    COUNTERS.add("cache_files_set_aside")
    kept = path.with_name(f"{path.name}.damaged")
    _log.error(
        "the vector cache is damaged; a new one begins, and vectors are computed again",
        file=str(path),
        kept=str(kept),
        why=str(error),
    )
    for old, new in zip(_files(path), _files(kept), strict=True):
        new.unlink(missing_ok=True)
        if old.exists():
            old.replace(new)


def _opened(path: Path) -> CacheFile:
    version = _version(path) if path.exists() else None
    if version is not None and version > LAYOUT:
        raise CacheTooNew(path=path, found=version, known=LAYOUT)
    if version is not None and version < LAYOUT:
        for old in _files(path):
            old.unlink(missing_ok=True)
    file = CacheFile(path)
    if version != LAYOUT:
        try:
            file.make()
        except BaseException:
            file.close()
            raise
    return file


def _version(path: Path) -> int:
    """The layout of its values; 0 in an empty file, or one of the first layout. The file is only read."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as file:
        # The tables are read as well: a file may be damaged behind its header.
        file.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return int(file.execute("PRAGMA user_version").fetchone()[0])


def _files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _COMPANIONS]
