"""Indexes in a Weaviate server or cluster: a class a generation, a tenant a namespace.

A class carries its mark in its description: without it, it is not ours, and is never touched. Vectors are our own
(cosine over HNSW, quantised where it is wished); Weaviate's BM25 counts the terms of our analyzer, which it only
splits at spaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedhouse.domain.errors import MissingExtra, StoreRefused
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.indexes.naming import object_name
from embedhouse.ports import IndexSpec

if TYPE_CHECKING:
    from embedhouse.indexes.weaviate.index import WeaviateIndex
    from embedhouse.indexes.weaviate.link import WeaviateLink

__all__ = ["WeaviateStore"]

_MOST_DIMENSIONS = 65_535


class WeaviateStore:
    """One server or cluster; the house's classes on it. Thread-safe; connects when it is first used."""

    def __init__(self, link: WeaviateLink, owner: str) -> None:
        self._link = link
        self._owner = owner

    @classmethod
    def connect(cls, settings: StoreSettings, *, owner: str) -> WeaviateStore:
        """A store by its settings; `owner` is the house's id. Errors: MissingExtra; InvalidSetting for a URL or an
        option that it does not know."""
        try:
            from embedhouse.indexes.weaviate.link import WeaviateLink
        except ImportError as error:
            raise MissingExtra(what="An index in Weaviate", extra="weaviate") from error
        return cls(WeaviateLink(settings), owner)

    def exists(self, name: str) -> bool:
        """Whether the house's index of that name is there."""
        from embedhouse.indexes.weaviate.classes import find_class

        found = find_class(self._link, self._class_name(name))
        return found is not None and found.is_of(self._owner, name)

    def open(self, spec: IndexSpec) -> WeaviateIndex:
        """The index, made if it is not there.

        Errors: StoreRefused for more dimensions than Weaviate takes, and where a class of that name is not ours;
        IndexDamaged where it is not what `spec` says.
        """
        from embedhouse.indexes.weaviate.classes import open_class
        from embedhouse.indexes.weaviate.index import WeaviateIndex

        get_analyzer(spec.lexical.analyzer)
        if spec.sides != "lexical" and spec.dimensions > _MOST_DIMENSIONS:
            raise StoreRefused(
                store=self._link.name,
                reason=f"a vector has at most {_MOST_DIMENSIONS} dimensions there, and the model's have "
                f"{spec.dimensions}",
                remedy="Use a model with fewer, or fewer of its dimensions.",
            )
        name = self._class_name(spec.name)
        open_class(self._link, name, self._owner, spec)
        return WeaviateIndex(self._link, name, spec)

    def drop(self, name: str) -> None:
        """Delete the class, if it is there. Errors: StoreRefused where it is not ours."""
        from embedhouse.indexes.weaviate.classes import drop_class

        drop_class(self._link, self._class_name(name), self._owner, name)

    def close(self) -> None:
        """Close the connections."""
        self._link.close()

    def _class_name(self, name: str) -> str:
        """Names of classes begin with a capital."""
        return object_name(self._owner, name).capitalize()
