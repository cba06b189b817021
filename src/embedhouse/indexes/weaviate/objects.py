"""Entries as Weaviate's objects: their ids, how they are written, changed and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter as Weaviate
from weaviate.collections import Collection
from weaviate.collections.classes.filters import FilterReturn
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateInsertManyAllFailedError

from embedhouse.indexes.weaviate.errors import error_of_text

__all__ = ["Objects", "delete_objects", "insert_objects", "key_of", "merge_into", "object_id", "these"]

Objects = Collection[Any, Any]
"""One tenant of a class."""

# Version 8, "made by the application's own rule": 48 bits that say whose it is, and the key in the 63 bits that are
# free below them, so that ids have the order of the keys.
_OURS = int.from_bytes(b"embedh", "big") << 80
_VERSION = 8 << 76
_VARIANT = 2 << 62
_LOW_BITS = 62
_LOW = (1 << _LOW_BITS) - 1


def object_id(key: int) -> UUID:
    """The object's id, 0 <= key < 2^63: keys and ids have the same order."""
    return UUID(int=_OURS | _VERSION | ((key >> _LOW_BITS) << 64) | _VARIANT | (key & _LOW))


def key_of(id: UUID) -> int:
    """The key that an object's id was made of."""
    return (((id.int >> 64) & 1) << _LOW_BITS) | (id.int & _LOW)


def these(keys: Sequence[int]) -> FilterReturn:
    """The objects of these keys."""
    return Weaviate.by_id().contains_any([str(object_id(key)) for key in keys])


def insert_objects(to: Objects, objects: Sequence[DataObject[Any, Any]], store: str) -> None:
    """Write objects whole, in place of those of the same ids. Errors: what the server says of the first that it
    does not take; the others are written."""
    try:
        refused = [each.message for each in to.data.insert_many(objects).errors.values()]
    except WeaviateInsertManyAllFailedError as error:
        raise error_of_text(store, error.message) from error
    if refused:
        raise error_of_text(store, f"{len(refused)} of {len(objects)} objects were not written: {refused[0]}")


def delete_objects(of: Objects, keys: Sequence[int], store: str) -> None:
    """Delete those that are there. Errors: what the server says of the first that it keeps."""
    done = of.data.delete_many(these(keys), verbose=True)
    kept = [each.error or "" for each in done.objects or [] if not each.successful]
    if kept:
        raise error_of_text(store, f"{len(kept)} of {len(keys)} objects were not deleted: {kept[0]}")


def merge_into(of: Objects, key: int, properties: dict[str, Any]) -> None:
    """Replace these properties of an object, if it is there, and leave its others and its vector; None takes a
    property away."""
    try:
        of.data.update(object_id(key), properties=properties)
    except UnexpectedStatusCodeError as error:
        if error.status_code != 404:
            raise
