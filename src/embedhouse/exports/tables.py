"""Rows on their way to a Parquet file, in row groups of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.storage import storage_error
from embedhouse.exports.format import ExportedFile, file_sha256

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableWriter"]

_ROWS_PER_GROUP = 16_384
_BYTES_PER_GROUP = 32 * 1024 * 1024
_REPEATING = ("namespace", "document_id", "title", "source", "metadata")
"""Columns in which many rows are alike: they are written as a dictionary."""


class TableWriter:
    """One Parquet file. A context manager: what it wrote is on disk when the block ends, `written` says what it is.
    Errors: StorageError."""

    written: ExportedFile

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names if name != "vector"}
        self._vectors: list[Vectors] = []
        self._found: list[Sequence[bool]] = []
        self._rows = self._size_bytes = self._total = 0

    def __enter__(self) -> Self:
        import pyarrow as pa
        from pyarrow import parquet

        alike = [name for name in _REPEATING if name in self._columns]
        try:
            self._sink = pa.OSFile(str(self._path), "wb")  # ours to close: a writer that fails leaves it open
            self._file = parquet.ParquetWriter(
                self._sink, self._schema, compression="zstd", use_dictionary=alike, write_page_checksum=True
            )
        except OSError as error:
            raise storage_error(error, self._path) from error
        return self

    def add(self, columns: dict[str, list[Any]], size_bytes: int) -> None:
        """Add rows: equally many values for each column but `vector`, of about so many bytes."""
        for name, kept in self._columns.items():
            kept.extend(columns[name])
        rows = len(next(iter(columns.values())))
        self._rows += rows
        self._size_bytes += size_bytes
        if self._rows >= _ROWS_PER_GROUP or self._size_bytes >= _BYTES_PER_GROUP:
            self._write_group()

    def add_vectors(self, vectors: Vectors, found: Sequence[bool]) -> None:
        """The vectors of the rows that are added next, (n, dimensions) float32; null where not `found`."""
        self._vectors.append(vectors)
        self._found.append(found)
        self._size_bytes += vectors.nbytes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with closing(self._sink):
                if kind is None and self._rows:
                    self._write_group()
                self._file.close()
        except OSError as failure:
            raise storage_error(failure, self._path) from failure
        if kind is None:
            size_bytes = self._path.stat().st_size
            self.written = ExportedFile(rows=self._total, size_bytes=size_bytes, sha256=file_sha256(self._path))

    def _write_group(self) -> None:
        import pyarrow as pa

        arrays = [self._array(field) for field in self._schema]
        batch = pa.record_batch(arrays, schema=self._schema)
        try:
            self._file.write_batch(batch, row_group_size=self._rows)
        except OSError as error:
            raise storage_error(error, self._path) from error
        self._total += self._rows
        self._rows = self._size_bytes = 0
        for values in (*self._columns.values(), self._vectors, self._found):
            values.clear()

    def _array(self, field: pa.Field) -> pa.Array:
        import pyarrow as pa

        if field.name != "vector":
            return pa.array(self._columns[field.name], field.type)
        missing = ~np.concatenate([np.asarray(one, np.bool_) for one in [[], *self._found]])
        flat = np.concatenate([np.empty(0, np.float32), *(one.ravel() for one in self._vectors)])
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=field.type, mask=pa.array(missing))
