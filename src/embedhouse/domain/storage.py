"""What a database or a file system reported, as a typed error."""

from __future__ import annotations

from pathlib import Path

from embedhouse.domain.errors import DiskFull, ReadOnly, StorageError

__all__ = ["storage_error"]

_FULL = ("disk is full", "no space", "quota", "disk full")
_READ_ONLY = ("readonly", "read-only", "unable to open", "permission denied", "not a directory", "file exists")


def storage_error(error: BaseException, path: Path) -> StorageError:
    """DiskFull, ReadOnly or StorageError, told apart by the system's own words."""
    message = str(error).lower()
    if any(words in message for words in _FULL):
        return DiskFull(path=path)
    if any(words in message for words in _READ_ONLY):
        return ReadOnly(path=path)
    return StorageError(reason=f"{path}: {error}")
