"""A topic's changes into a collection: the ledger first, then the group's offsets, then the index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.reports import Failure, Progress
from embedhouse.domain.syncing import SourceSync
from embedhouse.house.row_syncing import SyncParts
from embedhouse.house.sources import binding_settings
from embedhouse.house.sync_outcome import note, outcome_of
from embedhouse.indexing.event_writer import DocumentChange, EventsWritten, EventWriter
from embedhouse.indexing.indexer import Drained
from embedhouse.ledger.bindings import SourceBinding, SourceLetter
from embedhouse.ledger.changes import EVERYTHING, Logged
from embedhouse.ledger.source_versions import EventVersion
from embedhouse.sources.events import Message

if TYPE_CHECKING:
    from embedhouse.sources.kafka import KafkaSource

__all__ = ["EventSync"]

_MAX_FAILURES_KEPT = 1000
_COUNTED = ("added", "updated", "unchanged", "deleted")


class EventSync:
    """One topic. Killed anywhere, nothing is lost: offsets are committed after the ledger's transaction, and what
    comes again is told by its version."""

    def __init__(self, parts: SyncParts, binding: SourceBinding, source: KafkaSource) -> None:
        self._parts = parts
        self._binding = binding
        self._source = source
        namespace = binding_settings(binding).namespace
        self._writer = EventWriter(parts.database, parts.opened, binding.id, namespace)
        self._counts: Counter[str] = Counter()
        self._failures: list[Failure] = []

    def drain(self) -> tuple[SourceSync, Drained]:
        """Everything up to the end of the topic, as it is reached, and into the index. Errors: those of the source,
        the model, the disk and the deadline; what was read before is kept."""
        for messages in self._source.batches(self._parts.deadline):
            self._apply(messages)
        drained = self._parts.opened.finish(EVERYTHING, self._parts.deadline)
        self._note()
        return self._outcome(), drained

    def follow(self, index: Callable[[Logged], None]) -> None:
        """For ever, until the deadline is cancelled: `index` is told what was logged. Errors: as `drain`."""
        for messages in self._source.batches(self._parts.deadline, forever=True):
            if not messages:
                continue
            index(self._apply(messages))
            self._note()

    def _apply(self, messages: Sequence[Message]) -> Logged:
        changes, letters = self._read(messages)
        written = self._writer.write(changes, letters)
        self._source.commit(messages)
        self._count(messages, changes, letters, written)
        return written.logged

    def _read(self, messages: Sequence[Message]) -> tuple[dict[str, DocumentChange], list[SourceLetter]]:
        """The newest change of each document, and what is none."""
        changes: dict[str, DocumentChange] = {}
        letters = []
        for message in messages:
            try:
                event = self._source.read(message)
            except EmbedhouseError as error:
                letters.append(_letter(message, error))
                continue
            if event is None:
                continue
            version = EventVersion(
                document_id=event.document_id,
                version=event.version,
                partition=message.partition,
                offset=message.offset,
                sent_at_ms=message.sent_at_ms,
            )
            known = changes.get(event.document_id)
            if known is None or version.is_newer_than(known.version):
                changes[event.document_id] = DocumentChange(
                    document=event.document, version=version, topic=message.topic, place=message.place
                )
        return changes, letters

    def _count(
        self,
        messages: Sequence[Message],
        changes: dict[str, DocumentChange],
        letters: Sequence[SourceLetter],
        written: EventsWritten,
    ) -> None:
        self._counts.update({name: getattr(written, name) for name in _COUNTED})
        self._counts["read"] += len(messages)
        self._counts["ignored"] += len(messages) - len(letters) - len(changes) + written.late
        self._counts["failed"] += len(letters) + len(written.failures)
        failures = [
            Failure(
                id=letter.document_id or letter.place, source=letter.place, code=letter.code, message=letter.message
            )
            for letter in letters
        ]
        room = _MAX_FAILURES_KEPT - len(self._failures)
        self._failures += [*failures, *written.failures][:room]
        self._parts.tell(Progress(stage="read", done=self._counts["read"], total=None, unit="events"))

    def _note(self) -> None:
        with self._parts.database.write() as ledger:
            note(ledger, self._binding.id, self._counts["failed"], None)

    def _outcome(self) -> SourceSync:
        counts = self._counts
        return SourceSync(
            source=self._binding.name,
            kind="kafka",
            outcome=outcome_of(self._counts["failed"], None),
            failures=self._failures,
            read=counts["read"],
            added=counts["added"],
            updated=counts["updated"],
            unchanged=counts["unchanged"],
            deleted=counts["deleted"],
            ignored=counts["ignored"],
        )


def _letter(message: Message, error: EmbedhouseError) -> SourceLetter:
    return SourceLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        place=message.place,
        code=error.code,
        message=str(error).replace("\x00", "\\0"),
    )
