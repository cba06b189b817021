"""Indexes on Pinecone, through the official client (extra `pinecone`).

The Pinecone index of `pinecone://NAME` is called `NAME-DIMENSIONS`, since one holds vectors of one length; every
generation of that length shares it, in Pinecone namespaces of its own. It is serverless, made if it is missing,
with the metric `dotproduct`, which sparse vectors need and which is the cosine of normalised vectors. A tag says
that it is the house's; without it an index is never touched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import CapabilityMissing, IndexDamaged, StoreRefused, StoreUnavailable
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.naming import object_name
from embedhouse.indexes.pinecone.connection import Connection
from embedhouse.indexes.pinecone.index import PineconeIndex
from embedhouse.indexes.pinecone.spaces import Spaces, has_mark, make_mark, spaces_of
from embedhouse.ports import IndexSpec, TermStatistics

if TYPE_CHECKING:
    import pinecone
    from pinecone.models.indexes.index import IndexModel

__all__ = ["PineconeStore"]

MOST_DIMENSIONS = 20_000
_TAGS = {"embedhouse": "indexes"}
_METRIC = "dotproduct"
# Namespaces are asked at the same time, so many at once.
_AT_ONCE = 16
_LONGEST_S = 300.0
_LONGEST_WAIT_S = 2.0


class PineconeStore:
    """One Pinecone index for each length of vectors. Thread-safe."""

    def __init__(self, connection: Connection, owner: str, statistics: TermStatistics) -> None:
        self._connection = connection
        self._owner = owner
        self._statistics = statistics
        self._clients: dict[str, pinecone.Index] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pinecone")

    @classmethod
    def connect(cls, settings: StoreSettings, *, owner: str, statistics: TermStatistics) -> PineconeStore:
        """`statistics`: where the term frequencies are kept that Pinecone does not know. Nothing is asked yet.

        Errors: MissingExtra, InvalidSetting, StoreUnauthorized where there is no key.
        """
        return cls(Connection(settings), owner, statistics)

    def exists(self, name: str) -> bool:
        """Whether the index of that name is there."""
        deadline = Deadline(_LONGEST_S)
        return any(self._has(model, name, deadline) for model in self._models(deadline))

    def open(self, spec: IndexSpec) -> PineconeIndex:
        """The index, made if it is not there.

        Errors: CapabilityMissing for words alone without sparse vectors; StoreRefused for vectors that are too
        long, and for a Pinecone index that is not the house's; IndexDamaged where it is of another length.
        """
        with_words = self._connection.options.sparse and spec.sides != "dense"
        self._check(spec, with_words)
        deadline = Deadline(_LONGEST_S)
        client = self._client_of(self._ready(spec.dimensions, deadline))
        object_ = object_name(self._owner, spec.name)
        if not has_mark(self._connection, client, object_, deadline):
            self._check_nowhere_else(spec, deadline)
            make_mark(self._connection, client, object_, deadline)
        spaces = Spaces(self._connection, client, object_, self._pool)
        return PineconeIndex(self._connection, client, spaces, spec, self._statistics if with_words else None)

    def drop(self, name: str) -> None:
        """Delete the index of that name; the Pinecone index stays, for the others."""
        deadline = Deadline(_LONGEST_S)
        object_ = object_name(self._owner, name)
        for model in self._models(deadline):
            client = self._client_of(model)
            for space in [*spaces_of(self._connection, client, object_, deadline), object_]:
                self._connection.call_index(
                    "deleting a namespace of Pinecone", deadline, partial(client.delete_namespace, name=space)
                )
        self._statistics.drop(name)

    def close(self) -> None:
        """Release connections."""
        self._pool.shutdown()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
        self._connection.close()

    def _check(self, spec: IndexSpec, with_words: bool) -> None:
        if spec.sides == "lexical" and not with_words:
            raise CapabilityMissing(
                part=f"{self._connection.label} with sparse = false",
                capability="lexical search",
                remedy="Set sparse = true in the store's options, or name another store for words.",
            )
        if spec.dimensions > MOST_DIMENSIONS:
            raise StoreRefused(
                store=self._connection.label,
                reason=f"vectors of {spec.dimensions} dimensions are over its limit of {MOST_DIMENSIONS}",
                remedy="Choose a model of fewer dimensions, or another store.",
            )

    def _name_of(self, dimensions: int) -> str:
        return f"{self._connection.base}-{dimensions}"

    def _ready(self, dimensions: int, deadline: Deadline) -> IndexModel:
        """The Pinecone index for that length, made if it is missing, once it takes requests."""
        name = self._name_of(dimensions)
        model = self._described(name, deadline) or self._made(name, dimensions, deadline)
        self._check_ours(model, dimensions)
        wait_s = 0.1
        while not model.status.ready or model.host is None:
            if model.status.state in ("InitializationFailed", "Terminating", "Disabled"):
                raise self._refused(model, f"is in the state {model.status.state}", "Look at Pinecone's console.")
            if deadline.remaining_s < wait_s:
                raise StoreUnavailable(store=self._connection.label, reason=f"index {name!r} does not become ready")
            time.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            model = self._described(name, deadline) or model
        return model

    def _described(self, name: str, deadline: Deadline) -> IndexModel | None:
        import pinecone

        indexes = self._connection.control.indexes
        try:
            return self._connection.call(
                "looking for a Pinecone index", deadline, lambda timeout: indexes.describe(name)
            )
        except pinecone.NotFoundError:
            return None

    def _made(self, name: str, dimensions: int, deadline: Deadline) -> IndexModel:
        import pinecone

        options = self._connection.options
        try:
            return self._connection.call(
                "making a Pinecone index",
                deadline,
                lambda timeout: self._connection.control.indexes.create(
                    name=name,
                    schema={"fields": {"_values": _dense_field(dimensions)}},
                    deployment={"deployment_type": "managed", "cloud": options.cloud, "region": options.region},
                    deletion_protection="enabled" if options.deletion_protection else "disabled",
                    tags=_TAGS,
                    timeout=-1,
                ),
            )
        except pinecone.ConflictError:  # another process was faster
            found = self._described(name, deadline)
        except pinecone.NotFoundError as error:
            raise StoreRefused(
                store=self._connection.label,
                reason=error.message,
                remedy="Set the options cloud and region to a place that Pinecone offers on your plan.",
            ) from error
        if found is None:
            raise StoreUnavailable(store=self._connection.label, reason=f"index {name!r} comes and goes")
        return found

    def _check_ours(self, model: IndexModel, dimensions: int) -> None:
        """Errors: StoreRefused."""
        if not _is_tagged(model):
            raise self._refused(
                model,
                "has not the tag embedhouse: something else uses it, and it was not touched",
                "Give the store's url another name, or set the tag embedhouse=indexes on an empty index.",
            )
        fields = model.schema.fields
        dense = fields.get("_values")
        found = (getattr(dense, "dimension", None), getattr(dense, "metric", None))
        if found != (dimensions, _METRIC):
            raise self._refused(
                model,
                f"has {found[0]} dimensions and the metric {found[1]}, and {dimensions} and {_METRIC} are needed; "
                "it was not touched",
                "Give the store's url another name, or delete that index in Pinecone's console.",
            )

    def _refused(self, model: IndexModel, what: str, remedy: str) -> StoreRefused:
        return StoreRefused(store=self._connection.label, reason=f"index {model.name!r} {what}", remedy=remedy)

    def _check_nowhere_else(self, spec: IndexSpec, deadline: Deadline) -> None:
        for model in self._models(deadline):
            if model.name != self._name_of(spec.dimensions) and self._has(model, spec.name, deadline):
                reason = f"it has not {spec.dimensions} dimensions"
                raise IndexDamaged(path=f"{model.name}/{spec.name}", reason=reason)

    def _models(self, deadline: Deadline) -> Iterator[IndexModel]:
        """The Pinecone indexes of this store that are the house's and answer."""
        indexes = self._connection.control.indexes
        found = self._connection.call("listing Pinecone's indexes", deadline, lambda timeout: list(indexes.list()))
        for model in found:
            base, _, dimensions = model.name.rpartition("-")
            if base == self._connection.base and dimensions.isdecimal() and _is_tagged(model) and model.host:
                yield model

    def _has(self, model: IndexModel, name: str, deadline: Deadline) -> bool:
        return has_mark(self._connection, self._client_of(model), object_name(self._owner, name), deadline)

    def _client_of(self, model: IndexModel) -> pinecone.Index:
        host = str(model.host)
        with self._lock:
            if host not in self._clients:
                self._clients[host] = self._connection.data(host)
            return self._clients[host]


def _is_tagged(model: IndexModel) -> bool:
    return set(_TAGS) <= set(model.tags or {})


def _dense_field(dimensions: int) -> dict[str, str | int]:
    return {"type": "dense_vector", "dimension": dimensions, "metric": _METRIC}
