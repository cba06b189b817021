"""Entries as Pinecone's records, within its limits: 40 KB of metadata and 1 000 sparse values a record, 1 000
records and 2 MB a request.

A record's metadata is flat: `t` holds terms (of the metadata, of the key, of the write), `d` the document's id, and
two numbers stand for each path that has an order, its least and its largest value: Pinecone has no list of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from embedhouse.domain.documents import Metadata
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import TooLarge
from embedhouse.domain.scalars import FlatMetadata, flatten, is_unicode
from embedhouse.indexes.bm25 import SparseVector
from embedhouse.indexes.filter_terms import metadata_terms, range_field
from embedhouse.ports import IndexEntry

__all__ = [
    "MOST_FOUND",
    "MOST_IDS",
    "MOST_SPARSE",
    "TERMS",
    "Record",
    "batches",
    "check_sparse",
    "document_of",
    "escaped",
    "filterable",
    "key_term",
    "metadata_of",
    "record_of",
    "sparse_of",
    "stamp_term",
    "string_number",
    "unescaped",
    "values_of",
]

TERMS = "t"
DOCUMENT = "d"
MOST_IDS = 1_000
"""Of a deletion."""
MOST_FOUND = 10_000
"""Of a query that returns neither metadata nor values."""
MOST_SPARSE = 1_000
_MOST_METADATA_BYTES = 40 * 1024
# A little less than the limit: the request has a frame around its records.
_MOST_REQUEST_BYTES = 2_000_000 - 4_096
# A vector's numbers to 1e-9 are closer than float32 is, in half the bytes that a float64 takes.
_DIGITS = 9
_ORDERED_BYTES = 6
_LONGEST_SHOWN = 80

Record = dict[str, Any]
"""`id`, `values`, `sparse_values` where there are any, `metadata`: as the client takes it."""


def key_term(key: int) -> str:
    """The term that only this key's record has."""
    return f"#{key}"


def stamp_term(stamp: str) -> str:
    """The term of all records of one write."""
    return f"@{stamp}"


def escaped(term: str) -> str:
    """A term without NUL, and still unlike every other."""
    return term.replace("\\", "\\\\").replace("\x00", "\\0")


def unescaped(term: str) -> str:
    """The term that `escaped` was given."""
    parts = term.split("\\\\")
    return "\\".join(part.replace("\\0", "\x00") for part in parts)


def string_number(text: str) -> int:
    """A number that orders strings as far as their first six bytes go; exact as float64."""
    return int.from_bytes(text.encode()[:_ORDERED_BYTES].ljust(_ORDERED_BYTES, b"\0"), "big")


def filterable(metadata: Metadata) -> Record:
    """What filters can ask of the metadata, as flat metadata."""
    flat = flatten(metadata)
    found = metadata_terms(flat)
    fields: Record = {TERMS: [escaped(term) for term in found.terms]}
    for name, numbers in [*found.ranges.items(), *_string_ranges(flat)]:
        fields |= {f"{name}_lo": min(numbers), f"{name}_hi": max(numbers)}
    return fields


def _string_ranges(flat: FlatMetadata) -> Iterator[tuple[str, list[float]]]:
    for path, values in flat.items():
        numbers = [float(string_number(value)) for value in values if isinstance(value, str)]
        if numbers and is_unicode(path):
            yield range_field(path, "s"), numbers


def record_of(entry: IndexEntry, stamp: str) -> Record:
    """The entry's record, without its sparse side. Errors: TooLarge."""
    metadata = metadata_of(entry.key, entry.document_id, entry.metadata, stamp)
    return {"id": str(entry.key), "values": values_of(entry.vector), "metadata": metadata}


def metadata_of(key: int, document_id: str, metadata: Metadata, stamp: str) -> Record:
    """What is kept beside the vectors. Errors: TooLarge."""
    kept = filterable(metadata)
    kept[TERMS] += [key_term(key), stamp_term(stamp)]
    kept[DOCUMENT] = escaped(document_id)
    size = len(msgspec.json.encode(kept))
    if size > _MOST_METADATA_BYTES:
        raise TooLarge(
            what=f"The metadata of {_shown(key, document_id)}, as Pinecone keeps it,",
            size=f"{size} bytes",
            limit=f"{_MOST_METADATA_BYTES} bytes a chunk",
            remedy="Give the document less metadata or a shorter id, or keep the collection on another store.",
        )
    return kept


def document_of(metadata: Mapping[str, Any]) -> str:
    """Whose the record with this metadata is; empty where the metadata was not asked for."""
    return unescaped(str(metadata.get(DOCUMENT, "")))


def sparse_of(weights: SparseVector) -> Record:
    """As the client takes it."""
    return {"indices": weights.indices, "values": [round(weight, _DIGITS) for weight in weights.values]}


def check_sparse(entry: IndexEntry, distinct_terms: int) -> None:
    """Errors: TooLarge."""
    if distinct_terms > MOST_SPARSE:
        raise TooLarge(
            what=f"The number of different words of {_shown(entry.key, entry.document_id)}",
            size=distinct_terms,
            limit=f"{MOST_SPARSE} with Pinecone",
            remedy="Cut the collection's documents into smaller chunks, or keep its lexical side on another store.",
        )


def _shown(key: int, document_id: str) -> str:
    shown = document_id if len(document_id) <= _LONGEST_SHOWN else f"{document_id[:_LONGEST_SHOWN]}..."
    return f"chunk {key} (document {shown!r})"


def values_of(vector: Vectors) -> list[float]:
    """The vector, L2-normalised, as numbers that JSON writes in few digits."""
    wide = vector.astype(np.float64)
    numbers: list[float] = np.round(wide / np.linalg.norm(wide), _DIGITS).tolist()
    return numbers


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """The records in order, each batch within the limits of one request."""
    batch: list[Record] = []
    size = 0
    for record in records:
        bytes_ = len(msgspec.json.encode(record)) + 1
        if batch and (len(batch) == MOST_IDS or size + bytes_ > _MOST_REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += bytes_
    if batch:
        yield batch
