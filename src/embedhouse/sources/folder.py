"""The files of a folder: recursively, in a stable order, less hidden, ignored, linked and unknown ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from embedhouse.domain.errors import UnreadableSource
from embedhouse.sources.formats import FileToRead, format_of
from embedhouse.sources.settings import ReadSettings

__all__ = ["FolderWalk"]

_IGNORE_FILES = (".gitignore", ".embedhouseignore")


class FolderWalk:
    """One walk. `skipped` counts what was passed over: by extension, `no extension`, or `link`; `unreadable`
    holds the folders that could not be listed. Both are complete when the walk is."""

    def __init__(self, root: Path, settings: ReadSettings) -> None:
        self.skipped: Counter[str] = Counter()
        self.unreadable: list[UnreadableSource] = []
        self._root = root
        self._settings = settings
        self._include = GitIgnoreSpec.from_lines(settings.include)
        self._exclude = GitIgnoreSpec.from_lines(settings.exclude)

    def files(self) -> Iterator[FileToRead]:
        """Depth first, by name."""
        todo: list[tuple[str, tuple[_Ignored, ...]]] = [("", ())]
        while todo:
            folder, above = todo.pop()
            entries = self._entries(folder)
            ignored = self._with_ignore_files(folder, entries, above)
            kept = [entry for entry in entries if self._is_kept(_join(folder, entry.name), entry, ignored)]
            for entry in kept:
                if not entry.is_dir(follow_symlinks=False):
                    yield from self._file(_join(folder, entry.name), entry)
            folders = [_join(folder, entry.name) for entry in kept if entry.is_dir(follow_symlinks=False)]
            todo += [(name, ignored) for name in reversed(folders)]

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        path = self._root / folder
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable.append(
                UnreadableSource(source=str(path), reason=f"the folder cannot be listed ({error.strerror})")
            )
            return []

    def _with_ignore_files(
        self, folder: str, entries: list[os.DirEntry[str]], above: tuple[_Ignored, ...]
    ) -> tuple[_Ignored, ...]:
        if not self._settings.ignore_files:
            return above
        found = [entry for entry in entries if entry.name in _IGNORE_FILES and entry.is_file()]
        lines = [line for entry in found for line in _lines(entry)]
        return (*above, _Ignored(folder, lines)) if lines else above

    def _is_kept(self, name: str, entry: os.DirEntry[str], ignored: tuple[_Ignored, ...]) -> bool:
        if entry.name.startswith("."):
            return False
        if entry.is_symlink():
            self.skipped["link"] += 1
            return False
        as_folder = "/" if entry.is_dir(follow_symlinks=False) else ""
        return not self._exclude.match_file(name + as_folder) and not _is_ignored(name + as_folder, ignored)

    def _file(self, name: str, entry: os.DirEntry[str]) -> Iterator[FileToRead]:
        if not entry.is_file(follow_symlinks=False):
            self.skipped["special file"] += 1
            return
        if self._settings.include and not self._include.match_file(name):
            return
        path = Path(entry.path)
        kind = format_of(path) or ("text" if self._settings.include else None)
        if kind is None:
            self.skipped[path.suffix.lower() or "no extension"] += 1
            return
        yield FileToRead(path=path, name=name, format=kind)


class _Ignored:
    """The patterns of one folder's ignore files."""

    def __init__(self, folder: str, lines: list[str]) -> None:
        self._prefix = f"{folder}/" if folder else ""
        self._patterns = GitIgnoreSpec.from_lines(lines)

    def verdict(self, name: str) -> bool | None:
        """Whether they ignore it (True), keep it (False), or do not speak of it (None)."""
        return self._patterns.check_file(name.removeprefix(self._prefix)).include


def _is_ignored(name: str, ignored: tuple[_Ignored, ...]) -> bool:
    verdicts = (patterns.verdict(name) for patterns in reversed(ignored))
    return next((verdict for verdict in verdicts if verdict is not None), False)


def _lines(entry: os.DirEntry[str]) -> list[str]:
    try:
        return Path(entry.path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # An ignore file that cannot be read ignores nothing; its folder is still read.
        return []


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
