"""Files that are all there or not at all, also after a crash; and the errors of a disk in our own words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedhouse.domain.errors import DiskFull, ReadOnly

__all__ = ["appear", "storage_errors", "sync_file"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def appear(complete: Path, final: Path) -> None:
    """Make a complete folder durable, then let it appear under its final name, which must be free."""
    for path in [*complete.rglob("*"), complete]:
        sync_file(path)
    complete.rename(final)
    sync_file(final.parent)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into DiskFull and a forbidden write into ReadOnly, both naming `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(path=path) from error
        if error.errno in _FORBIDDEN:
            raise ReadOnly(path=path) from error
        raise


def sync_file(path: Path) -> None:
    """Let a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
