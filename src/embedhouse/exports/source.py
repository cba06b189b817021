"""An export as a source of documents, whose vectors are in the vector cache by the time that a document is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.cache.embedder import text_sha256
from embedhouse.domain.binding import salt_of
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document, embedded_text
from embedhouse.domain.embeddings import Embeddings, Vectors
from embedhouse.domain.errors import InvalidVector, StorageError, UnreadableSource
from embedhouse.domain.namespaces import Place
from embedhouse.domain.spaces import Space
from embedhouse.exports.format import CHUNKS, DOCUMENTS, Header
from embedhouse.ports import SourceItem, VectorCache

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ExportedDocuments"]

_DOCUMENTS_PER_BATCH = 128
_CHUNKS_PER_BATCH = 1024
_ROWS_PER_SCAN = 65_536
_LENGTH_TOLERANCE = 0.01


class ExportedDocuments:
    """Implements ports.Source. The folder was checked. `vectors` counts those that were put into the cache."""

    def __init__(self, folder: Path, header: Header, cache: VectorCache) -> None:
        self._folder = folder
        self._space = header.space
        self._cache = cache
        self.vectors = 0

    def sizes(self) -> Iterable[int]:
        """See ports.Source."""
        return [(self._folder / name).stat().st_size for name in (DOCUMENTS, CHUNKS)]

    def namespaces(self) -> Sequence[str]:
        """Those of its documents."""
        found: set[str] = set()
        for batch in _batches(self._folder / DOCUMENTS, _ROWS_PER_SCAN, ["namespace"]):
            found.update(batch.column("namespace").unique().to_pylist())
        return sorted(found)

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """See ports.Source. Errors: UnreadableSource for a chunk that is not what it says; StorageError for a cache
        that keeps nothing."""
        chunks = _batches(self._folder / CHUNKS, _CHUNKS_PER_BATCH)
        ahead: Place | None = None  # chunks are in the order of documents: those before it have theirs in the cache
        exhausted = False
        for batch in _batches(self._folder / DOCUMENTS, _DOCUMENTS_PER_BATCH):
            documents = batch.to_pylist()
            places = {(row["namespace"], row["id"]) for row in documents}
            while not exhausted and (ahead is None or ahead in places):
                deadline.check("importing")
                rows = next(chunks, None)
                exhausted = rows is None
                if rows is not None:
                    self._keep(rows)
                    ahead = rows.column("namespace")[-1].as_py(), rows.column("document_id")[-1].as_py()
            for row in documents:
                yield SourceItem(document=_document(row, self._folder), source=row["source"])

    def _keep(self, rows: pa.RecordBatch) -> None:
        """Put the vectors of these chunks into the cache, each under the hash of its own text."""
        rows = rows.filter(rows.column("vector").is_valid())
        if not rows.num_rows:
            return
        space = self._space
        hashes = self._checked_hashes(rows)
        computed = Embeddings(
            vectors=_checked_vectors(rows, space),
            token_counts=_counts(rows, "tokens"),
            dropped_counts=_counts(rows, "dropped_tokens"),
        )
        self._cache.put(space.fingerprint, "document", hashes, computed)
        if not self._cache.get(space.fingerprint, "document", hashes, space.dimensions).found.all():
            raise StorageError(
                reason="The vector cache does not keep what is put into it. Nothing more is imported."
            )
        self.vectors += len(hashes)

    def _checked_hashes(self, rows: pa.RecordBatch) -> Sequence[bytes]:
        columns = (rows.column(name).to_pylist() for name in ("namespace", "context", "text"))
        hashes = [
            text_sha256(self._space, "document", embedded_text(context, text), salt_of([namespace]))
            for namespace, context, text in zip(*columns, strict=True)
        ]
        for number, (computed, said) in enumerate(zip(hashes, rows.column("hash").to_pylist(), strict=True)):
            if computed != said:
                whose = rows.column("document_id")[number].as_py()
                reason = f"a chunk of document {whose!r} does not have the text that its vector was computed for"
                raise UnreadableSource(source=str(self._folder / CHUNKS), reason=reason)
        return hashes


def _batches(path: Path, rows: int, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    from pyarrow.parquet import ParquetFile

    with closing(ParquetFile(path, page_checksum_verification=True)) as file:
        yield from (batch for batch in file.iter_batches(batch_size=rows, columns=columns) if batch.num_rows)


def _document(row: dict[str, Any], folder: Path) -> Document:
    try:
        metadata = msgspec.json.decode(row["metadata"], type=dict[str, Any])
    except msgspec.DecodeError:
        reason = f"the metadata of document {row['id']!r} is not JSON"
        raise UnreadableSource(source=str(folder / DOCUMENTS), reason=reason) from None
    return Document(**{name: row[name] for name in Document.__struct_fields__} | {"metadata": metadata})


def _checked_vectors(rows: pa.RecordBatch, space: Space) -> Vectors:
    column = rows.column("vector")
    vectors: Vectors = column.flatten().to_numpy().reshape(len(column), space.dimensions)
    lengths = np.linalg.norm(vectors, axis=1)
    sound = np.isfinite(lengths) & (lengths > 0)
    if space.normalised:
        sound &= np.abs(lengths - 1) < _LENGTH_TOLERANCE
    if not sound.all():
        whose = rows.column("document_id")[int(np.argmin(sound))].as_py()
        raise InvalidVector(where=f"of document {whose!r}", reason="it is zero, not finite, or not of length 1")
    return vectors


def _counts(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = rows.column(name).fill_null(0).to_numpy()
    return counts
