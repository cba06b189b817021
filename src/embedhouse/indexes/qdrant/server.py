"""Indexes on a Qdrant server or cluster: the embedded engine's other home, with the same fields and the same BM25.

Each index is a collection `embedhouse_HOUSE_INDEX_1` behind the alias `embedhouse_HOUSE_INDEX`. Qdrant ranks text
by BM25 over a payload index since 1.20 (`scoring`); an index for the dense side alone needs 1.16, where collections
got the metadata that says whose they are.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from embedhouse.domain.errors import IndexDamaged, InvalidSetting, MissingExtra, StoreError, StoreRefused
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.naming import object_name, options_of
from embedhouse.ports import Index, IndexSpec

if TYPE_CHECKING:
    from embedhouse.indexes.qdrant.collections import Described, Mark, QdrantCollections
    from embedhouse.indexes.qdrant.connection import QdrantConnection

__all__ = ["QdrantStore"]

_DENSE_SINCE = (1, 16)
_LEXICAL_SINCE = (1, 20)
_MOST_DIMENSIONS = 65_535


class QdrantStore:
    """Implements ports.Store. Thread-safe. `owner` is the house's id."""

    def __init__(self, connection: QdrantConnection, collections: QdrantCollections, owner: str) -> None:
        self._connection = connection
        self._collections = collections
        self._owner = owner
        self._version: tuple[int, int] | None = None
        self._opening = threading.Lock()

    @classmethod
    def connect(cls, settings: StoreSettings, *, owner: str) -> QdrantStore:
        """The store at `settings.url`, `http://HOST:6333` or `https://...`. Nothing is sent yet.

        Errors: MissingExtra; InvalidSetting for a URL or an option that is none.
        """
        try:
            from embedhouse.indexes.qdrant.collections import QdrantCollections, QdrantOptions
            from embedhouse.indexes.qdrant.connection import QdrantConnection
        except ModuleNotFoundError as error:
            raise MissingExtra(what="A Qdrant server", extra="qdrant") from error
        options = options_of(settings, QdrantOptions)
        if not re.match(r"https?://[^/]", settings.url):
            reason = "it must be http://HOST:6333 or https://HOST:6333 (as a name: qdrant+http://HOST:6333)"
            raise InvalidSetting(name="stores", origin="the url of a store of kind qdrant", reason=reason)
        connection = QdrantConnection.connect(settings.url, settings.api_key, options.timeout_s)
        return cls(connection, QdrantCollections(connection, options), owner)

    def exists(self, name: str) -> bool:
        """Whether the index of that name is there."""
        self._check_version(_DENSE_SINCE)
        found = self._collections.describe(object_name(self._owner, name))
        return found is not None and self._is_ours(found.mark, name)

    def open(self, spec: IndexSpec) -> Index:
        """The index, made if it is not there. Errors: see ports.Store.open."""
        from embedhouse.indexes.qdrant.server_index import QdrantIndex

        self._check_version(_DENSE_SINCE if spec.sides == "dense" else _LEXICAL_SINCE)
        if spec.dimensions > _MOST_DIMENSIONS:
            raise StoreRefused(
                store=self._connection.name,
                reason=f"its vectors have at most {_MOST_DIMENSIONS} dimensions, and the model's {spec.dimensions}",
                remedy="Cut the vectors with --dimensions, or use another model or store",
            )
        name = object_name(self._owner, spec.name)
        with self._opening:
            found = self._collections.describe(name) or self._made(name, spec)
        self._check_ours(name, spec.name, found)
        self._check_shape(name, spec, found)
        return QdrantIndex(self._connection, name, spec, found.fields)

    def drop(self, name: str) -> None:
        """Delete the index of that name, if it is there. Errors: StoreRefused where it is not ours."""
        self._check_version(_DENSE_SINCE)
        alias = object_name(self._owner, name)
        target = self._collections.behind(alias)
        for collection in dict.fromkeys([alias, _first(alias)]):
            found = self._collections.describe(collection)
            if found is None:
                continue
            self._check_ours(collection, name, found)
            is_aliased = collection == alias and target is not None
            self._collections.delete(
                target or collection if is_aliased else collection, alias if is_aliased else None
            )

    def close(self) -> None:
        """Release connections."""
        self._connection.close()

    def _made(self, name: str, spec: IndexSpec) -> Described:
        from embedhouse.indexes.qdrant.collections import Described, Mark

        mark = Mark(house=self._owner, index=spec.name, dimensions=spec.dimensions, sides=spec.sides)
        first = _first(name)
        found = self._collections.describe(first) or self._created(first, spec, mark)
        self._check_ours(first, spec.name, found)
        self._check_shape(first, spec, found)
        fields = self._collections.index_fields(first, spec)
        try:
            self._collections.name_it(name, first)
        except StoreRefused:  # an alias that is there, say one that another process made meanwhile
            if self._collections.behind(name) != first:
                raise
        return Described(mark=mark, fields=found.fields | fields)

    def _created(self, name: str, spec: IndexSpec, mark: Mark) -> Described:
        from embedhouse.indexes.qdrant.collections import Described

        try:
            self._collections.create(name, spec, mark)
        except StoreError:
            found = self._collections.describe(name)
            if found is None:
                raise
            return found  # another process made it meanwhile, or the answer to a first try was lost
        return Described(mark=mark, fields=set())

    def _is_ours(self, mark: Mark | None, index: str) -> bool:
        return mark is not None and (mark.house, mark.index) == (self._owner, index)

    def _check_ours(self, name: str, index: str, found: Described) -> None:
        if not self._is_ours(found.mark, index):
            raise StoreRefused(
                store=self._connection.name,
                reason=f"it has a collection or alias {name!r} that is not of this house",
                remedy="It was left as it is. Rename or delete it, or use another cluster",
            )

    def _check_shape(self, name: str, spec: IndexSpec, found: Described) -> None:
        mark = found.mark
        if mark is not None and (mark.dimensions, mark.sides) != (spec.dimensions, spec.sides):
            reason = (
                f"it was made for {mark.dimensions} dimensions and {mark.sides} sides, not for {spec.dimensions} "
                f"and {spec.sides}"
            )
            raise IndexDamaged(path=Path(name), reason=reason)

    def _check_version(self, since: tuple[int, int]) -> None:
        if self._version is None:
            found = self._connection.ask(lambda client: client.info(), "asking for the version").version
            numbers = re.match(r"(\d+)\.(\d+)", found)
            self._version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if self._version < since:
            is_, wanted = (".".join(map(str, version)) for version in (self._version, since))
            what = "say whose a collection is" if since == _DENSE_SINCE else "rank by words"
            raise StoreRefused(
                store=self._connection.name,
                reason=f"it is of version {is_}, and can {what} since {wanted}",
                remedy="Upgrade the cluster, or name another store for the lexical side",
            )


def _first(alias: str) -> str:
    """The collection that is made for an alias."""
    return f"{alias}_1"
