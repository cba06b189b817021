"""A source beside what the ledger has of it: only documents that differ are passed on to be cut and embedded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import Cancelled, Conflict, DeadlineExceeded, EmbedhouseError
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.domain.reports import Failure, Progress
from embedhouse.ledger.database import Database
from embedhouse.ledger.source_documents import KnownContent, known_contents
from embedhouse.ports import Source, SourceItem

__all__ = ["Differences", "Held"]

_DOCUMENTS_PER_BATCH = 2000
_CHARACTERS_PER_BATCH = 8_000_000

_Owner = Callable[[str], str | None]


class Held(msgspec.Struct, kw_only=True):
    """What the ledger has of one source. `documents`: id -> source. `letters`: ids of those that could not go in at
    an earlier run. `owner_of`: the name of another source of the collection that a document's `source` belongs to,
    if there is one: two sources must not overwrite each other's documents for ever. `namespace`: of all of them."""

    documents: dict[str, str]
    letters: set[str] = msgspec.field(default_factory=set)
    owner_of: _Owner
    namespace: str = DEFAULT_NAMESPACE


class Differences:
    """The source as one that has only what is new or changed; the rest is told by its hash and counted.

    After it was read: gone: id -> source of documents that the ledger has and that were not met. deleted: ids that
    the source itself says are gone. failures: what could not be read. healed: ids that could not go in before.
    added: id -> SHA-256 of the text, of documents that the ledger did not have. error: what ended the reading
    early; then nothing follows from what is missing.
    """

    def __init__(
        self,
        source: Source,
        database: Database,
        collection_id: int,
        held: Held,
        tell: Callable[[Progress], None],
    ) -> None:
        self._source = source
        self._database = database
        self._collection_id = collection_id
        self._held = held
        self._tell = tell
        self.gone = held.documents
        self.healed: set[str] = set()
        self.deleted: set[str] = set()
        self.failures: list[Failure] = []
        self.added: dict[str, bytes] = {}
        self.error: EmbedhouseError | None = None
        self.items = 0
        self.unchanged = 0

    def sizes(self) -> Iterable[int]:
        """Those of the source."""
        return self._source.sizes()

    def read(self, deadline: Deadline) -> Iterator[SourceItem]:
        """What differs, in the source's order. Errors: those of the deadline and the ledger."""
        return self.differing(self._source.read(deadline))

    def differing(self, items: Iterable[SourceItem]) -> Iterator[SourceItem]:
        """What differs of these; may be called more than once."""
        batch: list[Document] = []
        characters = 0
        for item in self._until_error(items):
            self.items += 1
            if item.document is None:
                self._without_document(item)
                continue
            batch.append(item.document)
            characters += len(item.document.text)
            if len(batch) >= _DOCUMENTS_PER_BATCH or characters >= _CHARACTERS_PER_BATCH:
                yield from self._changed(batch)
                batch, characters = [], 0
        yield from self._changed(batch)

    def _until_error(self, items: Iterable[SourceItem]) -> Iterator[SourceItem]:
        try:
            yield from items
        except (Cancelled, DeadlineExceeded):
            raise
        except EmbedhouseError as error:
            self.error = error

    def _without_document(self, item: SourceItem) -> None:
        self._met(item.id)
        if item.deleted:
            self.deleted.add(item.id)
            self._heal(item.id)
        elif item.error is not None:
            self._fail(item.id, item.source, item.error)

    def _met(self, document_id: str) -> None:
        self.gone.pop(document_id, None)

    def _heal(self, document_id: str) -> None:
        if document_id in self._held.letters:
            self.healed.add(document_id)

    def _fail(self, document_id: str, source: str, error: EmbedhouseError) -> None:
        self.failures.append(Failure(id=document_id or source, source=source, code=error.code, message=str(error)))

    def _changed(self, batch: Sequence[Document]) -> Iterator[SourceItem]:
        self._tell(Progress(stage="read", done=self.items, total=None, unit="documents"))
        with self._database.read() as ledger:
            ids = [document.id for document in batch]
            known = known_contents(ledger, self._collection_id, ids, self._held.namespace)
        for document in batch:
            self._met(document.id)
            self._heal(document.id)
            content = known.get(document.id)
            if content is None:
                self.added[document.id] = _text_hash(document)
            elif _is_same(document, content):
                self.unchanged += 1
                continue
            elif content.source != document.source and (owner := self._held.owner_of(content.source)):
                self._fail(document.id, document.source, _owned(document.id, owner))
                continue
            placed = msgspec.structs.replace(document, namespace=self._held.namespace)
            yield SourceItem(document=placed, source=document.source)


def _is_same(document: Document, known: KnownContent) -> bool:
    """Whether nothing is to be done. False also where metadata only look different: the writer compares again."""
    try:
        return (
            known.content_hash == document.content_hash
            and known.source == document.source
            and known.metadata == msgspec.json.encode(document.metadata).decode()
        )
    except (UnicodeEncodeError, TypeError, ValueError):
        return False  # the writer says what is wrong with it


def _text_hash(document: Document) -> bytes:
    return hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).digest()


def _owned(document_id: str, owner: str) -> Conflict:
    return Conflict(
        reason=f"Document {document_id!r} belongs to source {owner} already. Give one of the two an id prefix."
    )
