"""`house.collections`: named sets of documents that are searched together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Unpack

import msgspec

from embedhouse.chunking.context import fit_to_window
from embedhouse.domain.binding import check_unbound
from embedhouse.domain.collections import (
    ChunkingSettings,
    Collection,
    CollectionFields,
    CollectionOptions,
    Generation,
    LexicalSettings,
)
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    CollectionExists,
    Conflict,
    InvalidInput,
    InvalidSetting,
    SpaceMismatch,
    UnknownCollection,
)
from embedhouse.domain.models import ModelChoice, attributed, attribution, prompt_pairs
from embedhouse.domain.reports import CollectionInfo, Progress
from embedhouse.house.shelf import Shelf
from embedhouse.indexing.compaction import compact
from embedhouse.indexing.open_generation import OpenGeneration, readable_tokens
from embedhouse.ledger import collections
from embedhouse.ports import Embedder
from embedhouse.settings import Settings

__all__ = ["Collections", "iso_time"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Collections:
    """Make, look at and delete collections. Thread-safe."""

    def __init__(self, shelf: Shelf, settings: Settings) -> None:
        self._shelf = shelf
        self._settings = settings
        self._database = shelf.parts.database

    def create(
        self, name: str, *, deadline: Deadline | None = None, **options: Unpack[CollectionFields]
    ) -> CollectionInfo:
        """Make a collection; what is not given of CollectionOptions' fields is as the settings say.

        Errors: InvalidInput (name), CollectionExists, and those of the model.
        """
        return self._create(name, CollectionOptions(**options))

    def ensure(
        self, name: str, *, deadline: Deadline | None = None, **options: Unpack[CollectionFields]
    ) -> CollectionInfo:
        """The collection; made if it is not there. Errors: those of `create`; SpaceMismatch and Conflict where it
        exists with another model or other settings than those given."""
        wanted = CollectionOptions(**options)
        try:
            self._check_agrees(name, wanted)
        except UnknownCollection:
            try:
                return self._create(name, wanted)
            except CollectionExists:  # another thread or process was faster
                self._check_agrees(name, wanted)
        return self.get(name)

    def get(self, name: str, *, deadline: Deadline | None = None) -> CollectionInfo:
        """One collection as it is now; a caller that is bound to namespaces sees counts of these alone. Errors:
        UnknownCollection."""
        with self._database.read() as ledger:
            collection = collections.collection_named(ledger, name)
            generation = collections.live_generation(ledger, collection.id)
            counts = collections.counts(ledger, collection.id, generation.id, attribution().namespaces)
        return _info(collection, generation, counts)

    def list(self, *, deadline: Deadline | None = None) -> list[CollectionInfo]:
        """All collections, by name."""
        with self._database.read() as ledger:
            names = [collection.name for collection in collections.collections(ledger)]
        return [self.get(name) for name in names]

    def delete(self, name: str, *, deadline: Deadline | None = None) -> None:
        """Delete a collection with its documents and index. Errors: UnknownCollection."""
        check_unbound("Deleting a collection")
        opened = self._shelf.get(name)
        names = {served.opened.generation.id: served.opened.current_name() for served in opened.served}
        with self._database.write() as ledger:
            collections.delete_collection(ledger, opened.collection.id)
        self._shelf.take_off(opened)
        for served in opened.served:
            served.opened.close()
            served.opened.drop_index(names[served.opened.generation.id])

    def compact(
        self,
        name: str,
        *,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """Build the collection's index anew beside the one that answers, in a child process, and swap it in.

        Errors: UnknownCollection; Conflict where another process is at it.
        """
        check_unbound("Compacting a collection")
        opened = self._shelf.get(name)
        tell = progress or (lambda _: None)
        for served in opened.served:
            tell(Progress(stage="compact", done=0, total=None, unit="indexes"))
            with attributed(collection=name):
                done = compact(served.opened, served.indexer, deadline or Deadline.never())
            if not done:
                raise Conflict(reason=f"Another process is compacting collection {name!r}. Wait until it is done.")
            tell(Progress(stage="compact", done=1, total=1, unit="indexes"))

    def draft(self, name: str, options: CollectionOptions) -> Sequence[OpenGeneration]:
        """The generations that documents for this collection would be cut and embedded for. Makes nothing. Errors:
        those of `ensure`."""
        try:
            self._check_agrees(name, options)
        except UnknownCollection:
            choice = self._choice(name, options)
            made = Collection(id=0, name=name, created_at=0.0)
            first = self._first_generation(choice, self._shelf.parts.open_embedder(choice), options)
            return [OpenGeneration(self._shelf.parts, made, first)]
        return self._shelf.get(name).now_written()[1]

    def _create(self, name: str, options: CollectionOptions) -> CollectionInfo:
        check_unbound("Making a collection")
        choice = self._choice(name, options)
        embedder = self._shelf.parts.open_embedder(choice)
        first = self._first_generation(choice, embedder, options)
        self._shelf.parts.open_store(first.store, first.lexical_store)  # before anything is made
        with self._database.write() as ledger:
            collection_id = collections.add_collection(ledger, name)
            collections.add_generation(ledger, msgspec.structs.replace(first, collection_id=collection_id))
        return self.get(name)

    def _choice(self, name: str, options: CollectionOptions) -> ModelChoice:
        """The model of a new collection. Errors: InvalidInput (name)."""
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                reason=f"{name!r} is not a collection's name: use 1 to 100 letters, digits, '.', '_' and '-', "
                "beginning with a letter or digit."
            )
        return ModelChoice(
            model=options.model or self._settings.model,
            precision=options.precision or self._settings.precision,
            dimensions=options.dimensions,
            prompts=prompt_pairs(options.prompts),
        )

    def _first_generation(self, choice: ModelChoice, embedder: Embedder, options: CollectionOptions) -> Generation:
        chunking = options.chunking or ChunkingSettings(
            chunker=self._settings.chunker,
            max_tokens=self._settings.chunk_tokens,
            overlap_tokens=self._settings.chunk_overlap_tokens,
            with_context=self._settings.with_context,
        )
        return Generation(
            id=0,
            collection_id=0,
            state="live",
            model=choice.model,
            precision=choice.precision,
            space=embedder.space,
            chunking=fit_to_window(chunking, readable_tokens(embedder)),
            lexical=options.lexical or LexicalSettings(),
            store=options.store or self._settings.store,
            lexical_store=self._settings.lexical_store if options.lexical_store is None else options.lexical_store,
        )

    def _check_agrees(self, name: str, options: CollectionOptions) -> None:
        """Errors: UnknownCollection, SpaceMismatch, Conflict."""
        with self._database.read() as ledger:
            collection = collections.collection_named(ledger, name)
            generation = collections.live_generation(ledger, collection.id)
        if options.model or options.precision or options.dimensions or options.prompts is not None:
            found = self._opened_like(generation, options).space
            if not found.searchable_with(generation.space):
                expected = generation.space.describe()
                raise SpaceMismatch(collection=name, expected=expected, found=found.describe())
        for what, given, existing in (
            ("chunking", options.chunking, generation.chunking),
            ("lexical", options.lexical, generation.lexical),
            ("store", options.store, generation.store),
            ("lexical_store", options.lexical_store, generation.lexical_store),
        ):
            if given is not None and given != existing:
                raise Conflict(
                    reason=f"Collection {name!r} exists with other {what} settings: {existing}. Leave them out, or "
                    "index into a new collection."
                )

    def _opened_like(self, generation: Generation, options: CollectionOptions) -> Embedder:
        """The model that the options ask for, like the collection's in what they leave open."""
        space = generation.space
        choice = ModelChoice(
            model=options.model or generation.model,
            precision=options.precision or generation.precision,
            dimensions=options.dimensions or space.dimensions,
            prompts=space.prompts if options.prompts is None else prompt_pairs(options.prompts),
        )
        try:
            return self._shelf.parts.open_embedder(choice)
        except InvalidSetting as error:
            if options.dimensions or error.fields["name"] != "dimensions":
                raise
        # Another model that has not even so many dimensions: its own space says what it is.
        return self._shelf.parts.open_embedder(msgspec.structs.replace(choice, dimensions=None))


def iso_time(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _info(collection: Collection, generation: Generation, counts: collections.Counts) -> CollectionInfo:
    return CollectionInfo(
        name=collection.name,
        model=generation.model,
        precision=generation.space.precision,
        dimensions=generation.space.dimensions,
        space=generation.space.fingerprint,
        prompts=dict(generation.space.prompts),
        state=generation.state,
        chunking=generation.chunking,
        lexical=generation.lexical,
        store=generation.store,
        lexical_store=generation.lexical_store,
        created_at=iso_time(collection.created_at),
        **msgspec.structs.asdict(counts),
    )
