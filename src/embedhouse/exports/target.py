"""Where an export goes. It is written beside what it becomes; a folder without its manifest is no export."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from embedhouse.domain.errors import Conflict, InvalidInput
from embedhouse.domain.storage import storage_error
from embedhouse.exports.format import CHUNKS, DOCUMENTS, MANIFEST, Manifest

__all__ = ["DRAFT", "ExportTarget"]

DRAFT = ".draft"
_SUFFIX = ".parquet"


class ExportTarget:
    """A folder, or a file whose name ends in `.parquet`. Errors: Conflict where it is there already and is not
    to be overwritten; ReadOnly, DiskFull."""

    def __init__(self, to: Path | str, *, overwrite: bool) -> None:
        self.path = Path(to).expanduser().absolute()
        self.is_file = self.path.suffix.lower() == _SUFFIX
        self._names = [self.path.name] if self.is_file else [DOCUMENTS, CHUNKS]
        self._folder = self.path.parent if self.is_file else self.path
        self._check(overwrite)

    @contextmanager
    def drafts(self) -> Iterator[Path]:
        """The folder or file to write; gone again if the block fails."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            yield self._draft(self.path.name) if self.is_file else self._folder
        except OSError as error:
            raise storage_error(error, self.path) from error
        finally:
            for name in self._names:
                with contextlib.suppress(OSError):
                    self._draft(name).unlink(missing_ok=True)

    def _draft(self, name: str) -> Path:
        return self._folder / (name + DRAFT)

    def place(self, manifest: Manifest | None) -> None:
        """Make the drafts what they become. From the first rename to the last, a folder is no export."""
        try:
            if manifest is not None:
                (self._folder / MANIFEST).unlink(missing_ok=True)
            for name in self._names:
                _settle(self._draft(name), self._folder / name)
            if manifest is not None:
                draft = self._draft(MANIFEST)
                draft.write_bytes(msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2))
                _settle(draft, self._folder / MANIFEST)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _check(self, overwrite: bool) -> None:
        if self._folder.exists() and not self._folder.is_dir():
            raise InvalidInput(reason=f"{self._folder} is a file. Name a folder, or a file that ends in {_SUFFIX}.")
        if self.is_file and self.path.is_dir():
            raise InvalidInput(reason=f"{self.path} is a folder. Name one whose name does not end in {_SUFFIX}.")
        there = [name for name in (*self._names, MANIFEST) if (self._folder / name).exists()]
        if self.is_file:
            there = [name for name in there if name == self.path.name]
        if there and not overwrite:
            raise Conflict(reason=f"{self._folder / there[0]} is there already. Use --overwrite, or another place.")


def _settle(draft: Path, path: Path) -> None:
    """On disk first, then under its name."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
