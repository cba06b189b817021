"""The collections that are in use, opened once."""

from __future__ import annotations

import threading

from embedhouse.domain.errors import UnknownCollection
from embedhouse.house.background import BackgroundIndexing
from embedhouse.indexing.indexer import Indexer
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_indexes import OpenIndexes
from embedhouse.indexing.parts import Parts

__all__ = ["Shelf"]


class Shelf:
    """Opens collections by name and keeps them; of their indexes the `open_indexes` last used. Thread-safe."""

    def __init__(self, parts: Parts, open_indexes: int) -> None:
        self.parts = parts
        self._open_indexes = OpenIndexes(open_indexes)
        self._lock = threading.Lock()
        self._open: dict[str, OpenCollection] = {}
        self.background = BackgroundIndexing(self._keeps)

    def get(self, name: str) -> OpenCollection:
        """The collection of that name, as other processes have made it. Errors: UnknownCollection."""
        with self._lock:
            found = self._open.get(name) or self._opened(name)
        if self.parts.database.is_shared:
            self._follow(found)
        return found

    def _follow(self, found: OpenCollection) -> None:
        try:
            found.refresh()
        except UnknownCollection:
            self.take_off(found)
            for served in found.served:
                served.opened.close()
            raise

    def _opened(self, name: str) -> OpenCollection:
        found = self._open[name] = OpenCollection(self.parts, name, self._watch)
        return found

    def _watch(self, indexer: Indexer) -> None:
        indexer.tell_uses(self._open_indexes.used)

    def take_off(self, opened: OpenCollection) -> None:
        """Know a collection no longer by its name: its caller has deleted it, and closes it."""
        with self._lock:
            if self._open.get(opened.collection.name) is opened:
                del self._open[opened.collection.name]

    def _keeps(self, opened: OpenCollection) -> bool:
        with self._lock:
            return self._open.get(opened.collection.name) is opened

    def close(self) -> None:
        """Close every collection."""
        self.background.close()
        self._open_indexes.close()
        with self._lock:
            for found in self._open.values():
                found.close()
            self._open.clear()
