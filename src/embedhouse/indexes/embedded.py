"""The default store: each index is a folder below the house's own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from embedhouse.indexes.qdrant.edge import QdrantEdgeIndex
from embedhouse.ports import IndexSpec

__all__ = ["EmbeddedStore"]


class EmbeddedStore:
    """Indexes in folders, `home / name`. One process has an index open at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def exists(self, name: str) -> bool:
        """Whether the folder is there."""
        return (self._home / name).is_dir()

    def open(self, spec: IndexSpec) -> QdrantEdgeIndex:
        """The index in its folder, made if it is not there. Errors: those of QdrantEdgeIndex.open."""
        return QdrantEdgeIndex.open(
            self._home / spec.name, dimensions=spec.dimensions, lexical=spec.lexical, sides=spec.sides
        )

    def drop(self, name: str) -> None:
        """Delete the folder, and that of its generation when nothing else is in it."""
        shutil.rmtree(self._home / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._home / name).parent.rmdir()

    def close(self) -> None:
        """Nothing to release."""
