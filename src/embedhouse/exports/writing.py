"""A collection's documents, chunks and vectors into Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import Progress
from embedhouse.exports.format import (
    CHUNKS,
    DOCUMENTS,
    ExportedFile,
    Header,
    chunk_schema,
    document_schema,
    flat_schema,
)
from embedhouse.exports.tables import TableWriter
from embedhouse.exports.target import DRAFT
from embedhouse.ledger.exporting import DocumentRow, PlacedChunk
from embedhouse.ports import Cached

__all__ = ["Page", "Written", "told", "write_flat_file", "write_folder"]

Page = tuple[list[DocumentRow], dict[int, list[PlacedChunk]]]
"""Some documents, and the chunks of each by its pk."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: files by name, and the chunks in them that have no vector."""

    files: dict[str, ExportedFile]
    documents: int
    chunks: int
    without_vector: int


class _Counts:
    documents = chunks = without_vector = 0


def write_folder(
    folder: Path, header: Header, pages: Iterator[Page], vectors_of: Callable[[Sequence[PlacedChunk]], Cached]
) -> Written:
    """Drafts of documents.parquet and chunks.parquet into a folder. Errors: StorageError."""
    counts = _Counts()
    with ExitStack() as open_files:
        documents = open_files.enter_context(TableWriter(folder / (DOCUMENTS + DRAFT), document_schema(header)))
        chunks = open_files.enter_context(TableWriter(folder / (CHUNKS + DRAFT), chunk_schema(header)))
        for page, chunks_of in pages:
            documents.add(_document_columns(page), sum(len(each.text) + len(each.metadata) for each in page))
            placed = [(document, chunk) for document in page for chunk in chunks_of[document.pk]]
            _add_chunks(chunks, placed, vectors_of, counts)
            counts.documents += len(page)
    return _written({DOCUMENTS: documents.written, CHUNKS: chunks.written}, counts)


def write_flat_file(
    draft: Path, header: Header, pages: Iterator[Page], vectors_of: Callable[[Sequence[PlacedChunk]], Cached]
) -> Written:
    """One file of chunks. Errors: StorageError."""
    counts = _Counts()
    with TableWriter(draft, flat_schema(header)) as chunks:
        for page, chunks_of in pages:
            placed = [(document, chunk) for document in page for chunk in chunks_of[document.pk]]
            _add_chunks(chunks, placed, vectors_of, counts)
            counts.documents += len(page)
    return _written({draft.name.removesuffix(DRAFT): chunks.written}, counts)


def told(pages: Iterator[Page], total: int, tell: Callable[[Progress], None], deadline: Deadline) -> Iterator[Page]:
    """The same pages, with progress; stops where nobody waits any more."""
    done = 0
    for page in pages:
        deadline.check("exporting")
        yield page
        done += len(page[0])
        tell(Progress(stage="export", done=done, total=total, unit="documents"))


def _written(files: dict[str, ExportedFile], counts: _Counts) -> Written:
    return Written(
        files=files, documents=counts.documents, chunks=counts.chunks, without_vector=counts.without_vector
    )


def _document_columns(page: Sequence[DocumentRow]) -> dict[str, list[Any]]:
    names = ("namespace", "id", "title", "text", "source", "metadata", "content_hash")
    columns: dict[str, list[Any]] = {name: [getattr(each, name) for each in page] for name in names}
    columns["updated_at"] = [datetime.fromtimestamp(each.updated_at, UTC) for each in page]
    return columns


def _add_chunks(
    table: TableWriter,
    placed: Sequence[tuple[DocumentRow, PlacedChunk]],
    vectors_of: Callable[[Sequence[PlacedChunk]], Cached],
    counts: _Counts,
) -> None:
    if not placed:
        return
    held = vectors_of([chunk for _, chunk in placed])
    columns: dict[str, list[Any]] = {
        "namespace": [document.namespace for document, _ in placed],
        "document_id": [document.id for document, _ in placed],
        "title": [document.title for document, _ in placed],
        "source": [document.source for document, _ in placed],
        "metadata": [document.metadata for document, _ in placed],
        "headings": [msgspec.json.decode(chunk.headings) for _, chunk in placed],
    }
    for name in ("ordinal", "start", "end", "text", "context", "hash"):
        columns[name] = [getattr(chunk, name) for _, chunk in placed]
    # A model reads at least one token of a text: 0 stands for "not known".
    known = held.found & (held.token_counts > 0)
    columns["tokens"] = _or_null(held.token_counts.tolist(), known.tolist())
    columns["dropped_tokens"] = _or_null(held.dropped_counts.tolist(), known.tolist())
    table.add_vectors(held.vectors, held.found.tolist())
    table.add(columns, sum(len(chunk.text) for _, chunk in placed))
    counts.chunks += len(placed)
    counts.without_vector += int((~held.found).sum())


def _or_null(values: Sequence[int], known: Sequence[bool]) -> list[int | None]:
    return [value if is_known else None for value, is_known in zip(values, known, strict=True)]
