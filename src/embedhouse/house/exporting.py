"""`house.export` and `house.import_`: collections as Parquet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.binding import visible_namespaces
from embedhouse.domain.collections import CollectionOptions, Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidSetting, SpaceMismatch
from embedhouse.domain.exports import ExportReport
from embedhouse.domain.namespaces import Namespaces
from embedhouse.domain.reports import Progress
from embedhouse.exports.format import Header, Manifest, check_pyarrow
from embedhouse.exports.reading import check_files, read_manifest
from embedhouse.exports.source import ExportedDocuments
from embedhouse.exports.target import ExportTarget
from embedhouse.exports.vectors import CacheDonor, StoredVectors
from embedhouse.exports.writing import Page, Written, told, write_flat_file, write_folder
from embedhouse.house.collections import Collections
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.ledger import collections
from embedhouse.ledger.exporting import count_documents, pages_of_documents, placed_chunks

__all__ = ["Exporting", "Importing"]


class Exporting:
    """One export of a collection, as the ledger stands at one moment. Writes go on meanwhile."""

    def __init__(
        self, shelf: Shelf, collection: str, target: ExportTarget, namespaces: Namespaces, deadline: Deadline
    ) -> None:
        check_pyarrow()
        self._parts = shelf.parts
        self._opened = shelf.get(collection)
        self._target = target
        self._namespaces = visible_namespaces(namespaces)
        self._deadline = deadline

    def run(self, tell: Callable[[Progress], None]) -> ExportReport:
        """Write it. Errors: StorageError, DeadlineExceeded, Cancelled; then nothing is left of it."""
        started = time.perf_counter()
        with self._target.drafts() as drafts, self._parts.database.read() as ledger:
            generation = collections.live_generation(ledger, self._opened.collection.id)
            header = _header(self._opened.collection.name, generation)
            total = count_documents(ledger, self._opened.collection.id, self._namespaces)
            pages = told(self._pages(ledger, generation), total, tell, self._deadline)
            vectors = StoredVectors(self._parts.cache, generation.space, self._index_reader(generation))
            write = write_flat_file if self._target.is_file else write_folder
            written = write(drafts, header, pages, vectors.of)
            self._target.place(None if self._target.is_file else _manifest(header, written))
        return self._report(header, written, time.perf_counter() - started)

    def _pages(self, ledger: Connection, generation: Generation) -> Iterator[Page]:
        for page in pages_of_documents(ledger, self._opened.collection.id, self._namespaces):
            yield page, placed_chunks(ledger, generation.id, [document.pk for document in page])

    def _index_reader(self, generation: Generation) -> Callable[[Sequence[int]], dict[int, Vectors]]:
        """Reads vectors of the generation's index, if it is not gone since."""
        served = self._opened.generation(generation.id)

        def read(keys: Sequence[int]) -> dict[int, Vectors]:
            if served is None:
                return {}
            with served.opened.slot.borrow() as index:
                return index.vectors(keys, namespaces=self._namespaces)

        return read

    def _report(self, header: Header, written: Written, seconds: float) -> ExportReport:
        return ExportReport(
            collection=header.collection,
            to=str(self._target.path),
            space=header.fingerprint,
            documents=written.documents,
            chunks=written.chunks,
            without_vector=written.without_vector,
            rows={name: file.rows for name, file in written.files.items()},
            size_bytes=sum(file.size_bytes for file in written.files.values()),
            seconds=seconds,
        )


class Importing:
    """One import of a folder into a collection, which is made if it is not there. Nothing is written before the
    whole folder has been checked."""

    def __init__(self, shelf: Shelf, all_collections: Collections, folder: Path, cache: str) -> None:
        check_pyarrow()
        if cache == "none":
            reason = "an import goes through the vector cache, so that nothing is embedded again. Use another"
            raise InvalidSetting(name="cache", origin="settings", reason=reason)
        self._shelf = shelf
        self._collections = all_collections
        self._folder = folder.expanduser().absolute()
        self._manifest = read_manifest(self._folder)
        self.source = ExportedDocuments(self._folder, self._manifest.header, shelf.parts.cache)

    def open(
        self, collection: str | None, model: str | None, tell: Callable[[Progress], None], deadline: Deadline
    ) -> OpenCollection:
        """The collection to import into. Errors: UnreadableSource, SpaceMismatch, Conflict for one that is cut in
        another way, Forbidden for documents of namespaces that are not the caller's, those of the model."""
        header = self._manifest.header
        name = collection or header.collection
        check_files(self._folder, self._manifest, tell, deadline)
        for namespace in self.source.namespaces():
            visible_namespaces([namespace])
        options = self._options(name, model)
        expected = self._collections.draft(name, options)[0].generation.space
        if not header.space.searchable_with(expected):
            found = header.space.describe()
            raise SpaceMismatch(collection=name, expected=expected.describe(), found=found)
        self._collections.ensure(name, **msgspec.structs.asdict(options))
        return self._shelf.get(name)

    @contextmanager
    def donating(self, opened: OpenCollection) -> Iterator[None]:
        """Inside, chunks whose model runs in another precision here take the vectors of the export all the same."""
        generation, space = opened.live, self._manifest.header.space
        if space != generation.embedder.space:
            generation.donor = CacheDonor(self._shelf.parts.cache, space)
        try:
            yield
        finally:
            generation.donor = None

    def _options(self, name: str, model: str | None) -> CollectionOptions:
        header = self._manifest.header
        with self._shelf.parts.database.read() as ledger:
            if name in {known.name for known in collections.collections(ledger)}:
                return CollectionOptions(chunking=header.chunking)
        return CollectionOptions(
            model=model or header.model,
            precision=header.precision,
            dimensions=header.space.dimensions,
            prompts=dict(header.space.prompts),
            chunking=header.chunking,
            lexical=header.lexical,
        )


def _header(collection: str, generation: Generation) -> Header:
    return Header(
        collection=collection,
        model=generation.model,
        precision=generation.precision,
        space=generation.space,
        fingerprint=generation.space.fingerprint,
        chunking=generation.chunking,
        lexical=generation.lexical,
    )


def _manifest(header: Header, written: Written) -> Manifest:
    return Manifest(
        header=header,
        made_by=f"embedhouse {version('embedhouse')}",
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=written.files,
    )
