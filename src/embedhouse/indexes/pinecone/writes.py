"""Writing to one generation on Pinecone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Metadata
from embedhouse.indexes.bm25 import Bm25Encoder
from embedhouse.indexes.pinecone.connection import Connection
from embedhouse.indexes.pinecone.records import (
    MOST_IDS,
    Record,
    batches,
    check_sparse,
    document_of,
    metadata_of,
    record_of,
    sparse_of,
)
from embedhouse.indexes.pinecone.settling import Written, settle
from embedhouse.ports import IndexEntry, IndexSpec, TermCounts, TermStatistics

if TYPE_CHECKING:
    import pinecone

__all__ = ["Changes", "Writes", "fetched"]

_DOING = "writing to Pinecone"
# Their ids stand in the request's address, which may be some kilobytes long.
_FETCHED_AT_ONCE = 100


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """One write to one namespace, `space` on Pinecone."""

    namespace: str
    space: str
    upserts: Sequence[IndexEntry]
    deletes: Sequence[int]
    metadata: Sequence[tuple[int, Metadata]]


class Writes:
    """Thread-safe. Whatever can be refused is refused before anything is sent."""

    def __init__(
        self,
        connection: Connection,
        client: pinecone.Index,
        spec: IndexSpec,
        statistics: TermStatistics | None,
    ) -> None:
        """`statistics` None: without sparse vectors."""
        self._connection = connection
        self._client = client
        self._spec = spec
        self._statistics = statistics
        self._encoder = Bm25Encoder(spec.lexical)

    def apply(self, changes: Changes, deadline: Deadline) -> None:
        """Send it, and wait until Pinecone answers with it. Errors: TooLarge."""
        metadata = dict(changes.metadata)
        entries = {entry.key: _with_metadata(entry, metadata) for entry in changes.upserts}
        written = Written(
            space=changes.space, dimensions=self._spec.dimensions, stamp=uuid.uuid4().hex[:12], deleted=()
        )
        terms = self._count(list(entries.values()))
        records = {key: record_of(entry, written.stamp) for key, entry in entries.items()}
        deletes = [key for key in dict.fromkeys(changes.deletes) if key not in entries]
        replaced = {key: metadata[key] for key in metadata.keys() - entries.keys() - set(deletes)}
        records |= self._replaced(replaced, written, deadline)
        self._delete(changes.namespace, deletes, written, deadline)
        self._add_sparse(changes.namespace, terms, records)
        self._upsert(list(records.values()), written, deadline)
        settle(self._connection, self._client, written, deadline)

    def _count(self, entries: Sequence[IndexEntry]) -> dict[int, TermCounts]:
        if self._statistics is None:
            return {}
        terms = {entry.key: self._encoder.count(entry.text) for entry in entries}
        for entry in entries:
            check_sparse(entry, len(terms[entry.key].counts))
        return terms

    def _replaced(
        self, metadata: Mapping[int, Metadata], written: Written, deadline: Deadline
    ) -> dict[int, Record]:
        """The records of these keys with other metadata: an update of Pinecone's would only add to theirs."""
        records: dict[int, Record] = {}
        for key, held in fetched(self._connection, self._client, written.space, sorted(metadata), deadline):
            kept = metadata_of(key, document_of(held.metadata or {}), metadata[key], written.stamp)
            records[key] = {"id": str(key), "values": held.values, "metadata": kept}
            if held.sparse_values is not None and held.sparse_values.indices:
                sparse = held.sparse_values
                records[key]["sparse_values"] = {"indices": sparse.indices, "values": sparse.values}
        return records

    def _delete(self, namespace: str, keys: Sequence[int], written: Written, deadline: Deadline) -> None:
        for start in range(0, len(keys), MOST_IDS):
            ids = [str(key) for key in keys[start : start + MOST_IDS]]
            self._connection.call_index(
                _DOING, deadline, partial(self._client.delete, ids=ids, namespace=written.space)
            )
        if self._statistics is not None:
            self._statistics.remove(self._spec.name, namespace, keys)
        written.deleted = keys

    def _add_sparse(self, namespace: str, terms: Mapping[int, TermCounts], records: dict[int, Record]) -> None:
        """Counted first: a batch is weighted with the average length that it has a part in."""
        if self._statistics is None or not terms:
            return
        self._statistics.add(self._spec.name, namespace, terms)
        totals = self._statistics.frequencies(self._spec.name, ())
        average = totals.length / max(1, totals.documents)
        for key, counts in terms.items():
            if counts.counts:
                records[key]["sparse_values"] = sparse_of(self._encoder.document(counts, average))

    def _upsert(self, records: Sequence[Record], written: Written, deadline: Deadline) -> None:
        written.upserted = [int(record["id"]) for record in records]
        for batch in batches(records):
            answer = self._connection.call_index(
                _DOING, deadline, partial(self._client.upsert, vectors=batch, namespace=written.space)
            )
            if answer is not None and answer.response_info is not None:
                written.position = answer.response_info.lsn_committed


def fetched(
    connection: Connection, client: pinecone.Index, space: str, keys: Sequence[int], deadline: Deadline
) -> Iterator[tuple[int, Any]]:
    """Those of the keys that the namespace holds, each with its record."""
    for start in range(0, len(keys), _FETCHED_AT_ONCE):
        ids = [str(key) for key in keys[start : start + _FETCHED_AT_ONCE]]
        answer = connection.call_index(
            "reading from Pinecone", deadline, partial(client.fetch, ids=ids, namespace=space)
        )
        if answer is None:
            return
        yield from ((int(name), record) for name, record in answer.vectors.items())


def _with_metadata(entry: IndexEntry, metadata: Mapping[int, Metadata]) -> IndexEntry:
    """An entry that the same write gives other metadata."""
    if entry.key not in metadata:
        return entry
    return msgspec.structs.replace(entry, metadata=metadata[entry.key])
